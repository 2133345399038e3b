"""Explanation of why a cell is unusual, for operators."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamad.detectors.motion.layout import FAST, SHARE, SPEED, USUAL_FAST, USUAL_PACE

FASTER = 1.5
"""Pace, in units of the usual one there, from which it is the reason."""

MORE = 2.5
"""Movement, in units of the usual one there, from which it is the reason: a larger thing, or more of them, moves."""

REST = 2.0
"""Usual pace below which things usually stand at a place, working pixels per second."""

MINUTE = 120.0
"""Time from which lengths of stays are given in minutes, seconds."""

_DIRECTIONS = ("to the right", "down", "to the left", "up")


def reason_of(values: npt.NDArray[np.float32], outputs: npt.NDArray[np.float32]) -> str:
    """Explain what is unusual about a cell: its pace, how much moves, or the direction, in this order.

    Args:
        values: (length,) the cell's descriptor.
        outputs: The network's output for the cell, see `layout`.
    """
    movement = float(values[SPEED])
    pace = movement / max(float(values[SHARE][0]), 1e-3)
    usual_pace = float(outputs[USUAL_PACE])
    faster = pace / max(usual_pace, 1e-6)
    if faster >= FASTER and usual_pace < REST:
        return "moves where things usually stand"
    if faster >= FASTER:
        return f"speed {faster:.1f}× the usual here"
    more = movement / max(float(outputs[USUAL_FAST]), 1e-6)
    if more >= MORE:
        return f"{more:.1f}× as much movement as usual here"
    return f"moves {_DIRECTIONS[int(np.argmax(values[FAST][:4]))]}, unusual here"


def stay_reason(seconds: float, usual: float) -> str:
    """Explain a stay that is too long.

    Args:
        seconds: Its length.
        usual: Length of the longest usual one there.
    """
    return f"standing here for {_duration(seconds)}; usual is up to {_duration(usual)}"


def _duration(seconds: float) -> str:
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 60 * MINUTE else f"{seconds / 3600:.0f} h"
