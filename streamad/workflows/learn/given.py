"""What given clips have in common, checked before any of them is read: frame rate, size, length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamad.errors import UsageError
from streamad.sources import SourceSpec
from streamad.sources.frame_rate import SAME_RATE, look_at

SHOWN = 3
"""Maximum number of clips of a kind that a message names."""


@dataclass(frozen=True)
class Given:
    """What clips of one camera have in common.

    Attributes:
        fps: The highest of their frame rates.
        seconds: Their total length by the frame counts of their containers. None: one states none. If the rate of a
            clip is in doubt, the longer of two answers.
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
