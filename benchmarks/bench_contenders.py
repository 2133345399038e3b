"""The contenders of `benchmarks/bench.py`: every stage and engine of a model, and the plain loops of research code.

A contender runs for a given time and reports the number of frames that it processed. All use the same frames of the
same video, after those in which a model only learns the background or fills its window, which cost nothing.
"""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from streamad.bundle import Bundle
from streamad.calibration import AlertPolicySpec
from streamad.detectors import camera_scorer, detector_of
from streamad.engines import EngineSpec, StatefulEngine, available_engines
from streamad.engines.factory import PRECISIONS
from streamad.errors import BundleError, EngineError
from streamad.frame import Frame
from streamad.inference import open_model
from streamad.inference.alerting import resolve_policy
from streamad.inference.model import Model
from streamad.inference.reading import prefetched
from streamad.inference.session import Session
from streamad.preprocessing import ModelInput, PatchGrid
from streamad.sources import FileSpec, open_source

LEAD = 40
"""Frames that a model processes before it is timed: ADACL's background needs 32, a window 16."""
SHOWN = 160
"""Frames after those that are kept in memory, for stages that are timed separately."""

Batch = npt.NDArray[np.float32]


@dataclass
class Contender:
    """One way to do the work or a part of it.

    Attributes:
        stage: One of "decode", "tile", "infer", "score", "end to end" and "plain loop".
        engine: What runs the network; "" if nothing does.
        what: Description.
        work: Function that works until `time.perf_counter()` reaches its argument; returns (frames, seconds, CPU
            seconds).
        rates: Frames per second in each round.
        costs: CPU seconds per frame in each round, over all threads.
    """

    stage: str
    engine: str
    what: str
    work: Callable[[float], tuple[float, float, float]]
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)

    def turn(self, seconds: float, keep: bool) -> float:
        """Work for about `seconds`; return frames per second."""
        frames, wall, cpu = self.work(seconds)
        if keep:
            self.rates.append(frames / wall)
            self.costs.append(cpu / frames)
        return frames / wall


def _timed(step: Callable[[], float]) -> Callable[[float], tuple[float, float, float]]:
    """Repeat a step, which returns its number of frames, until the time is up; at least once."""

    def work(seconds: float) -> tuple[float, float, float]:
        frames, started, spent = 0.0, time.perf_counter(), time.process_time()
        while (passed := time.perf_counter() - started) < seconds or not frames:
            frames += step()
        return frames, passed, time.process_time() - spent

    return work


class Subject:
    """One model on one video, with everything that its contenders share.

    Args:
        bundle: The model bundle.
        video: The workload.
        stack: Stack that closes what is opened.
    """

    def __init__(self, bundle: Bundle, video: Path, stack: ExitStack) -> None:
        self.bundle, self._video, self._stack = bundle, video, stack
        with open_source(FileSpec(path=video), camera="bench") as source:
            self._frames = list(islice(source, LEAD + SHOWN))
        self._warm = {True: self._scorer(True), False: self._scorer(False)}
        self.tiles = {streams: self._tiles(streams) for streams in self._warm}
        self.cells = bundle.manifest.tiling.kind == "cells"
        counts = [len(tiles.batch) for tiles in self.tiles[False]]
        self.per_frame = float(np.mean(counts))

    def _scorer(self, streams: bool) -> Any:
        if streams and self.bundle.streaming_path is None:
            return None
        scorer = camera_scorer(self.bundle, "bench", streaming=streams)
        for frame in self._frames[:LEAD]:
            scorer.preprocess(frame)
        return scorer

    def _tiles(self, streams: bool) -> list[ModelInput]:
        if self._warm[streams] is None:
            return []
        scorer = copy.deepcopy(self._warm[streams])
        return [tiles for frame in self._frames[LEAD:] if (tiles := scorer.preprocess(frame)) is not None]

    def contenders(self, scratch: Path) -> list[Contender]:
        """Return all contenders that can run here, parts first."""
        found = [self._decode(), self._tile()]
        models = list(self._models())
        found += [Contender("infer", label, self._inferred(model), self._infer(model)) for label, model in models]
        found.append(self._score(models[0][1]))
        for label, model in models:
            found.append(Contender("end to end", label, "file to alerts", self._end_to_end(model)))
        if not detector_of(self.bundle).has_reference_program:
            return found
        return found + list(self._plain(scratch))

    def engine_label(self, model: Model) -> str:
        """Return the name and precision of what really runs."""
        return f"{model.engine.info.name} {model.engine.info.precision}"

    def _models(self) -> Iterator[tuple[str, Model]]:
        """Generate every available engine and precision, warmed up."""
        for name, problem in available_engines().items():
            for precision in () if problem else PRECISIONS[name]:
                spec = EngineSpec.model_validate({"name": name, "precision": precision})
                try:
                    model = self._stack.enter_context(open_model(self.bundle, spec, hint="throughput"))
                except (BundleError, EngineError):  # no such variant, or not supported by the CPU
                    continue
                model.warm_up()
                yield self.engine_label(model), model

    def _decode(self) -> Contender:
        def frames() -> Iterator[Frame]:
            while True:
                with open_source(FileSpec(path=self._video), camera="bench") as source:
                    yield from source

        opened = frames()
        self._stack.callback(opened.close)
        return Contender("decode", "", "one thread, luma of every frame", _timed(lambda: float(bool(next(opened)))))

    def _tile(self) -> Contender:
        streams = self._warm[True] is not None

        def step() -> float:
            scorer = copy.deepcopy(self._warm[streams])
            for frame in self._frames[LEAD:]:
                scorer.preprocess(frame)
            return float(SHOWN)

        what = "background, moving patches, history" if self.cells else "resizing, window"
        return Contender("tile", "", what, _timed(step))

    def _inferred(self, model: Model) -> str:
        if isinstance(model.engine, StatefulEngine):
            return "one new frame, the rest from state"
        if self.cells:
            return f"moving patches, batches of {model.engine.batch_sizes[-1]}"
        return "whole frame" if self.bundle.manifest.input.channels < 4 else "a window a frame"

    def _infer(self, model: Model) -> Callable[[float], tuple[float, float, float]]:
        engine = model.engine
        if isinstance(engine, StatefulEngine):
            state, new = engine.new_state(), cycle([tiles.batch for tiles in self.tiles[True]])

            def advance() -> float:
                return float(len(engine.advance(state, next(new))))

            return _timed(advance)
        batches = [tiles.batch for tiles in self.tiles[False] if len(tiles.batch)]
        if self.cells:
            together, largest = np.concatenate(batches), engine.batch_sizes[-1]
            full = len(together) // largest * largest
            batches = [together[k : k + largest] for k in range(0, full or len(together), largest)]
        turns, failed = cycle(batches), list[Exception]()

        def work(seconds: float) -> tuple[float, float, float]:
            count, started, spent = 0, time.perf_counter(), time.process_time()
            while time.perf_counter() - started < seconds or not count:
                batch = next(turns)
                count += len(batch)
                engine.submit(batch, lambda _: None, failed.append)
            engine.drain()
            if failed:
                raise failed[0]
            return count / self.per_frame, time.perf_counter() - started, time.process_time() - spent

        return work

    def _score(self, model: Model) -> Contender:
        streams = isinstance(model.engine, StatefulEngine)
        tiles = [t for t in self.tiles[streams] if t.due and t.skipped_reason is None][:16]
        outputs = []
        for tile in tiles:
            if isinstance(model.engine, StatefulEngine):
                states = model.engine.new_state()
                for _ in range(self.bundle.manifest.tiling.window or 1):  # outputs are NaN until the window is full
                    answer = model.engine.advance(states, tile.batch)
            else:
                largest = model.engine.batch_sizes[-1]
                parts = [tile.batch[k : k + largest] for k in range(0, len(tile.batch), largest)]
                answer = np.concatenate([model.engine.infer(part) for part in parts])
            outputs.append(answer)
        scorer = copy.deepcopy(self._warm[streams])

        def step() -> float:
            for tile, answer in zip(tiles, outputs, strict=True):
                scorer.score(tile, answer)
            return float(len(tiles))

        return Contender("score", "", "outputs to score and anomaly map", _timed(step))

    def _end_to_end(self, model: Model) -> Callable[[float], tuple[float, float, float]]:
        # Without a calibration, use any threshold: the cost of the policy does not depend on it.
        given = None if self.bundle.calibration_path else 0.5
        policy = resolve_policy(model.bundle, AlertPolicySpec(), camera="bench", threshold=given)
        streams = isinstance(model.engine, StatefulEngine)

        def work(seconds: float) -> tuple[float, float, float]:
            scorer, count = copy.deepcopy(self._warm[streams]), 0
            session = Session(model, policy, camera="bench", scorer=scorer)
            source = self._stack.enter_context(open_source(FileSpec(path=self._video), camera="bench"))
            frames = iter(source)
            for _ in islice(frames, LEAD):
                pass
            started, spent = time.perf_counter(), time.process_time()

            def until(frames: Iterator[Frame]) -> Iterator[Frame]:
                nonlocal count
                for frame in frames:
                    if time.perf_counter() - started >= seconds and count:
                        return
                    count += 1
                    yield frame

            with closing(prefetched(frames)) as ahead:
                for _ in session.run(until(ahead)):
                    pass
                passed, cpu = time.perf_counter() - started, time.process_time() - spent
            source.close()
            return float(count), passed, cpu

        return work

    def _plain(self, scratch: Path) -> Iterator[Contender]:
        """Generate the plain loops of research code: OpenCV decodes, and the network processes each frame's whole input."""
        shown = "all cells" if self.cells else "whole frame"
        if (self.bundle.manifest.tiling.window or 1) > 1:
            shown = f"a window of {self.bundle.manifest.tiling.window} a frame, all of it rebuilt"
        detector, onnx = detector_of(self.bundle), self.bundle.onnx_path
        if not available_engines()["torch"]:
            import torch

            from streamad.engines.torch_engine import load_weights

            network = load_weights(lambda: detector.paper_network(self.bundle.manifest), self.bundle.weights_path)
            if not detector.computes_as_paper:  # our network takes a shortcut, also in the bundle's ONNX file
                from streamad.engines.export import export_onnx

                onnx = scratch / f"{self.bundle.name}-whole.onnx"
                shape = self.bundle.manifest.input
                export_onnx(network, (shape.channels, shape.height, shape.width), onnx)

            def eager(batch: Batch) -> float:
                with torch.inference_mode():
                    return float(network(torch.from_numpy(batch)).max())

            yield Contender("plain loop", "torch fp32", f"cv2, {shown}, eager PyTorch", _timed(self._loop(eager)))
        import openvino as ov

        config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        request = ov.Core().compile_model(onnx, "CPU", config).create_infer_request()

        def dynamic(batch: Batch) -> float:
            return float(np.max(request.infer({0: batch})[0]))

        what = f"cv2, {shown}, the ONNX file as exported"
        yield Contender("plain loop", "openvino fp32", what, _timed(self._loop(dynamic)))

    def _loop(self, network: Callable[[Batch], float]) -> Callable[[], float]:
        inputs = self._plain_inputs()
        self._stack.callback(inputs.close)

        def step() -> float:
            network(next(inputs))
            return 1.0

        return step

    def _plain_inputs(self) -> Any:
        manifest = self.bundle.manifest
        spec, lags, length = manifest.input, manifest.tiling.lags, manifest.tiling.window or 1
        past: deque[npt.NDArray[Any]] = deque(maxlen=lags[-1] + 1 if self.cells else length)
        while True:
            capture = cv2.VideoCapture(str(self._video))
            while True:
                ok, picture = capture.read()
                if not ok:
                    break
                gray = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
                if not self.cells:
                    small = cv2.resize(gray, (spec.width, spec.height)).astype(np.float32)
                    past.append(small / np.float32(spec.scale) + np.float32(spec.offset))
                    # Repeat the first frames in place of missing ones, so that every frame costs the same.
                    yield np.stack([past[max(0, k - length + len(past))] for k in range(length)])[None]
                    continue
                past.append(np.asarray(gray, np.uint8))
                grid = PatchGrid(*gray.shape)
                every = np.argwhere(np.ones(grid.shape, bool))
                stacked = np.stack([grid.cut(past[max(0, len(past) - 1 - lag)], every) for lag in lags], axis=1)
                yield stacked.astype(np.float32) / np.float32(spec.scale) + np.float32(spec.offset)
            capture.release()


def padding_of_live_batches(tiles: Sequence[ModelInput], sizes: tuple[int, ...]) -> float:
    """Ratio of the engine's work to the necessary work if every frame is its own batch, as with one live camera."""
    counts = [len(tile.batch) for tile in tiles]
    return sum(_padded(count, sizes) for count in counts) / max(1, sum(counts))


def _padded(cells: int, sizes: tuple[int, ...]) -> int:
    full, rest = divmod(cells, sizes[-1])
    return full * sizes[-1] + (next(size for size in sizes if size >= rest) if rest else 0)
