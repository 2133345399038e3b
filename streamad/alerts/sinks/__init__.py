"""Where events go beside the store: one module a kind of sink, a registry that builds them from the
configuration.
"""

from streamad.alerts.sinks.base import Sink
from streamad.alerts.sinks.fanout import SinkFanout
from streamad.alerts.sinks.jsonl import JsonlSink
from streamad.alerts.sinks.log import LogSink
from streamad.alerts.sinks.registry import build_sink
from streamad.alerts.sinks.spec import JsonlSinkSpec, LogSinkSpec, SinkSpec

__all__ = [
    "JsonlSink",
    "JsonlSinkSpec",
    "LogSink",
    "LogSinkSpec",
    "Sink",
    "SinkFanout",
    "SinkSpec",
    "build_sink",
]
