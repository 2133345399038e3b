"""Workload of `benchmarks/bench.py`: an H.264 video of Ped2's size, created on the fly, and the shipped models.

The video is in a temporary folder: pictures of the data sets never enter the repository.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from streamad.sources import list_images
from streamad.synthetic_scene import iterate_frames
from streamad.video_writer import H264Writer

WIDTH, HEIGHT, FPS = 360, 240, 10.0
MODELS = ("motion-ped2", "adacl-motion-ped2", "alps-ped2", "igd-ped2", "learned-noise-light-ped2", "learned-noise-ped2")
"""One model of every form; the others cost the same as one of these."""

Rgb = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Workload:
    """The benchmark video.

    Attributes:
        path: An H.264 mp4 file.
        frames: Number of frames.
        source: Description of the content.
    """

    path: Path
    frames: int
    source: str


def make_video(folder: Path, frames: int) -> Workload:
    """Encode up to `frames` frames: UCSD Ped2's test clips if STREAMAD_DATA has them, otherwise a rendered scene."""
    data = os.environ.get("STREAMAD_DATA")
    clips = Path(data) / "ped2" / "testing" / "frames" if data else None
    if clips is not None and clips.is_dir():
        pictures, source = _ped2(clips), "UCSD Ped2, test clips one after the other"
    else:
        pictures, source = _scene(frames), "rendered scene, seed 0 (set STREAMAD_DATA for UCSD Ped2)"
    path = folder / "workload.mp4"
    count = 0
    with H264Writer(path, width=WIDTH, height=HEIGHT, fps=FPS) as writer:
        for picture in islice(pictures, frames):
            writer.write(picture)
            count += 1
    return Workload(path, count, source)


def _ped2(clips: Path) -> Iterator[Rgb]:
    for clip in sorted(p for p in clips.iterdir() if p.is_dir()):
        for image in list_images(clip):
            picture = cv2.imread(str(image), cv2.IMREAD_COLOR)
            assert picture is not None, image
            yield np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _scene(frames: int) -> Iterator[Rgb]:
    # Only normal walkers, which fit any length. The speed does not depend on the content.
    for frame in iterate_frames(size=(WIDTH, HEIGHT), fps=FPS, seconds=frames / FPS, part="training"):
        yield frame.pixels
