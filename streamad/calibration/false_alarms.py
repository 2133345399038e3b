"""False alarms: which recorded frames belong to alerts that an operator marked as false."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SAME_RUN_SECONDS = 30.0
"""Presentation times of a camera count from the start of its run. Two records are of the same run if they agree, to
within this, on the wall-clock time of presentation time zero. It exceeds the delay between a frame and its record, and
no run that is shorter can be confused with the next."""

ROUNDING_SECONDS = 0.001
"""Recorded presentation times may be rounded to this."""


class FalseAlarm(NamedTuple):
    """The frames of an alert that was marked as false.

    Attributes:
        zero: Unix time of presentation time zero, seconds.
        start: Presentation time of the first frame, seconds.
        stop: Presentation time of the last frame, seconds.
    """

    zero: float
    start: float
    stop: float


def in_false_alarm(
    seconds: npt.NDArray[np.float64], zero: npt.NDArray[np.float64] | float, alarms: Iterable[FalseAlarm]
) -> npt.NDArray[np.bool_]:
    """Return which frames belong to false alarms, (n,) bool.

    Args:
        seconds: (n,) presentation times.
        zero: Unix time of presentation time zero, of all or (n,); NaN: unknown, so that no alarm matches.
        alarms: The false alarms of the camera.
    """
    found = np.zeros(len(seconds), bool)
    for alarm in alarms:
        is_same_run = np.abs(zero - alarm.zero) <= SAME_RUN_SECONDS
        found |= is_same_run & (seconds >= alarm.start - ROUNDING_SECONDS) & (seconds <= alarm.stop + ROUNDING_SECONDS)
    return found
