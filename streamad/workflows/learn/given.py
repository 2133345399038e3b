"""What clips that were given have in common, looked at before any of them is read: frame rate, size, length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

from streamad.errors import UsageError
from streamad.sources import SourceSpec, open_source

SAME_RATE = 1.1
"""Frame rates up to so many times apart are one: pieces of a recording with a variable rate differ by some percent."""

LOOKED_AT = 64
"""Frames of each clip that its rate is measured by."""

SHOWN = 3
"""Most clips that a message names of a kind."""


@dataclass(frozen=True)
class Given:
    """What clips of one camera have in common.

    Attributes:
        fps: the highest of their frame rates.
        seconds: their length together, by the frames that their containers state; None where one does not. Where the
            rate of a clip is in doubt, the longer of two answers.
    """

    fps: float
    seconds: float | None


def look_at_clips(clips: Sequence[tuple[str, SourceSpec]], fps: float, *, one_rate: bool) -> Given:
    """Open every clip, and read its first frames.

    A clip's rate is the declared one where its frames agree, else that of its frames: cameras are often wrong about it.

    Args:
        clips: names and sources, which can be opened.
        fps: frame rate of sources that state none.
        one_rate: whether all must have the same frame rate, as where time is counted in frames.

    Raises:
        UsageError: the clips have different sizes or frame rates.
        SourceError: one cannot be read.
    """
    rates: dict[float, list[str]] = {}
    sizes: dict[tuple[int, int], list[str]] = {}
    seconds: float | None = 0.0
    for name, spec in clips:
        with open_source(spec, camera=name) as source:
            declared, frames = source.info.fps or fps, source.info.frames
            first = list(islice(source, LOOKED_AT))
        steps = [after.pts_seconds - before.pts_seconds for before, after in pairwise(first)]
        measured = 1.0 / max(float(np.median(steps)), 1e-3) if steps else declared
        rate = declared if 1 / SAME_RATE < measured / declared < SAME_RATE else measured
        rates.setdefault(round(rate, 3), []).append(name)
        seconds = None if frames is None or seconds is None else seconds + frames / min(rate, declared)
        if first:
            sizes.setdefault(first[0].shape, []).append(name)
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
