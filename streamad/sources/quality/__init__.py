"""Frame quality: whether a camera's picture shows its usual view, or the picture itself is faulty.

`gate.QualityGate` combines the checks; `QualitySpec` is their configuration. Rejected frames reach no detector: they
yield no score, and background models do not learn from them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

QualityReason = Literal[
    "corrupt", "dark", "washed_out", "covered", "frozen", "light", "moved", "shaken", "blurred"
]  # fmt: skip
"""Why a frame is rejected, most certain reason first. If several apply, the first is reported."""


class QualitySpec(BaseModel):
    """Rejection of frames whose picture itself is faulty."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="false: frames are neither checked nor rejected")
    ignore: tuple[QualityReason, ...] = Field((), description="faults to ignore, e.g. [shaken] for a camera on a mast")
    freeze_seconds: float = Field(
        10.0, ge=1, le=3600, description="frozen: the same picture for this long, key frames included"
    )
    moved_seconds: float = Field(
        10.0, ge=1, le=3600, description="moved: the still edges of the view have been displaced for this long"
    )
    light_change: float = Field(
        0.2,
        gt=0,
        le=2,
        description="light: three quarters of the picture became brighter, or darker, by this share within a second",
    )
    event_after_seconds: float = Field(
        1.0, ge=0, le=3600, description="an event opens after frames have been rejected for this long"
    )
    event_close_seconds: float = Field(
        5.0, ge=0, le=3600, description="the event closes after good frames for this long, so flicker is one event"
    )
    reference: Path | None = Field(
        None,
        description="picture file that stores the camera's usual view, so that a camera moved while streamad was not "
        "running is detected; empty: the model bundle's own if it has one, else learned again at each start",
    )
