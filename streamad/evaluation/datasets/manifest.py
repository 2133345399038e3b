"""Official counts of the known data sets: clips, frames per clip, and abnormal frames per test clip by label set."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict

_FILE = Path(__file__).with_name("manifest.json")


class OfficialCounts(BaseModel):
    """Counts of a complete copy of a data set.

    Source: counted in the published sets and their label files. If the number of training frames per clip is unknown
    (Avenue, ShanghaiTech), only the number of clips is compared.

    Attributes:
        size: (width, height) of a frame in pixels.
        masks: Number of test clips with pixel masks.
        training_clips: Number of training clips.
        training_frames: Frames of all training clips; None if unknown.
        training: Frames per training clip; None if unknown.
        testing: Frames per test clip.
        abnormal: For each label set, abnormal frames per test clip.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: tuple[int, int]
    masks: int
    training_clips: int
    training_frames: int | None
    training: dict[str, int] | None
    testing: dict[str, int]
    abnormal: dict[str, dict[str, int]]


@cache
def official_counts() -> MappingProxyType[str, OfficialCounts]:
    """Counts by name of the data set."""
    content: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return MappingProxyType({name: OfficialCounts.model_validate(counts) for name, counts in content.items()})
