"""The frame-quality gate's part of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

QualityReason = Literal[
    "corrupt", "dark", "washed_out", "covered", "frozen", "light", "moved", "shaken", "blurred"
]  # fmt: skip
"""Why a frame is held back, the more certain reason first: where several hold, the first is given."""

QUALITY_REASONS: tuple[QualityReason, ...] = get_args(QualityReason)


class QualitySpec(BaseModel):
    """When frames of a camera are held back because the picture itself is at fault."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="false: no frame is held back, and nothing is measured")
    ignore: tuple[QualityReason, ...] = Field(
        (), description="faults that are not looked for, e.g. [shaken] for a camera on a mast"
    )
    freeze_seconds: float = Field(
        10.0, ge=1, le=3600, description="frozen: the same picture for this long, key frames included"
    )
    moved_seconds: float = Field(
        10.0, ge=1, le=3600, description="moved: the still edges of the place have been elsewhere for this long"
    )
    light_change: float = Field(
        0.2,
        gt=0,
        le=2,
        description="light: three quarters of the picture are brighter, or darker, than a second ago by this share",
    )
    event_after_seconds: float = Field(
        1.0, ge=0, le=3600, description="an event opens once frames have been held back for this long"
    )
    event_close_seconds: float = Field(
        5.0, ge=0, le=3600, description="it closes after good frames for this long: what flickers is one event"
    )
    reference: Path | None = Field(
        None,
        description="picture file in which the place is remembered, so that a camera moved while nobody watched is "
        "noticed; empty: the model bundle's own where it has one, else it is learned anew at each start",
    )
