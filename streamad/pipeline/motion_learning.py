"""Learning the motion detector from a camera's normal video; needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from streamad.bundle import Bundle
from streamad.sources import SourceSpec

Progress = Callable[[str, int, int], None]
"""Told the stage in words, steps of it done, and steps in all."""


def fit_motion_bundle(
    clips: Sequence[SourceSpec],
    out: Path,
    *,
    name: str,
    data: str = "own video",
    licence: str = "not stated",
    fps: float | None = None,
    progress: Progress | None = None,
) -> Bundle:
    """Fit the motion detector to clips of one camera's normal video and write a bundle.

    Args:
        clips: normal video, in order of time; one clip is enough.
        out: folder of the bundle.
        name: of the bundle.
        data: name of the video, for the record.
        licence: terms of the video, for the record.
        fps: frames a second; None takes the source's.
        progress: told how far it is.

    Returns:
        The bundle, exported, without a calibration (see `streamad.pipeline.calibrate_model`).

    Raises:
        UsageError: too little video, or nothing moves in it.
        OutputError: `out` cannot be written to.
    """
    raise NotImplementedError
