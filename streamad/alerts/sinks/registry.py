"""From a sink's configuration to the sink."""

from __future__ import annotations

from streamad.alerts.sinks.base import Sink
from streamad.alerts.sinks.jsonl import JsonlSink
from streamad.alerts.sinks.log import LogSink
from streamad.alerts.sinks.spec import JsonlSinkSpec, SinkSpec


def build_sink(spec: SinkSpec) -> Sink:
    """The sink that `spec` describes.

    Raises:
        OutputError: its output cannot be opened.
    """
    if isinstance(spec, JsonlSinkSpec):
        return JsonlSink(spec.path, changes=spec.changes)
    return LogSink()
