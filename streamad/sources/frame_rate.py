"""The frame rate of a clip: one rule for every command that learns from video.

The declared rate counts where the first frames agree with it, else theirs: cameras are often wrong about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

from streamad.sources.opening import open_source
from streamad.sources.spec import SourceSpec

DEFAULT_FPS = 25.0

SAME_RATE = 1.1
"""Frame rates up to this factor apart count as one: the rate of pieces of one recording may vary by some percent."""

MEASURED_FRAMES = 64
"""Frames of a clip that its rate is measured by."""


@dataclass(frozen=True)
class ClipLook:
    """What the beginning of a clip shows.

    Attributes:
        fps: Frames a second.
        shape: (height, width) in pixels; None where there is no frame.
        seconds: Length, by the frames that the container states; None where it does not. Where the rate is in doubt,
            the longer of two answers.
    """

    fps: float
    shape: tuple[int, int] | None
    seconds: float | None


def look_at(spec: SourceSpec, *, default_fps: float = DEFAULT_FPS) -> ClipLook:
    """Read the first frames of a clip.

    Args:
        spec: The clip.
        default_fps: Frame rate of a source that states none.

    Raises:
        SourceError: It cannot be read.
    """
    with open_source(spec, camera="clip") as source:
        declared, frames = source.info.fps or default_fps, source.info.frames
        first = list(islice(source, MEASURED_FRAMES))
    steps = [after.pts_seconds - before.pts_seconds for before, after in pairwise(first)]
    measured = 1.0 / max(float(np.median(steps)), 1e-3) if steps else declared
    rate = declared if 1 / SAME_RATE < measured / declared < SAME_RATE else measured
    return ClipLook(
        round(rate, 3), first[0].shape if first else None, None if frames is None else frames / min(rate, declared)
    )
