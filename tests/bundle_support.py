"""A small model with random weights, and video with moving shapes, for tests of inference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from streamad.bundle import InputSpec, Manifest, ScoreSpec, TilingSpec, TrainingRecord

Picture = npt.NDArray[np.uint8]

FULL_WIDTH = {"learned-noise-ped2", "learned-noise-baseline-ped2"}
"""Shipped networks with the paper's full width."""

LAGS = (0, 2, 4)
WARMUP = 8
STILL = -10.0
"""Score of a frame without movement, far below the random network's output for any moving patch."""
THRESHOLD = -5.0
"""A threshold between `STILL` and any moving patch, so that anything that moves raises an alert."""


def slow_at_full_width(bundles: Iterable[Path | str]) -> list[Any]:
    """Return names or folders of shipped bundles as parameters; those with full width are marked slow."""
    return [pytest.param(b, marks=pytest.mark.slow if Path(b).name in FULL_WIDTH else ()) for b in bundles]


def small_manifest(
    *, name: str = "small", lags: tuple[int, ...] = LAGS, median_frames: int = 1, cells: int = 1
) -> Manifest:
    """Return the manifest of a small ADACL bundle whose background is used after 8 frames."""
    return Manifest(
        format_version=1,
        name=name,
        detector="adacl",
        description="a network with random weights, for tests",
        input=InputSpec(channels=len(lags), height=30, width=30, scale=127.5, offset=-1.0, max_height=240),
        tiling=TilingSpec(kind="cells", lags=lags, background_warmup=WARMUP),
        score=ScoreSpec(kind="top_cells", cells=cells, still=STILL, median_frames=median_frames),
        training=TrainingRecord(
            data="none", license="none", frames=0, fps=25.0, seed=5, epochs=0, checkpoint="random weights"
        ),
        parameters=1,
        files={},
    )


def write_small_bundle(folder: Path, manifest: Manifest | None = None) -> Path:
    """Export a network with random weights and BatchNorm statistics as a bundle. Needs torch."""
    import torch
    from safetensors.torch import save_file

    from streamad.bundle import ONNX, WEIGHTS, write_manifest
    from streamad.detectors.adacl.network import build
    from streamad.engines.export import export_onnx

    manifest = manifest or small_manifest()
    torch.manual_seed(manifest.training.seed)
    network = build(manifest).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                # With the initial statistics 0 and 1, an export could lose BatchNorm unnoticed.
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.7, 1.3)
                module.bias.uniform_(-0.2, 0.2)
            elif isinstance(module, torch.nn.Linear):
                module.weight.mul_(4.0)  # so that scores of different patches differ clearly
    folder.mkdir(parents=True)
    save_file(network.state_dict(), folder / WEIGHTS)
    export_onnx(network, (manifest.input.channels, 30, 30), folder / ONNX)
    count = sum(p.numel() for p in network.parameters())
    write_manifest(folder, manifest.model_copy(update={"parameters": count}))
    return folder


def randomize_norms(network: object) -> None:
    """Randomize the BatchNorm statistics of a torch network; with 0 and 1 an export could lose BatchNorm unnoticed."""
    import torch

    assert isinstance(network, torch.nn.Module)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
                module.running_mean.normal_(0, 0.3)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
                module.weight.uniform_(0.7, 1.3)
                module.bias.uniform_(-0.2, 0.2)


def write_narrow_bundle(folder: Path) -> Path:
    """Write a learned-noise bundle: narrow, random weights, 48×32 frames, median over 3 frames. Needs torch."""
    import torch
    from safetensors.torch import save_file

    from streamad.bundle import ONNX, STREAMING, WEIGHTS, write_manifest
    from streamad.detectors import find_detector
    from streamad.detectors.learned_noise.network import build
    from streamad.engines.export import export_onnx

    options = {"width": 0.06}
    manifest = Manifest(
        format_version=1,
        name="narrow",
        detector="learned_noise",
        description="random weights",
        input=InputSpec(channels=16, height=32, width=48, scale=127.5, offset=-1.0, resizer="linear"),
        tiling=TilingSpec(kind="clips", window=16),
        score=ScoreSpec(kind="psnr", frame=8, heat_cell=8, median_frames=3),
        training=TrainingRecord(
            data="-", license="-", frames=0, fps=25, seed=0, epochs=0, checkpoint="-", options=options
        ),
        parameters=1,
        files={},
    )
    folder.mkdir(parents=True)
    torch.manual_seed(1)
    network = build(manifest).eval()
    randomize_norms(network)
    save_file(network.state_dict(), folder / WEIGHTS)
    export_onnx(network, (16, 32, 48), folder / ONNX)
    windows = np.random.default_rng(0).uniform(-1, 1, (1, 16, 32, 48)).astype(np.float32)
    parity = find_detector(manifest.detector).export_streaming(network, manifest, folder / STREAMING, windows)
    assert parity is not None
    assert parity.max_abs_output <= 1e-6
    write_manifest(folder, manifest)
    return folder


@contextmanager
def single_torch_thread() -> Iterator[None]:
    """Use one torch thread: on loaded machines, several threads of a small network wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def textured_background(size: tuple[int, int], seed: int = 3) -> Picture:
    """Return a smooth random texture of about 90 to 150 gray levels, (H, W); `size` is (width, height)."""
    width, height = size
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(90, 150, (max(2, height // 20), max(2, width // 20))).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def moving_shapes(
    frames: int,
    size: tuple[int, int] = (160, 120),
    *,
    seed: int = 3,
    shapes: int = 2,
    busy: tuple[tuple[int, int], ...] | None = None,
) -> Iterator[Picture]:
    """Generate (H, W) gray pictures: bright and dark shapes cross a textured background with sensor noise.

    Args:
        frames: Number of pictures.
        size: Width and height.
        seed: Seed of background, shapes and noise.
        shapes: Number of shapes.
        busy: Intervals (first, last + 1) of frames with shapes. Default: all frames.
    """
    width, height = size
    background = textured_background(size, seed)
    rng = np.random.default_rng(seed)
    tracks = [
        (rng.uniform(0, width), rng.uniform(25, height - 25), rng.uniform(1.5, 4.0) * rng.choice((-1, 1)),
         int(rng.integers(8, 14)), int(rng.choice((20, 235))), bool(rng.integers(2)))
        for _ in range(shapes)
    ]  # fmt: skip
    for number in range(frames):
        picture = background.copy()
        if busy is None or any(first <= number < last for first, last in busy):
            for x, y, speed, radius, gray, is_round in tracks:
                left = int((x + speed * number) % (width + 2 * radius)) - radius
                if is_round:
                    cv2.circle(picture, (left, int(y)), radius, gray, -1)
                else:
                    cv2.rectangle(picture, (left - radius, int(y) - radius), (left + radius, int(y) + radius), gray, -1)
        noise = rng.normal(0, 1.5, picture.shape)
        yield np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def write_mp4(path: Path, pictures: Iterable[Picture], *, fps: int = 25) -> Path:
    """Encode gray pictures as H.264 with a key frame each second. The suffix selects the container."""
    with av.open(str(path), "w") as container:
        stream = None
        for picture in pictures:
            if stream is None:
                stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "18"})
                stream.height, stream.width = picture.shape
                stream.pix_fmt = "yuv420p"
                stream.codec_context.gop_size = fps
                stream.codec_context.max_b_frames = 0
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        assert stream is not None
        container.mux(stream.encode())
    return path


def decoded(path: Path) -> list[Picture]:
    """Decode all frames of a video to full-range luma with PyAV's own conversion to gray."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="gray", threads=1) for frame in container.decode(video=0)]
