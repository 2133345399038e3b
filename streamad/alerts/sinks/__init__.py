"""Sinks: where events go besides the store.

`jsonl` and `log` record every change of an event on this machine. The others notify somebody: what they send is routed,
waits in an outbox, and is repeated until the receiver accepts it (`Delivery`).

A sink receives health events (problems of a camera itself) in addition to anomalies. Their documents have the key
`type` with the value "health", which documents of anomalies lack.
"""

from __future__ import annotations

from typing import Annotated

from streamad.alerts.sinks.apprise import AppriseSinkSpec
from streamad.alerts.sinks.base import Change, PluginSink, Sink
from streamad.alerts.sinks.command import CommandSinkSpec
from streamad.alerts.sinks.delivery import Delivery, NotificationOutcome
from streamad.alerts.sinks.fanout import SinkFanout
from streamad.alerts.sinks.local import JsonlSink, JsonlSinkSpec, LogSink, LogSinkSpec
from streamad.alerts.sinks.mail import EmailSinkSpec
from streamad.alerts.sinks.mqtt import MqttSinkSpec
from streamad.alerts.sinks.notification import Notification
from streamad.alerts.sinks.settings import NotifierSpec, OutboxSpec, PictureOf, Sender, SinkContext
from streamad.alerts.sinks.subscriptions import Subscriptions
from streamad.alerts.sinks.webhook import WebhookSinkSpec
from streamad.alerts.sinks.webpush import WebPushSinkSpec
from streamad.plugins import SINKS, OrPlugin

__all__ = [
    "AppriseSinkSpec",
    "Change",
    "CommandSinkSpec",
    "Delivery",
    "EmailSinkSpec",
    "JsonlSink",
    "JsonlSinkSpec",
    "LogSink",
    "LogSinkSpec",
    "MqttSinkSpec",
    "Notification",
    "NotificationOutcome",
    "NotifierSpec",
    "OutboxSpec",
    "PictureOf",
    "PluginSink",
    "Sender",
    "Sink",
    "SinkContext",
    "SinkFanout",
    "SinkSpec",
    "Subscriptions",
    "WebPushSinkSpec",
    "WebhookSinkSpec",
    "build_sink",
]

SinkSpec = Annotated[
    JsonlSinkSpec
    | LogSinkSpec
    | WebhookSinkSpec
    | MqttSinkSpec
    | EmailSinkSpec
    | AppriseSinkSpec
    | CommandSinkSpec
    | WebPushSinkSpec
    | PluginSink,
    OrPlugin(SINKS, PluginSink),
]
"""Any sink, discriminated by `type`."""


def build_sink(spec: SinkSpec, outbox: OutboxSpec | None = None, context: SinkContext | None = None) -> Sink | Delivery:
    """Create the sink that `spec` describes.

    Args:
        spec: The settings.
        outbox: Where notifications wait. Default: the default folder.
        context: What a sink may need to know of the program.

    Raises:
        OutputError: The sink's output cannot be opened, or a package, a secret or a program is missing.
    """
    if isinstance(spec, NotifierSpec):  # also a plugin's
        context = context or SinkContext()
        return Delivery(spec, spec.build_sender(context), outbox or OutboxSpec(), context)
    if isinstance(spec, PluginSink):
        return spec.build()
    if isinstance(spec, JsonlSinkSpec):
        return JsonlSink(spec.path, changes=spec.changes)
    return LogSink()
