"""The frame rate of clips and their other common properties: one rule for every command that learns from video.

The declared rate is used if the first frames agree with it, else that of the frames: cameras often declare a wrong one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

from streamad.errors import UsageError
from streamad.sources.opening import open_source
from streamad.sources.spec import SourceSpec

DEFAULT_FPS = 25.0

SAME_RATE = 1.1
"""Frame rates that differ by at most this factor count as equal: parts of one recording may vary by a few percent."""

MEASURED_FRAMES = 64
"""Number of frames of a clip that its rate is measured on."""


SHOWN = 3
"""Maximum number of clips of a kind that a message names."""


@dataclass(frozen=True)
class ClipLook:
    """Properties of a clip, from its beginning.

    Attributes:
        fps: Frames per second.
        shape: (height, width) in pixels; None if there is no frame.
        seconds: Length, by the container's frame count; None if it states none. If the rate is in doubt, the longer of
            the two possible lengths.
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


@dataclass(frozen=True)
class Given:
    """Common properties of the clips of one camera.

    Attributes:
        fps: The highest of their frame rates.
        seconds: Their total length, by the containers' frame counts; None if one states none. If a clip's rate is in
            doubt, its longer possible length is used.
    """

    fps: float
    seconds: float | None


def look_at_clips(clips: Sequence[tuple[str, SourceSpec]], fps: float, *, one_rate: bool) -> Given:
    """Open every clip and read its first frames.

    A clip's rate is the declared one if its frames agree, else that of its frames: the declared rates of cameras are
    often wrong.

    Args:
        clips: Names and sources, which can be opened.
        fps: Frame rate of sources that state none.
        one_rate: Whether all must have the same frame rate, because time is counted in frames.

    Raises:
        UsageError: The clips have different sizes or frame rates.
        SourceError: A clip cannot be read.
    """
    rates: dict[float, list[str]] = {}
    sizes: dict[tuple[int, int], list[str]] = {}
    seconds: float | None = 0.0
    for name, spec in clips:
        look = look_at(spec, default_fps=fps)
        rates.setdefault(look.fps, []).append(name)
        seconds = None if look.seconds is None or seconds is None else seconds + look.seconds
        if look.shape is not None:
            sizes.setdefault(look.shape, []).append(name)
    if len(sizes) > 1:
        found = ", ".join(f"{width}×{height} ({_some(names)})" for (height, width), names in sizes.items())
        raise UsageError(
            f"the clips have different sizes: {found}; a model belongs to one camera at one size",
            hint="give clips of one camera, or convert them to one size",
        )
    if one_rate and max(rates) > SAME_RATE * min(rates):
        found = ", ".join(f"{rate:g} frames/s ({_some(names)})" for rate, names in sorted(rates.items()))
        raise UsageError(
            f"the clips have different frame rates: {found}; time is counted in frames here, so all need one rate",
            hint="give the clips of one camera; --fps sets the rate of image folders",
        )
    return Given(max(rates), seconds)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
