"""Who gets the engine when there is not enough of it: no model starves another, cameras lose alike, and it is reported.

The clock, the sources and the engines are stand-ins, since no real ones are slow in a way that repeats; the run with
real ones is `tests/integration/test_monitor_overload.py`.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from bundle_support import THRESHOLD, moving_shapes
from monitor_support import Clock, EndlessSource, HeldEngine

from streamad.config import parse_config
from streamad.inference import Batcher
from streamad.inference.frame_queue import BATCH_WINDOW_SECONDS, BATCHES_AHEAD
from streamad.live import Monitor
from streamad.live.overload import WINDOW_SECONDS, Overload
from streamad.preprocessing import ModelInput
from streamad.scoring import FrameScore


class Plain:
    """A scorer whose score is the sum of its outputs."""

    gaps = 0

    def score(self, tiles: ModelInput, outputs: np.ndarray) -> FrameScore:
        return FrameScore(tiles.camera, tiles.index, tiles.pts_seconds, float(outputs.sum()))


def tiles(count: int, index: int = 0, camera: str = "a") -> ModelInput:
    return ModelInput(camera, index, index / 25, 0.0, np.zeros((count, 1, 2, 2), np.float32))


def batcher() -> tuple[Batcher, HeldEngine, Clock]:
    engine, clock = HeldEngine(), Clock()
    return Batcher(engine, clock=clock), engine, clock  # type: ignore[arg-type]


def test_a_partial_batch_waits_for_its_window_and_no_longer() -> None:
    queue, engine, clock = batcher()
    queue.put(Plain(), tiles(1))  # type: ignore[arg-type]
    clock.now += BATCH_WINDOW_SECONDS * 0.9
    queue.put(Plain(), tiles(1, 1))  # type: ignore[arg-type]
    queue.flush_due()
    assert engine.sizes == []
    clock.now += BATCH_WINDOW_SECONDS * 0.2  # the window of the first frame is over, whatever came after it
    queue.flush_due()
    assert engine.sizes == [2]
    queue.flush_due(idle=True)
    assert engine.sizes == [2]  # nothing waits


def test_a_partial_batch_starts_at_once_where_no_frame_is_to_be_expected() -> None:
    queue, engine, _ = batcher()
    queue.put(Plain(), tiles(3))  # type: ignore[arg-type]
    queue.flush_due(idle=True)
    assert engine.sizes == [3]


def test_nothing_more_is_started_while_the_engine_has_enough_to_do() -> None:
    """Another start would only block the loop that all cameras share."""
    queue, engine, clock = batcher()
    for index in range(BATCHES_AHEAD):
        queue.put(Plain(), tiles(1, index))  # type: ignore[arg-type]
        queue.flush_due(idle=True)
    assert queue.is_busy
    queue.put(Plain(), tiles(1, 2))  # type: ignore[arg-type]
    clock.now += 10
    queue.flush_due(idle=True)
    assert len(engine.held) == BATCHES_AHEAD
    engine.answer()
    queue.flush_due()
    assert len(engine.held) == BATCHES_AHEAD
    assert queue.ready() != []


def test_frames_of_each_camera_are_counted_and_can_be_forgotten() -> None:
    queue, engine, _ = batcher()
    for index, camera in enumerate("abab"):
        queue.put(Plain(), tiles(1, index, camera))  # type: ignore[arg-type]
    assert (queue.waiting_of("a"), queue.waiting_of("b"), queue.waiting_of("c")) == (2, 2, 0)
    queue.forget("a")
    assert (queue.waiting_of("a"), queue.waiting) == (0, 2)
    queue.flush()
    engine.answer()
    assert [scored.score.camera for scored in queue.ready()] == ["b", "b"]
    assert (queue.waiting_of("b"), queue.waiting) == (0, 0)


class Site:
    """A monitor of real models and scorers over stand-in sources and engines; a round is one turn of its loop."""

    def __init__(self, bundles: dict[str, Path]) -> None:
        source = {"type": "file", "path": "replay", "realtime": True}
        cameras = [
            {"id": name, "source": source, "threshold": THRESHOLD, "model": str(path)} for name, path in bundles.items()
        ]
        document = {"cameras": cameras, "quality": {"enabled": False}, "engine": {"threads": 1}}
        self.scored: Counter[str] = Counter()
        self.clock = Clock()
        self.monitor = Monitor(parse_config(yaml.safe_dump(document)), on_score=self._scored)
        self.engines: dict[str, HeldEngine] = {}
        pictures = list(moving_shapes(40, shapes=3))
        for camera in self.monitor.cameras:
            camera.source = EndlessSource(camera.spec.id, pictures, self.clock)  # type: ignore[assignment]
        for name, queue in self.monitor._batchers.items():
            self.engines[name] = queue.engine = HeldEngine()  # type: ignore[attr-defined]
            queue._clock = self.clock

    def rounds(self, count: int, seconds: float = 0.02) -> None:
        """Go round; each engine answers a batch a round."""
        for _ in range(count):
            self.clock.now += seconds
            self.monitor._round(set())
            for engine in self.engines.values():
                engine.answer()

    def _scored(self, camera: Any, frame: Any, score: FrameScore) -> None:
        self.scored[camera.spec.id] += 1


def test_a_model_is_not_starved_by_the_cameras_of_another(small_bundle: Path, tmp_path: Path) -> None:
    """Its partial batches started only in a round in which no camera of any model delivered: never, under load."""
    other = shutil.copytree(small_bundle, tmp_path / "other")
    site = Site({"a": small_bundle, "b": other, "c": other})
    b = site.monitor._by_id["b"].source
    c = site.monitor._by_id["c"].source
    b.due = c.due = lambda: True  # type: ignore[attr-defined]
    site.rounds(300)
    assert site.scored["a"] > 0.5 * max(site.scored["b"], site.scored["c"])
    waits = site.monitor._batchers[str(small_bundle)]
    assert waits.waiting_of("a") <= 2


def test_identical_cameras_lose_alike_under_load(small_bundle: Path) -> None:
    """Eight cameras on one engine too slow for them had 25 to 11.9 frames/s, by their order in the file."""
    names = [f"cam{number}" for number in range(8)]
    site = Site(dict.fromkeys(names, small_bundle))
    site.rounds(600)
    counts = [site.scored[name] for name in names]
    assert min(counts) > 20
    assert max(counts) - min(counts) <= 0.1 * max(counts), counts
    assert max(counts) - min(counts) <= 3, counts
    taken = sum(site.monitor._by_id[name].source.index for name in names)  # type: ignore[attr-defined]
    assert taken - sum(counts) <= 2 * len(names) + 8 * 8  # no more in flight than their share


def feed(overload: Overload, clock: Clock, seconds: float, share: float, state: list[float]) -> list[bool]:
    """Half seconds of 12 frames each, of which a share is dropped; where `is_active` changed, to what."""
    changes = []
    for _ in range(round(seconds / 0.5)):
        clock.now += 0.5
        state[0] += 12
        state[1] += 12 * share
        if overload.update(round(state[0]), round(state[1])):
            changes.append(overload.is_active)
    return changes


def test_overload_is_reported_once_when_it_begins_and_once_when_it_ends() -> None:
    clock = Clock()
    overload, state = Overload(clock), [0.0, 0.0]
    assert feed(overload, clock, 60, 0.0, state) == []
    assert feed(overload, clock, 60, 0.3, state) == [True]
    assert feed(overload, clock, 60, 0.03, state) == []  # between the two limits nothing changes
    assert feed(overload, clock, 60, 0.0, state) == [False]
    assert feed(overload, clock, 60, 0.03, state) == []


def test_a_burst_is_no_overload() -> None:
    """A camera that connects may send what it had stored, much of which is dropped at once."""
    clock = Clock()
    overload, state = Overload(clock), [0.0, 0.0]
    overload.update(0, 0)
    assert feed(overload, clock, 1, 0.9, state) == []
    assert feed(overload, clock, 3 * WINDOW_SECONDS, 0.0, state) == []


def test_overload_shows_in_status_log_and_metrics(small_bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    site = Site({"a": small_bundle, "b": small_bundle})
    clock = site.clock
    watch = site.monitor._by_id["a"]
    watch.overload._clock = clock
    site.monitor._by_id["b"].overload._clock = clock
    source: Any = watch.source
    dropped = [0]
    plain = type(source).status.fget

    class Dropping(EndlessSource):
        @property
        def status(self) -> Any:
            from dataclasses import replace

            return replace(plain(self), dropped={"queue_full": dropped[0]})

    source.__class__ = Dropping

    def refresh(seconds: float, share: float) -> None:
        for _ in range(round(seconds / 0.5)):
            clock.now += 0.5
            source.index += 12
            dropped[0] += round(12 * share)
            site.monitor._refresh()

    def metric(name: str) -> float:
        for line in site.monitor.metrics.render().decode().splitlines():
            if line.startswith(name):
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError(name)

    with caplog.at_level(logging.INFO):
        refresh(20, 0.5)
        document = site.monitor.status()
        assert [camera["state"] for camera in document["cameras"]] == ["overloaded", "up"]
        assert document["overloaded"]
        assert metric('streamad_camera_overloaded{camera="a"}') == 1
        assert metric('streamad_camera_overloaded{camera="b"}') == 0
        assert metric("streamad_overloaded ") == 1
        refresh(20, 0.0)
    assert [camera["state"] for camera in site.monitor.status()["cameras"]] == ["up", "up"]
    assert metric("streamad_overloaded ") == 0
    texts = [record.getMessage() for record in caplog.records]
    for words in ("camera a: not keeping up", "camera a: keeping up again", "does not keep up with 2 cameras",
                  "keeps up with all cameras again"):  # fmt: skip
        assert sum(words in text for text in texts) == 1, texts
