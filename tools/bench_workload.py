"""What `tools/bench.py` runs on: a Ped2-sized H.264 video made on the spot, and a model bundle.

The video lies in a temporary folder: pictures of the data sets never enter the repository.
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

from streamad.bundle import (
    FORMAT_VERSION,
    ONNX,
    WEIGHTS,
    Bundle,
    InputSpec,
    Manifest,
    ScoreSpec,
    TilingSpec,
    TrainingRecord,
    find_bundle,
    load_bundle,
    write_manifest,
)
from streamad.errors import BundleError
from streamad.scene import iterate_frames
from streamad.sources import list_images
from streamad.tiling import CELL
from streamad.video_writer import H264Writer

WIDTH, HEIGHT, FPS = 360, 240, 10.0
DEFAULT_MODEL = "adacl-motion-ped2"
UNTRAINED_LAGS = ((0,), (0, 2, 4))
"""The papers' single picture, and the history of a model trained at 10 frames/s."""

Rgb = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Workload:
    """The video.

    Attributes:
        path: an H.264 mp4.
        frames: frames in it.
        source: what it shows, in words.
    """

    path: Path
    frames: int
    source: str


def make_video(folder: Path, frames: int) -> Workload:
    """Encode up to `frames` frames: UCSD Ped2's test clips where STREAMAD_DATA has them, else a rendered scene."""
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
    # Normal walkers alone: every length has room for them, and the speed does not depend on who walks there.
    for frame in iterate_frames(size=(WIDTH, HEIGHT), fps=FPS, seconds=frames / FPS, part="training"):
        yield frame.pixels


def pick_bundles(model: str | None, folder: Path) -> list[tuple[Bundle, str]]:
    """(bundle, what it is) for each network to measure.

    Args:
        model: a bundle that the user names; None takes the shipped one where there is one, else untrained networks
            of both forms: speed does not depend on the weights.
        folder: where untrained bundles are written.
    """
    if model is not None:
        return [(load_bundle(model), "given")]
    try:
        return [(load_bundle(find_bundle(DEFAULT_MODEL)), "shipped")]
    except BundleError:
        return [(untrained_bundle(folder, lags), "untrained, seeded weights") for lags in UNTRAINED_LAGS]


def untrained_bundle(folder: Path, lags: tuple[int, ...]) -> Bundle:
    """A bundle whose network has seeded random weights; for its speed alone."""
    import torch
    from safetensors.torch import save_file

    from streamad.detectors.adacl.network import AdaclNet
    from streamad.engines.export import export_onnx

    torch.manual_seed(17)
    network = AdaclNet(len(lags)).eval()
    out = folder / f"untrained-{len(lags)}-channel"
    out.mkdir(parents=True)
    save_file(network.state_dict(), out / WEIGHTS)
    export_onnx(network, (len(lags), CELL, CELL), out / ONNX)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name=out.name,
        detector="adacl",
        description="untrained network for the benchmark",
        input=InputSpec(channels=len(lags), height=CELL, width=CELL, scale=127.5, offset=-1.0),
        tiling=TilingSpec(kind="cells", lags=lags),
        score=ScoreSpec(kind="top_cells", cells=3, median_frames=5),
        training=TrainingRecord(
            data="none", licence="none", frames=0, fps=FPS, seed=17, epochs=0, checkpoint="untrained"
        ),
        parameters=sum(p.numel() for p in network.parameters()),
        files={},
    )
    return write_manifest(out, manifest)


def flop_of_cell(channels: int) -> float:
    """Floating-point operations of the ADACL network on one cell (a multiplication and an addition are two)."""
    total, side, before = 0.0, CELL, channels
    for after, stride in ((16, 2), (32, 2), (64, 1), (128, 1)):
        side = -(-side // stride)
        total += 2.0 * side * side * after * before * 25
        before = after
    return total + 2.0 * (128 * 64 + 64)
