"""Configuration of the sinks: a union told apart by `type`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class JsonlSinkSpec(BaseModel):
    """One line of JSON for every change of an event."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["jsonl"] = Field("jsonl", description="JSON lines")
    path: Path | None = Field(None, description="the file to append to; null: standard output")
    changes: Literal["all", "open_close"] = Field(
        "all",
        description="all: also when an event becomes critical or reopens; open_close: its two ends alone",
    )


class LogSinkSpec(BaseModel):
    """A line in the program's log for every change of an event."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["log"] = Field("log", description="the program's log")


SinkSpec = Annotated[JsonlSinkSpec | LogSinkSpec, Field(discriminator="type")]
