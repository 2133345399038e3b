"""The contenders of `tools/bench.py`, each timed over the same video.

Ways from a file to alerts, or parts of the way. Every contender counts what it finds, so that none can be fast by
not doing its work.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from streamad.bundle import Bundle
from streamad.frame import Frame
from streamad.pipeline.alerting import AlertSettings
from streamad.pipeline.model import Model
from streamad.pipeline.score_file import score_file
from streamad.sources import FileSpec, open_source
from streamad.tiling import CELL, CellGrid

Cells = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Contender:
    """One way of doing the work.

    Attributes:
        key: its letter in the report.
        name: what it does, in words.
        frames: frames that one run takes.
        run: does the work once; returns what it counted.
    """

    key: str
    name: str
    frames: int
    run: Callable[[], int]

    def timed(self) -> tuple[float, float]:
        """(wall seconds, CPU seconds of all threads) of one run."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.run()
        return time.perf_counter() - wall, time.process_time() - cpu


@dataclass(frozen=True)
class Prepared:
    """Work done once for the contenders that measure a part alone.

    Attributes:
        frames: decoded frames.
        batches: the moving cells of those frames in full batches, as the pipeline packs them.
        cells: moving cells in all.
        scored: frames after the warm-up.
        per_frame: moving cells in a frame of the grid, mean over scored frames.
        live_padding: work of the engine over work needed where every frame is a batch of its own, as with one live
            camera: batches are padded to the engine's static sizes.
        grid_cells: cells of the grid.
    """

    frames: list[Frame]
    batches: list[Cells]
    cells: int
    scored: int
    per_frame: float
    live_padding: float
    grid_cells: int


def prepare(video: Path, model: Model, frames: int) -> Prepared:
    """Decode and tile the video once."""
    scorer = model.scorer("bench")
    decoded, tiles, scored, grid = [], [], 0, 0
    with open_source(FileSpec(path=video), camera="bench") as source:
        for frame in source:
            decoded.append(frame)
            found = scorer.tiles(frame)
            grid = int(np.prod(found.grid)) if found.grid else 0
            if found.withheld is None:
                scored += 1
                tiles.append(found.batch)
            if len(decoded) == frames:
                break
    cells = np.concatenate(tiles) if tiles else np.empty((0, 1, CELL, CELL), np.float32)
    largest = model.engine.batch_sizes[-1]
    batches = [np.ascontiguousarray(cells[k : k + largest]) for k in range(0, len(cells), largest)]
    padded = sum(_padded(len(tile), model.engine.batch_sizes) for tile in tiles)
    return Prepared(
        decoded,
        batches,
        len(cells),
        scored,
        per_frame=len(cells) / max(1, scored),
        live_padding=padded / max(1, len(cells)),
        grid_cells=grid,
    )


def contenders(
    video: Path,
    model: Model,
    settings: AlertSettings,
    network: Any,
    dynamic: Any,
    prepared: Prepared,
    *,
    slow_frames: int,
    scratch: Path,
) -> list[Contender]:
    """All contenders for one model, in the order in which a round runs them.

    Args:
        video: the workload.
        model: bundle and engine, as `streamad score` opens them.
        settings: threshold and rules.
        network: the same network in eager torch, in evaluation mode.
        dynamic: OpenVINO's compiled model with a dynamic batch.
        prepared: the parts done once.
        slow_frames: frames that the two contenders which score every cell take in a run; they need the same time for
            every frame, so fewer give the same rate.
        scratch: folder for the CSV that the pipeline writes.
    """
    manifest, n = model.bundle.manifest, len(prepared.frames)
    slow = min(slow_frames, n)

    def eager(cells: Cells) -> float:
        import torch

        with torch.inference_mode():
            return float(network(torch.from_numpy(cells)).max())

    def one_thread(run: Callable[[], int]) -> Callable[[], int]:
        def alone() -> int:
            import torch

            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                return run()
            finally:
                torch.set_num_threads(threads)

        return alone

    def ov_dynamic(cells: Cells) -> float:
        return float(np.max(dynamic.infer_new_request({0: cells})[0]))

    def plain(score: Callable[[Cells], float]) -> Callable[[], int]:
        def run() -> int:
            return sum(score(cells) >= settings.threshold for cells in _all_cells(video, manifest.tiling.lags, slow))

        return run

    def pipeline() -> int:
        result = score_file(
            FileSpec(path=video), model, name="bench", folder=scratch, settings=settings, normalization="raw",
            write_plot=False, write_video=False,
        )  # fmt: skip
        return result.scored

    def decode() -> int:
        with open_source(FileSpec(path=video), camera="bench") as source:
            return sum(1 for _ in source)

    def tile() -> int:
        scorer = model.scorer("bench")
        return sum(len(scorer.tiles(frame).batch) for frame in prepared.frames)

    def infer() -> int:
        counted = []
        for batch in prepared.batches:
            model.engine.submit(batch, lambda outputs: counted.append(len(outputs)), _raise)
        model.engine.drain()
        return sum(counted)

    return [
        Contender("a", "plain loop: cv2.VideoCapture, all cells, eager torch, max, threshold", slow, plain(eager)),
        # On a machine with other work torch's threads wait for one another, and one alone may be the faster way.
        Contender("a1", "the same with one torch thread", slow, one_thread(plain(eager))),
        Contender("b", "streamad, file to alerts (streamad score --no-video --no-plot)", n, pipeline),
        Contender("c", "decoding alone (streamad's file source)", n, decode),
        Contender("d", "inference alone (the same moving cells, same engine)", n, infer),
        Contender("e", "plain loop with OpenVINO, all cells, dynamic batch", slow, plain(ov_dynamic)),
        Contender("t", "tiling alone (background, moving cells, history)", n, tile),
    ]


def eager_network(bundle: Bundle) -> Any:
    """The bundle's network with its weights, in eager torch."""
    from streamad.detectors import detector_parts
    from streamad.detectors.base import load_part
    from streamad.engines.torch_engine import load_weights

    build = load_part(detector_parts(bundle.manifest.detector).network)
    return load_weights(lambda: build(bundle.manifest), bundle.weights_path)


def dynamic_openvino(bundle: Bundle) -> Any:
    """The bundle's network compiled by OpenVINO as the ONNX file stands, with its dynamic batch."""
    import openvino as ov

    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    return ov.Core().compile_model(bundle.onnx_path, "CPU", config)


def _all_cells(video: Path, lags: tuple[int, ...], frames: int) -> Iterator[Cells]:
    """Every cell of every frame, as a program without a background model would make them."""
    past: deque[npt.NDArray[np.uint8]] = deque(maxlen=lags[-1] + 1)
    capture = cv2.VideoCapture(str(video))
    try:
        for _ in range(frames):
            ok, picture = capture.read()
            if not ok:
                return
            past.append(np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), dtype=np.uint8))
            height, width = past[-1].shape
            grid = CellGrid(height, width)
            every = np.argwhere(np.ones(grid.shape, bool))
            # The first frames stand in for the history that they lack: every frame costs the same.
            stacked = np.stack([grid.cut(past[max(0, len(past) - 1 - lag)], every) for lag in lags], axis=1)
            yield stacked.astype(np.float32) / np.float32(127.5) - np.float32(1.0)
    finally:
        capture.release()


def _padded(cells: int, sizes: tuple[int, ...]) -> int:
    full, rest = divmod(cells, sizes[-1])
    return full * sizes[-1] + (next(size for size in sizes if size >= rest) if rest else 0)


def _raise(error: Exception) -> None:
    raise error
