"""Settings of per-location calibration, chosen on normal video: docs/concepts/per-location-calibration.md."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from streamad.errors import CalibrationError


@dataclass(frozen=True)
class PerLocationSpec:
    """The parameters of local calibration.

    Attributes:
        pool: side of the square of cells over which scores are averaged before anything else, odd; 1 averages nothing.
        neighbors: side of the square of cells that a cell's statistics are drawn to first, odd.
        prior_samples: how many samples the wider level counts for when a narrower one is drawn towards it.
        tail_share: share of a cell's normal scores that the tail is fitted to, in (0, 0.5].
        share: the frame's score is the mean evidence of this share of the heat map's cells, the highest, in (0, 1].
        median_frames: causal median of that over so many frames; 1 is none.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False, validate_by_name=True)

    pool: int = 1
    neighbors: Annotated[int, Field(alias="neighbours")] = 3  # its name in files, whose digest covers it
    prior_samples: float = 500.0
    tail_share: float = 0.1
    share: float = 0.03
    median_frames: int = 5

    def __post_init__(self) -> None:
        for name in ("pool", "neighbors"):
            value = getattr(self, name)
            if value < 1 or value % 2 == 0:
                raise CalibrationError(f"local calibration: {name} must be odd and at least 1, got {value}")
        if self.median_frames < 1:
            raise CalibrationError(f"local calibration: median_frames must be at least 1, got {self.median_frames}")
        if not 0 < self.share <= 1:
            raise CalibrationError(f"local calibration: share must lie in (0, 1], got {self.share}")
        if not (math.isfinite(self.prior_samples) and self.prior_samples > 0):
            raise CalibrationError(f"local calibration: prior_samples must be > 0, got {self.prior_samples}")
        if not 0 < self.tail_share <= 0.5:
            raise CalibrationError(f"local calibration: tail_share must lie in (0, 0.5], got {self.tail_share}")
