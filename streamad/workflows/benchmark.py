"""Measure how fast each form of a bundle's network runs on this machine, in one interleaved run."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import islice
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from streamad.bundle import Bundle
from streamad.detectors import detector_of
from streamad.engines import Engine, EngineSpec, StatefulEngine, available_engines
from streamad.engines.flops import count_flops
from streamad.engines.state_buffers import OUTPUTS
from streamad.engines.stateful import StreamChunk, StreamState
from streamad.errors import UsageError
from streamad.frame import Frame
from streamad.inference.model import open_model
from streamad.inference.reading import open_frames
from streamad.protocols import Progress, no_progress
from streamad.sources import SourceSpec

ROUND_SECONDS = 1.0
"""Approximate time that each contender runs in a round."""

SETTLE_SECONDS = 0.1
"""Pause between two contenders: an engine's threads keep spinning briefly after a run and would slow the next one."""

FRAMES_PER_CALL = 4
"""Frames of one camera per call of a stateful network, unless the engine's configuration sets another number."""

STREAMS_PER_CALL = 4
"""Cameras per call of a stateful network, unless the engine's configuration sets another number."""

SCORED = 20
"""Number of scored frames to measure on, unless a number of frames is given."""

LONGEST_WARM_UP = 500
"""Maximum number of frames before the first score; the motion detector needs 44 at 25 frames/s."""

GEMM_SIDE = 1024

Array = npt.NDArray[np.float32]


@dataclass
class Contender:
    """One way of running the network.

    Attributes:
        name: Short name.
        what: Description for the report.
        work: Scores the frame with the given number, and the frames of the same call.
        answer: Returns the output for the first scored frame.
        gflop: Billions of floating-point operations per frame; None: unknown.
        frames: Number of frames to cycle through.
        at_once: Frames that one call of `work` scores.
        rates: Frames per second of each round.
        costs: CPU seconds per frame of each round, over all threads.
    """

    name: str
    what: str
    work: Callable[[int], Array]
    answer: Callable[[], Array]
    gflop: float | None
    frames: int
    at_once: int = 1
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)


def benchmark_model(
    bundle: Bundle,
    *,
    engine: EngineSpec | None = None,
    source: SourceSpec | None = None,
    frames: int | None = None,
    rounds: int = 5,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Measure every form of a bundle's network on the same frames, taking turns.

    Only inference is measured: decoding and preprocessing are the same for all forms. Taking turns spreads a varying
    load over all of them. On a machine that is always busy, CPU time is more reliable than wall time.

    Args:
        bundle: The model.
        engine: The engine to run it on. Default: chosen automatically.
        source: Source of the frames. Default: noise in which everything moves.
        frames: Number of frames to read. Default: until `SCORED` of them have a score.
        rounds: Number of rounds; each contender runs once per round.
        progress: Called with "measuring", the rounds done, and their total.

    Returns:
        `model`, `frames`, `rounds`, `gemm_gflops` (a float32 matrix product in NumPy, median over rounds), and
        `contenders`. Each contender has `name`, `what`, `at_once` (frames per call), `gflop` (per frame; None:
        unknown), `frames_per_second` and `ratio` (speed relative to the last contender, the slowest one, in the same
        round), both with `min`, `median` and `max`, `cpu_milliseconds` (per frame, over all threads), `cpu_ratio`,
        `gflops`, and `difference` (largest absolute difference from the last contender's output).

    Raises:
        SourceError: The frames cannot be read.
        UsageError: There are too few frames for one score, or the bundle has no network of its own.
        EngineError: The engine cannot run on this machine.
    """
    bundle.require_network()
    with ExitStack() as stack:
        contenders = _contenders(bundle, engine or EngineSpec(), source, frames, stack)
        gemm: list[float] = []
        answers = {contender.name: contender.answer() for contender in contenders}  # also warms up
        for number in range(rounds):
            gemm.append(_gemm())
            for contender in contenders:
                _measure(contender, ROUND_SECONDS)
            progress("measuring", number + 1, rounds)
    slowest = contenders[-1]
    return {
        "model": bundle.name,
        "frames": frames or SCORED,
        "rounds": rounds,
        "gemm_gflops": median(gemm),
        "contenders": [_row(contender, slowest, answers) for contender in contenders],
    }


def _contenders(
    bundle: Bundle, spec: EngineSpec, source: SourceSpec | None, frames: int | None, stack: ExitStack
) -> list[Contender]:
    """Return streamad's own forms first, then the forms that they are compared with, the slowest last."""
    found: list[Contender] = []
    inputs = _tiles(bundle, source, frames)
    if not inputs:
        raise UsageError(
            f"{frames or 'its'} frames give no score with {bundle.name}",
            hint="give more with --frames, or a longer --input",
        )
    flops = count_flops(bundle.onnx_path) / 1e9
    per_frame = median(len(batch) for batch in inputs)
    cells = bundle.manifest.tiling.kind == "cells"
    shown = "cells of a frame" if cells else f"a window of {bundle.manifest.tiling.window} a frame"
    count = len(inputs)
    if bundle.streaming_path is not None:
        gflop = count_flops(bundle.streaming_path) / 1e9
        for name, how, frames_each, cameras in (
            ("streaming", "one frame at a time", 1, 1),
            ("run frames", "{} frames of a camera in a run", spec.frames_per_call or FRAMES_PER_CALL, 1),
            ("run cameras", "a frame of each of {} cameras in a run", 1, spec.streams_per_call or STREAMS_PER_CALL),
        ):
            if name != "streaming" and frames_each * cameras == 1:  # same as the row above
                continue
            runs = spec.model_copy(update={"frames_per_call": frames_each, "streams_per_call": cameras})
            carrying = stack.enter_context(open_model(bundle, runs)).engine
            assert isinstance(carrying, StatefulEngine)
            at_once = frames_each * cameras
            what = f"{how.format(at_once)}, {carrying.info.name} in {carrying.info.precision}"
            ways = _stream(carrying, inputs, frames_each, cameras)
            found.append(Contender(name, what, *ways, gflop, count, at_once))
        if spec.precision == "int8":  # the network on whole windows has no 8-bit variant
            spec = spec.model_copy(update={"precision": "fp32"})
    running = stack.enter_context(open_model(bundle, spec, streaming=False)).engine
    assert not isinstance(running, StatefulEngine)
    what = f"{shown}, {running.info.name} in {running.info.precision}"
    found.append(Contender("engine", what, *_batches(running, inputs), flops * per_frame, count))
    if not available_engines()["torch"]:
        from streamad.engines.torch_engine import TorchEngine

        detector = detector_of(bundle)
        eager = TorchEngine(
            lambda: detector.paper_network(bundle.manifest),
            bundle.weights_path,
            threads=spec.threads,
            batch_sizes=(4096,),
        )
        stack.enter_context(closing(eager))
        what = f"{shown}, eager PyTorch" + ("" if detector.computes_as_paper else ", all computed as the paper does")
        found.append(Contender("torch", what, *_batches(eager, inputs), None, count))
    return found


def _tiles(bundle: Bundle, source: SourceSpec | None, frames: int | None) -> list[Array]:
    """Return the network's input for each scored frame, (n, channels, height, width)."""
    from streamad.detectors import camera_scorer

    scorer = camera_scorer(bundle, "benchmark", streaming=False)
    answer = []
    with closing(_frames(bundle, source)) as opened:
        for frame in islice(opened, LONGEST_WARM_UP + SCORED if frames is None else frames):
            tiles = scorer.preprocess(frame)
            if tiles is not None and tiles.skipped_reason is None and len(tiles.batch):
                answer.append(tiles.batch)
                if frames is None and len(answer) == SCORED:
                    break
    return answer


def _frames(bundle: Bundle, source: SourceSpec | None) -> Generator[Frame, None, None]:
    if source is not None:
        yield from open_frames(source, "benchmark")
        return
    spec, rng = bundle.manifest.input, np.random.default_rng(0)
    cells = bundle.manifest.tiling.kind == "cells"
    height, width = (spec.max_height or 240, 360) if cells else (spec.height, spec.width)
    index = 0
    while True:
        yield Frame("benchmark", index, index / 25, 0.0, rng.integers(0, 256, (height, width), dtype=np.uint8))
        index += 1


def _stream(
    engine: StatefulEngine, windows: Sequence[Array], frames: int, cameras: int
) -> tuple[Callable[[int], Array], Callable[[], Array]]:
    """Return two functions: one feeds the windows' last frames in turn to every camera, the other returns the output
    for the first whole window.
    """
    states = [engine.new_state() for _ in range(cameras)]
    newest = np.concatenate([window[:, -1:] for window in windows])

    def together(states: Sequence[StreamState], shown: Array) -> Array:
        answers = engine.run_together([StreamChunk(state, shown) for state in states])
        for answer in answers:
            if not isinstance(answer, dict):
                raise answer
        return np.concatenate([answer[OUTPUTS][-1:] for answer in answers if isinstance(answer, dict)])

    def work(number: int) -> Array:
        return together(states, newest[np.arange(number, number + frames) % len(newest)])

    def answer() -> Array:
        fresh = [engine.new_state() for _ in range(cameras)]
        return together(fresh, windows[0][0, :, None])[-1:]

    return work, answer


def _batches(engine: Engine, tiles: Sequence[Array]) -> tuple[Callable[[int], Array], Callable[[], Array]]:
    largest = engine.batch_sizes[-1]

    def work(number: int) -> Array:
        batch = tiles[number]
        return np.concatenate([engine.infer(batch[k : k + largest]) for k in range(0, len(batch), largest)])

    return work, lambda: work(0)


def _measure(contender: Contender, seconds: float) -> None:
    """Run a contender for one turn: one call after another until the time is up."""
    time.sleep(SETTLE_SECONDS)
    done, started, spent = 0, time.perf_counter(), time.process_time()
    while (passed := time.perf_counter() - started) < seconds or not done:
        contender.work(done % contender.frames)
        done += contender.at_once
    contender.rates.append(done / passed)
    contender.costs.append((time.process_time() - spent) / done)


def _gemm() -> float:
    """GFLOP/s of a float32 matrix product: the speed that the machine currently offers."""
    a = np.random.default_rng(0).random((GEMM_SIDE, GEMM_SIDE), np.float32)
    best = 0.0
    for _ in range(4):
        started = time.perf_counter()
        a @ a
        best = max(best, 2e-9 * GEMM_SIDE**3 / (time.perf_counter() - started))
    return best


def _row(contender: Contender, slowest: Contender, answers: dict[str, Array]) -> dict[str, Any]:
    rates = contender.rates
    ratios = [ours / theirs for ours, theirs in zip(rates, slowest.rates, strict=True)]
    middle = median(rates)
    return {
        "name": contender.name,
        "what": contender.what,
        "at_once": contender.at_once,
        "gflop": contender.gflop,
        "frames_per_second": {"min": min(rates), "median": middle, "max": max(rates)},
        "ratio": {"min": min(ratios), "median": median(ratios), "max": max(ratios)},
        "cpu_milliseconds": 1000 * median(contender.costs),
        "cpu_ratio": median(theirs / ours for ours, theirs in zip(contender.costs, slowest.costs, strict=True)),
        "gflops": None if contender.gflop is None else contender.gflop * middle,
        "difference": float(np.abs(answers[contender.name] - answers[slowest.name]).max()),
    }
