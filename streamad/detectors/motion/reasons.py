"""Explanation of why a patch is unusual, for operators."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamad.detectors.motion.layout import MEASURES, SPEED, USUAL_SPEED, VELOCITY

AT_REST = 0.35
"""Share of the usual speed below which an object is reported as hardly moving."""

REST = 2.0
"""Usual speed below which things usually stand at a place, working pixels per second: a 25th of an object's height."""

CLEAR = 0.5
"""Share of the direction's evidence that the speed's must reach to be reported instead: what is too fast is also far
from all examples of its direction, and the speed is the clearer explanation."""

_DIRECTIONS = ("to the right", "down", "to the left", "up")


def reason_of(values: npt.NDArray[np.float32], outputs: npt.NDArray[np.float32]) -> str:
    """Explain what is unusual about a patch: the measure with the most evidence.

    Args:
        values: (length,) the patch's descriptor.
        outputs: (4,) the network's output.
    """
    usual = float(outputs[USUAL_SPEED])
    ratio = float(values[SPEED][0]) / max(usual, 1e-6)
    evidence = outputs[: len(MEASURES)]
    kind = MEASURES[int(np.argmax(evidence))]
    if kind == "look":
        return "looks unlike what usually moves here"
    if kind == "direction" and evidence[0] > CLEAR * evidence[1]:
        kind = "speed"
    if kind == "speed" and usual < REST:
        return "moves where things usually stand"
    if kind == "speed":
        return f"speed {ratio:.1f}× the usual here"
    if ratio < AT_REST:
        return "hardly moves, unusual here"
    return f"moves {_DIRECTIONS[int(np.argmax(values[VELOCITY]))]} at {ratio:.1f}× the usual speed, unusual here"
