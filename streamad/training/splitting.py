"""Which clips are trained on and which are held out; needs no torch."""

from __future__ import annotations

import math

from streamad.errors import UsageError


def split_clips(count: int, share: float) -> tuple[list[int], list[int]]:
    """Numbers of the clips to train on and of the held-out ones: the last ones, at least one of each.

    Raises:
        UsageError: fewer than two clips.
    """
    if count < 2:
        raise UsageError(
            f"training needs at least two clips of normal video, got {count}: one is held out to stop and to calibrate",
            hint="split the recording into several files",
        )
    held = min(count - 1, max(1, math.ceil(count * share - 1e-9)))
    return list(range(count - held)), list(range(count - held, count))
