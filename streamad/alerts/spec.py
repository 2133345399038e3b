"""The `events` of the configuration: where events are kept."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class EventsSpec(BaseModel):
    """Where events are kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Field(Path("runs/events.sqlite"), description="the SQLite file that keeps the events")
    max_unsaved: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="events held in memory while the file cannot be written (about 1 KB each); beyond this "
        "the oldest are given up, counted and logged",
    )
