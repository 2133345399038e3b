"""A sink that appends a line to a CSV file for every event that opens or closes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal

from pydantic import Field

from streamad.alerts import Event, EventKind
from streamad.alerts.health import HealthEvent
from streamad.alerts.sinks import PluginSink, Sink
from streamad.errors import OutputError


class CsvSinkSpec(PluginSink):
    """The settings, and how to build the sink."""

    type: Literal["csv"] = "csv"
    path: Path = Field(description="the file to append to")

    def build(self) -> Sink:
        """See `PluginSink.build`."""
        return CsvSink(self.path)


class CsvSink:
    """Appends `kind,camera,seconds,severity,peak score`."""

    name = "csv"

    def __init__(self, path: Path) -> None:
        self._path = path

    def emit(self, event: Event | HealthEvent, kind: EventKind) -> None:
        """See `Sink.emit`."""
        if kind == "updated" or isinstance(event, HealthEvent):
            return
        try:
            with self._path.open("a", newline="", encoding="utf-8") as file:
                row = [kind, event.camera, event.started_pts_seconds, event.severity, event.peak_score]
                csv.writer(file).writerow(row)
        except OSError as error:
            raise OutputError(f"sink csv: cannot write to {self._path}: {error.strerror}") from error

    def close(self) -> None:
        """Nothing is held."""
