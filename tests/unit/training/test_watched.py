"""Watched video: which frames are examples, and that what is on disk is read back, whatever befell its writer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from disk_support import small_disk_or_skip

from streamad.alerts.event import Event
from streamad.alerts.tracker import EventTracker
from streamad.calibration import AlertPolicySpec
from streamad.calibration.false_alarms import FalseAlarm
from streamad.frame import Frame, LocationBoxes
from streamad.inference.session import ScoredFrame
from streamad.preprocessing import ModelInput
from streamad.scoring import FrameScore
from streamad.training.watched import ALERT, EXAMPLE, WatchedVideo, is_example
from streamad.workflows.learn_on import recorder as recording
from streamad.workflows.learn_on.recorder import MARGIN_SECONDS, WatchedRecorder, write_blocks
from streamad.writing import BackgroundWriter

LENGTH, FPS = 3, 10
POLICY = AlertPolicySpec(min_duration_seconds=0.5, cooldown_seconds=3.0).at(5.0, baseline=0.0)
GRID = (2, 4)
START = datetime(2026, 1, 1, tzinfo=UTC)


def made(folder: Path, **more: object) -> WatchedRecorder:
    seconds = count()
    return WatchedRecorder(
        folder,
        model_sha256="0" * 64,
        length=LENGTH,
        wall_clock=lambda: START + timedelta(seconds=next(seconds)),
        **more,  # type: ignore[arg-type]
    )


def play(
    recorder: WatchedRecorder, scores: Sequence[float], *, first: float = 0.0, grid: tuple[int, int] = GRID
) -> list[Event]:
    """Scores as they come from a camera, ten a second; frame k has k % 3 inputs of k. Returns the events that ended."""
    ended = []
    tracker = EventTracker(POLICY, "gate", model="gate", model_sha256="0" * 64)
    boxes = LocationBoxes.between((20, 40), range(grid[0] + 1), range(grid[1] + 1))
    for k, value in enumerate(scores):
        frame = Frame("gate", k, first + k / FPS, 0.0, np.zeros((20, 40), np.uint8))
        score = FrameScore("gate", k, frame.pts_seconds, value)
        if np.isnan(value):
            score = replace(score, skipped_reason="quality")
        batch = np.full((k % 3, LENGTH, 1, 1), k, np.float32)
        seen = ModelInput("gate", k, frame.pts_seconds, 0.0, batch, np.zeros((k % 3, 2), np.intp), boxes)
        change = tracker.update(score)
        result = ScoredFrame(frame, score, () if change is None else (change,))
        recorder.take(seen, result, POLICY, in_alert=tracker.open_event is not None)
        if change is not None and change.kind == "closed":
            ended.append(change.event)
    return ended


def flags_of(video: WatchedVideo) -> np.ndarray:
    return video.frames["flags"] & (EXAMPLE | ALERT)


def end(recorder: WatchedRecorder) -> None:
    """A picture of another size, before which nothing needs to wait any more."""
    play(recorder, [1.0], grid=(9, 9))
    recorder.flush()


def test_what_was_watched_is_read_back(tmp_path: Path) -> None:
    recorder = made(tmp_path)
    play(recorder, [1.0] * 600)
    end(recorder)
    video = WatchedVideo(tmp_path, length=LENGTH, grid=GRID)
    assert len(list(tmp_path.iterdir())) == 1
    assert video.frames["seconds"].tolist() == [k / FPS for k in range(600)]
    assert video.clips.tolist() == [0] * 600
    assert (flags_of(video) == EXAMPLE).all()
    assert video.example_seconds == pytest.approx(59.9)
    assert (recorder.kept.seconds, recorder.kept.size_bytes) == (
        pytest.approx(59.9),
        pytest.approx(video.size_bytes, abs=200),
    )
    seen = 0
    for run, values in video.read():
        numbers = np.repeat(np.arange(run.start, run.stop), video.frames["inputs"][run])
        assert values.tolist() == [[k] * LENGTH for k in numbers.tolist()]
        seen += len(values)
    assert seen == sum(k % 3 for k in range(600))


def test_frames_that_an_alert_touched_are_no_examples(tmp_path: Path) -> None:
    recorder = made(tmp_path)
    # Two rises: the second within the cooldown of the first, which reopens its alert. The third is too short.
    play(recorder, [1.0] * 300 + [9.0] * 50 + [1.0] * 15 + [9.0] * 20 + [1.0] * 300 + [9.0] * 3 + [1.0] * 100)
    end(recorder)
    video = WatchedVideo(tmp_path, length=LENGTH)
    margin = round(MARGIN_SECONDS * FPS)
    alerts = np.flatnonzero(flags_of(video) & ALERT)
    assert (alerts[0], alerts[-1]) == (300, 384)  # from the first frame of the rise, before the alert opened
    assert len(alerts) == 85  # the frames between the two, too, since they are one alert
    examples = np.flatnonzero(is_example(video.frames))
    assert examples.tolist() == [*range(300 - margin), *range(385 + margin, 788)]
    assert (video.frames["ceiling"][alerts] == 5.0).all()


def test_frames_of_a_false_alarm_are_examples_unless_another_alert_touched_them(tmp_path: Path) -> None:
    """Three alerts: the last two are so close that what is around the one is around the other, too."""
    recorder = made(tmp_path)
    scores = [1.0] * 300 + [9.0] * 50 + [1.0] * 400 + [9.0] * 40 + [1.0] * 90 + [9.0] * 40 + [1.0] * 300
    events = play(recorder, scores)
    assert len(events) == 3
    end(recorder)
    plain = WatchedVideo(tmp_path, length=LENGTH)
    # The recorder's clock counts the files it begins, from here on.
    alarms = [FalseAlarm(START.timestamp(), event.started_pts_seconds, event.updated_pts_seconds) for event in events]
    far = FalseAlarm(START.timestamp() - 3600, 30.0, 35.0)  # at that time of an earlier run
    assert (WatchedVideo(tmp_path, length=LENGTH, false_alarms=[far]).frames == plain.frames).all()

    one = WatchedVideo(tmp_path, length=LENGTH, false_alarms=alarms[:2])
    changed = np.flatnonzero(one.frames["flags"] != plain.frames["flags"])
    assert changed.tolist() == [*range(200, 450), *range(750, 790)]
    assert (flags_of(one)[200:450] == EXAMPLE).all()
    assert (flags_of(one)[750:790] == 0).all()  # no alert, but no example either
    assert flags_of(one)[880:920].tolist() == [ALERT] * 40
    assert one.example_seconds == pytest.approx(plain.example_seconds + 25.0)

    both = WatchedVideo(tmp_path, length=LENGTH, false_alarms=alarms)
    assert is_example(both.frames).all()


def test_what_a_coming_alert_could_still_touch_is_dropped_at_the_end(tmp_path: Path) -> None:
    recorder = made(tmp_path)
    play(recorder, [1.0] * 500)
    recorder.flush()
    last = WatchedVideo(tmp_path, length=LENGTH).frames["seconds"][-1]
    assert 49.9 - last > MARGIN_SECONDS + POLICY.min_duration_seconds


def test_frames_without_a_score_are_left_out(tmp_path: Path) -> None:
    recorder = made(tmp_path)
    play(recorder, [1.0] * 50 + [np.nan] * 50 + [1.0] * 50)
    end(recorder)
    video = WatchedVideo(tmp_path, length=LENGTH)
    assert len(video.frames) == 100
    assert video.example_seconds == pytest.approx(4.9 + 1.0 + 4.9)  # a gap counts as one second


def test_another_time_base_and_a_longer_gap_begin_a_clip_and_another_size_is_kept_apart(tmp_path: Path) -> None:
    recorder = made(tmp_path)
    play(recorder, [1.0] * 50, first=1000.0)
    play(recorder, [1.0] * 50)
    play(recorder, [1.0] * 50, first=65.0 + 5)
    play(recorder, [1.0] * 50, first=100.0)
    play(recorder, [1.0] * 50, first=200.0, grid=(3, 4))
    end(recorder)
    video = WatchedVideo(tmp_path, length=LENGTH, grid=GRID)
    assert np.bincount(video.clips).tolist() == [50, 50, 100]
    assert video.seconds[[0, 49, 50, 100, 149, 150]] == pytest.approx([0, 4.9, 0, 0, 4.9, 30])
    assert len(WatchedVideo(tmp_path, length=LENGTH, grid=(3, 4)).frames) == 50
    assert len(WatchedVideo(tmp_path, length=4).frames) == 0


def test_a_later_run_continues(tmp_path: Path) -> None:
    first = made(tmp_path)
    play(first, [1.0] * 300)
    end(first)
    second = made(tmp_path)
    assert second.kept.seconds == pytest.approx(first.kept.seconds)
    play(second, [1.0] * 300, first=10.0)  # by chance, its times would continue those of the first
    end(second)
    video = WatchedVideo(tmp_path, length=LENGTH)
    assert np.bincount(video.clips).tolist() == [300, 300]
    assert second.kept.seconds == pytest.approx(video.example_seconds)
    second.discard()
    assert (second.kept.seconds, len(WatchedVideo(tmp_path, length=LENGTH).frames)) == (0, 0)


@pytest.mark.parametrize("where", ["cut", "times", "inputs", "header"])
def test_what_is_incomplete_or_damaged_is_left_out(
    tmp_path: Path, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = made(tmp_path)
    play(recorder, [1.0] * 600)
    end(recorder)
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    if where == "cut":
        del data[-5:]
    else:
        data[{"times": -2000, "inputs": -3, "header": 3}[where]] ^= 0xFF
    path.write_bytes(data)
    video = WatchedVideo(tmp_path, length=LENGTH)
    if where == "inputs":  # found when they are read
        with pytest.raises(OSError, match="is damaged"):
            list(video.read())
        return
    assert path.name in caplog.text
    assert len(video.frames) < 600
    assert bool(len(video.frames)) == (where != "header")
    assert sum(len(values) for _, values in video.read()) == video.frames["inputs"].sum()


def test_a_full_disk_is_reported_and_nothing_is_left_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recording, "FREE_BYTES", 0)
    with small_disk_or_skip(tmp_path / "disk", "16k") as disk:
        writer = BackgroundWriter("learning", write_blocks, capacity=4, retry_seconds=0.01)
        recorder = made(disk / "gate", put=writer.put)
        play(recorder, [1.0] * 3000)
        writer.close()
        video = WatchedVideo(disk / "gate", length=LENGTH)
        assert 100 < len(video.frames) < 2000
        assert recorder.kept.seconds == pytest.approx(video.example_seconds)
    assert caplog.text.count("No space left on device; keeping the data in memory") == 1


def test_a_nearly_full_disk_and_the_limit_of_a_camera_end_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = made(tmp_path / "gate")
    monkeypatch.setattr(recording, "FREE_BYTES", 1 << 60)
    with pytest.raises(OSError, match="of the disk are free"):
        play(recorder, [1.0] * 300)
    assert list((tmp_path / "gate").iterdir()) == []
    monkeypatch.setattr(recording, "FREE_BYTES", 0)
    monkeypatch.setattr(recording, "MOST_BYTES", 5000)
    play(recorder, [1.0] * 1000)
    assert 5000 < recorder.kept.size_bytes < 10_000
