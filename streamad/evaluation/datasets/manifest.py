"""Official counts of the known data sets: clips, frames of each, abnormal frames of each test clip by label set."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict

_FILE = Path(__file__).with_name("manifest.json")


class OfficialCounts(BaseModel):
    """What a complete copy of a data set holds.

    Source: counted in the published sets and their label files; where a set's counts of training frames, clip by clip,
    are not known here (Avenue, ShanghaiTech), only the number of clips is compared.

    Attributes:
        size: (width, height) of a frame, pixels.
        masks: test clips with pixel masks.
        training_clips: training clips.
        training_frames: frames of all of them; None where not known here.
        training: frames of each; None where not known here.
        testing: frames of each test clip.
        abnormal: for each label set, abnormal frames of each test clip.
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
    """Counts by the name of the data set."""
    content: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return MappingProxyType({name: OfficialCounts.model_validate(counts) for name, counts in content.items()})
