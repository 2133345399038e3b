"""Sending a test notification to a sink, for `streamad sinks test`."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TypedDict

from streamad.alerts.sinks import Delivery, NotifierSpec, SinkContext, SinkSpec, build_sink
from streamad.alerts.sinks.notification import notification_of_test
from streamad.redaction import redact
from streamad.writing import words


class SinkResult(TypedDict):
    """The result of one sink.

    Keys:
        sink: Its name.
        type: Its type.
        ok: Whether it accepted.
        seconds: How long that took.
        message: What was done, or what failed.
    """

    sink: str
    type: str
    ok: bool
    seconds: float
    message: str


def sink_name(spec: SinkSpec) -> str:
    """The sink's name: the configured one, or its type."""
    return spec.label if isinstance(spec, NotifierSpec) else spec.type


def check_sink(spec: SinkSpec, context: SinkContext | None = None) -> SinkResult:
    """Send one test notification past the outbox; a sink that records is opened and closed, and nothing is written.

    Args:
        spec: The settings.
        context: What the sink may need to know of the program.
    """
    started, is_ok = time.monotonic(), True
    try:
        if isinstance(spec, NotifierSpec):
            message = "accepted"
            sender = spec.build_sender(replace(context or SinkContext(), is_test=True))
            try:
                sender.open()
                sender.send(notification_of_test(spec.label))
            finally:
                sender.close()
        else:
            message = "can be opened; nothing was written"
            sink = build_sink(spec)
            assert not isinstance(sink, Delivery)
            sink.close()
    except OSError as error:
        hint = getattr(error, "hint", None)
        is_ok, message = False, redact(words(error) + (f" ({hint})" if hint else ""))
    seconds = round(time.monotonic() - started, 2)
    return SinkResult(sink=sink_name(spec), type=spec.type, ok=is_ok, seconds=seconds, message=message)
