"""The batcher: order, packing, and outputs that come back to the tiles they belong to."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamad.engines import EngineInfo
from streamad.errors import EngineError
from streamad.inference import Batcher
from streamad.preprocessing import ModelInput
from streamad.scoring import FrameScore


class DisorderlyEngine:
    """Answers batches from threads, in whatever order, with the sum of each tile; fails where told to.

    A stand-in for an engine, since no real one can be made to finish in a wanted order.
    """

    info = EngineInfo("disorderly", "none", "fp32", "0")

    def __init__(self, largest: int = 8, seed: int = 0, fail: frozenset[int] = frozenset()) -> None:
        self.batch_sizes = (1, 4, largest)
        self.sizes: list[int] = []
        self._random = random.Random(seed)
        self._fail = fail
        self._waiting: list[Any] = []
        self._lock = threading.Lock()

    def infer(self, batch: np.ndarray) -> np.ndarray:
        return np.asarray(batch.sum(axis=(1, 2, 3)), np.float32)

    def submit(self, batch: np.ndarray, done: Any, failed: Any) -> None:
        assert 1 <= len(batch) <= self.batch_sizes[-1]
        number = len(self.sizes)
        self.sizes.append(len(batch))
        self._waiting.append((number, batch.copy(), done, failed))
        if len(self._waiting) >= 3:  # an engine is busy with a few batches at once
            self._answer_some(1 + self._random.randrange(3))

    def drain(self) -> None:
        self._answer_some(len(self._waiting))

    def close(self) -> None:
        self.drain()

    def _answer_some(self, count: int) -> None:
        chosen = self._random.sample(range(len(self._waiting)), count)
        batches = [self._waiting[k] for k in chosen]
        self._waiting = [w for k, w in enumerate(self._waiting) if k not in chosen]

        def answer(number: int, batch: np.ndarray, done: Any, failed: Any) -> None:
            if number in self._fail:
                failed(EngineError(f"batch {number}"))
            else:
                done(self.infer(batch))

        threads = [threading.Thread(target=answer, args=batch) for batch in batches]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@dataclass
class RecordingScorer:
    """Keeps what it is given; the frame's score is the sum of its outputs."""

    camera: str
    calls: list[tuple[int, np.ndarray]] = field(default_factory=list)
    gaps: int = 0

    def score(self, tiles: ModelInput, outputs: np.ndarray) -> FrameScore:
        self.calls.append((tiles.index, outputs.copy()))
        return FrameScore(
            self.camera, tiles.index, tiles.pts_seconds, float(outputs.sum()), skipped_reason=tiles.skipped_reason
        )


def tiles_of(camera: str, index: int, count: int, skipped: str | None = None) -> ModelInput:
    rng = np.random.default_rng((index, count, len(camera)))
    batch = rng.integers(0, 100, (count, 1, 2, 2)).astype(np.float32)
    return ModelInput(camera, index, index / 25, 0.0, batch, skipped_reason=skipped)


counts = st.lists(st.one_of(st.integers(0, 5), st.integers(0, 40)), min_size=1, max_size=25)


@given(counts=counts, seed=st.integers(0, 1000), cameras=st.integers(1, 3), looks=st.lists(st.booleans(), max_size=25))
@settings(max_examples=80, deadline=None)
def test_frames_leave_in_order_with_their_own_outputs(
    counts: list[int], seed: int, cameras: int, looks: list[bool]
) -> None:
    engine: Any = DisorderlyEngine(seed=seed)
    batcher = Batcher(engine)
    scorers: list[Any] = [RecordingScorer("c" * (k + 1)) for k in range(cameras)]
    expected = []
    scored = []
    for index, count in enumerate(counts):
        scorer = scorers[index % cameras]
        skipped = "warming_up" if count == 3 else None
        tiles = tiles_of(scorer.camera, index, count, skipped)
        batcher.put(scorer, tiles)
        expected.append((scorer.camera, index, np.empty(0) if skipped else tiles.batch.sum(axis=(1, 2, 3))))
        if index < len(looks) and looks[index]:
            scored += batcher.ready()
    scored += batcher.drain()
    assert batcher.waiting == 0
    assert [(s.score.camera, s.score.index) for s in scored] == [e[:2] for e in expected]
    for scorer in scorers:
        mine = [e for e in expected if e[0] == scorer.camera]
        assert [index for index, _ in scorer.calls] == [index for _, index, _ in mine]
        for (_, outputs), (_, _, wanted) in zip(scorer.calls, mine, strict=True):
            np.testing.assert_array_equal(outputs, wanted)
    # Packed: without a flush, every batch but the last is full.
    total = sum(0 if count == 3 else count for count in counts)
    assert sum(engine.sizes) == total
    assert all(size == 8 for size in engine.sizes[:-1])
    assert len(engine.sizes) == -(-total // 8)


def test_nothing_starts_before_a_full_batch_or_a_flush() -> None:
    engine: Any = DisorderlyEngine()
    batcher, scorer = Batcher(engine), RecordingScorer("a")
    for index in range(3):
        batcher.put(scorer, tiles_of("a", index, 2))  # type: ignore[arg-type]
    assert engine.sizes == []
    assert batcher.ready() == []
    assert batcher.waiting == 3
    batcher.flush()
    assert engine.sizes == [6]
    batcher.flush()
    assert engine.sizes == [6]  # nothing left to start
    engine.drain()
    assert [s.score.index for s in batcher.ready()] == [0, 1, 2]


def test_a_finished_frame_waits_for_the_one_before() -> None:
    engine: Any = DisorderlyEngine()
    batcher, scorer = Batcher(engine), RecordingScorer("a")
    batcher.put(scorer, tiles_of("a", 0, 1))  # type: ignore[arg-type]
    batcher.put(scorer, tiles_of("a", 1, 0))  # type: ignore[arg-type]
    assert batcher.ready() == []
    assert batcher.wait(0.01) == []
    assert [s.score.index for s in batcher.drain()] == [0, 1]


def test_frames_without_tiles_pass_at_once() -> None:
    engine: Any = DisorderlyEngine()
    batcher, scorer = Batcher(engine), RecordingScorer("a")
    batcher.put(scorer, tiles_of("a", 0, 0))  # type: ignore[arg-type]
    batcher.put(scorer, tiles_of("a", 1, 5, skipped="warming_up"))  # type: ignore[arg-type]
    ready = batcher.ready()
    assert [s.score.index for s in ready] == [0, 1]
    assert ready[1].score.skipped_reason == "warming_up"
    assert engine.sizes == []


@given(counts=counts, seed=st.integers(0, 100), fail=st.frozensets(st.integers(0, 12), max_size=6))
@settings(max_examples=50, deadline=None)
def test_a_failed_batch_withholds_the_frames_that_had_tiles_in_it(
    counts: list[int], seed: int, fail: frozenset[int]
) -> None:
    engine: Any = DisorderlyEngine(seed=seed, fail=fail)
    batcher, scorer = Batcher(engine), RecordingScorer("a")
    start, hit = 0, []
    for index, count in enumerate(counts):
        batcher.put(scorer, tiles_of("a", index, count))  # type: ignore[arg-type]
        batches = {tile // 8 for tile in range(start, start + count)}
        hit.append(bool(batches & fail))
        start += count
    scored = batcher.drain()
    assert [s.error is not None for s in scored] == hit
    assert [s.score.index for s in scored] == list(range(len(counts)))
    for (index, outputs), failed in zip(scorer.calls, hit, strict=True):
        if failed:
            assert np.isnan(outputs).all()
            assert outputs.size
        else:
            np.testing.assert_array_equal(outputs, tiles_of("a", index, counts[index]).batch.sum(axis=(1, 2, 3)))


def test_each_batch_is_told_with_its_size() -> None:
    told: list[tuple[int, float]] = []
    engine: Any = DisorderlyEngine()
    batcher, scorer = Batcher(engine, on_batch=lambda n, s: told.append((n, s))), RecordingScorer("a")
    for index in range(5):
        batcher.put(scorer, tiles_of("a", index, 4))  # type: ignore[arg-type]
    batcher.drain()
    assert sorted(n for n, _ in told) == [4, 8, 8]
    assert all(seconds >= 0 for _, seconds in told)


@pytest.mark.timeout(30)
def test_waiting_ends_when_the_frame_is_done() -> None:
    """`wait` wakes as soon as the engine answers, not at the end of its timeout."""
    engine: Any = DisorderlyEngine()
    batcher, scorer = Batcher(engine), RecordingScorer("a")
    batcher.put(scorer, tiles_of("a", 0, 2))  # type: ignore[arg-type]
    batcher.flush()
    late = threading.Timer(0.05, engine.drain)
    late.start()
    assert len(batcher.wait(timeout=25)) == 1
    late.join()
