"""The recent scores on disk: whole after a kill, bounded, and the operator's alerts out of them."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from streamad.calibration.false_alarms import FalseAlarm
from streamad.calibration.score_history import RECORD, HistoryBlock, ScoreHistory, read_history
from streamad.errors import CalibrationError

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MODEL = "a" * 64


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def write(
    folder: Path,
    values: Iterable[float],
    *,
    model: str = MODEL,
    hours: float = 72,
    alerts: range = range(0),
    clock=None,
) -> ScoreHistory:
    history = ScoreHistory(folder, "gate", model, hours=hours, wall_clock=clock or Clock())
    for k, value in enumerate(values):
        history.add(k, k / 10, value, alert=k in alerts, skipped=bool(np.isnan(value)))
        if alerts and k == alerts.start:
            history.mark_alert(k - 5)
    return history


def test_scores_come_back_without_alerts_and_held_frames(tmp_path: Path) -> None:
    values = np.arange(1000.0)
    values[100:150] = np.nan
    write(tmp_path, values, alerts=range(400, 460)).close()
    recent = read_history(tmp_path, "gate", MODEL, since=NOW - timedelta(hours=1))
    (clip,) = recent.clips
    assert recent.fps == pytest.approx(10)
    assert (recent.frames, recent.alert_frames, recent.skipped_frames) == (885, 65, 50)
    kept = np.isfinite(clip)
    np.testing.assert_array_equal(clip[kept], values[kept])
    assert not kept[395:460].any()  # from the frame that the alert rose from
    assert not kept[100:150].any()
    everything = read_history(tmp_path, "gate", MODEL, since=NOW - timedelta(hours=1), keep_alerts=True)
    assert everything.frames == 950


def test_scores_of_alerts_come_with_the_threshold_that_was_active(tmp_path: Path) -> None:
    values = np.arange(1000.0)
    history = ScoreHistory(tmp_path, "gate", MODEL, hours=72, wall_clock=Clock(), threshold=398.0)
    for k, value in enumerate(values):
        if k == 500:
            history.set_threshold(720.5)
        history.add(k, k / 10, value, alert=400 <= k < 450 or 800 <= k < 850, skipped=False)
        if k == 400:
            history.mark_alert(395)
    history.close()
    assert len(list((tmp_path / "gate").glob("*.scores"))) == 2
    since = NOW - timedelta(hours=1)
    recent = read_history(tmp_path, "gate", MODEL, since=since)
    np.testing.assert_array_equal(np.concatenate(recent.clips), values)
    expected = np.full(1000, np.nan)
    expected[395:450], expected[800:850] = 398.0, 720.5
    np.testing.assert_array_equal(np.concatenate(recent.ceilings), expected)
    assert (recent.frames, recent.alert_frames) == (895, 105)
    everything = read_history(tmp_path, "gate", MODEL, since=since, keep_alerts=True)
    np.testing.assert_array_equal(np.concatenate(everything.clips), values)
    assert everything.frames == 1000
    assert np.isnan(np.concatenate(everything.ceilings)).all()


def test_false_alarms_are_taken_in_full_and_no_other_alert(tmp_path: Path) -> None:
    """Three alerts in two files of one run, and one at the same presentation time of an earlier run."""
    clock = Clock()
    values = np.arange(1000.0)
    alerts = [(200, 230), (500, 550), (800, 820)]
    for run in range(2):
        clock.now = NOW + timedelta(hours=run)
        history = ScoreHistory(tmp_path, "gate", MODEL, hours=72, wall_clock=clock, threshold=398.0)
        for k, value in enumerate(values):
            clock.now += timedelta(seconds=0.1)
            if k == 520:
                history.set_threshold(500.0)
            history.add(k, 7 + k / 10, value, alert=any(a <= k < b for a, b in alerts), skipped=False)
        history.close()
    zero = (NOW + timedelta(hours=1)).timestamp() - 7
    marked = [FalseAlarm(zero + 3, 27.0, 29.9), FalseAlarm(zero - 3, 57.0, 61.9)]
    marked.append(FalseAlarm(zero - 1800, 87.0, 88.9))  # of no run that was recorded
    recent = read_history(tmp_path, "gate", MODEL, since=NOW - timedelta(hours=1), false_alarms=marked)
    assert (recent.frames, recent.false_alarm_frames, recent.alert_frames) == (2000 - 120, 80, 120)
    in_alert = np.zeros((2, 1000), bool)
    for since, until in alerts:
        in_alert[0, since:until] = True
    in_alert[1, 800:820] = True
    np.testing.assert_array_equal(np.isfinite(np.concatenate(recent.ceilings)), in_alert.ravel())
    np.testing.assert_array_equal(np.concatenate(recent.clips), np.tile(values, 2))
    # Files of earlier versions state no presentation time.
    for path in (tmp_path / "gate").iterdir():
        path.write_bytes(path.read_bytes().replace(b'"first_pts_seconds"', b'"x"', 1))
    earlier = read_history(tmp_path, "gate", MODEL, since=NOW - timedelta(hours=1), false_alarms=marked)
    assert (earlier.false_alarm_frames, earlier.alert_frames) == (0, 200)


def test_gaps_end_a_clip(tmp_path: Path) -> None:
    history = ScoreHistory(tmp_path, "gate", MODEL, hours=1, wall_clock=Clock())
    for k in range(300):
        history.add(k, k / 10 + (60 if k >= 100 else 0), 1.0, alert=False, skipped=False)
    for k in range(50):  # a new time base: another file
        history.add(k, k / 10, 2.0, alert=False, skipped=False)
    history.close()
    recent = read_history(tmp_path, "gate", MODEL, since=NOW - timedelta(hours=1))
    assert [len(clip) for clip in recent.clips] == [100, 200, 50]


def test_what_a_killed_process_left_is_read(tmp_path: Path) -> None:
    history = write(tmp_path, np.arange(500.0))  # not closed: what it wrote in ten-second pieces is there
    (path,) = (tmp_path / "gate").glob("*.scores")
    with path.open("ab") as file:
        file.write(b"\x01" * (RECORD.itemsize - 2))  # half a record
    recent = read_history(tmp_path, "gate", MODEL, since=NOW - timedelta(hours=1))
    assert 400 <= recent.frames < 500
    history.close()


def test_files_are_bounded_in_time_and_length(tmp_path: Path) -> None:
    import os

    clock = Clock()
    write(tmp_path, np.arange(200.0), hours=2, clock=clock).close()
    (old,) = (tmp_path / "gate").glob("*.scores")
    os.utime(old, (NOW.timestamp(),) * 2)
    clock.now = NOW + timedelta(hours=3)
    write(tmp_path, np.arange(80_000.0), hours=2, clock=clock).close()  # 8000 s: three files
    files = sorted((tmp_path / "gate").glob("*.scores"))
    assert old not in files
    assert len(files) == 3
    assert sum(f.stat().st_size for f in files) < 80_000 * RECORD.itemsize + 1000
    assert not list((tmp_path / "none").glob("*"))
    write(tmp_path / "none", np.arange(200.0), hours=0).close()
    assert not (tmp_path / "none").exists()


def test_only_this_models_scores_and_only_the_recent_ones(tmp_path: Path) -> None:
    write(tmp_path, np.zeros(300), model="b" * 64).close()
    with pytest.raises(CalibrationError, match="no recent scores of this model"):
        read_history(tmp_path, "gate", MODEL, since=NOW - timedelta(hours=1))
    write(tmp_path, np.arange(1200.0), clock=(clock := Clock())).close()
    assert clock.now == NOW
    recent = read_history(tmp_path, "gate", MODEL, since=NOW + timedelta(seconds=60))
    assert (recent.frames, recent.other_models) == (600, 1)
    with pytest.raises(CalibrationError, match="cameras with scores: gate"):
        read_history(tmp_path, "yard", MODEL, since=NOW)


def test_a_jump_of_the_videos_clock_begins_another_file(tmp_path: Path) -> None:
    history = ScoreHistory(tmp_path, "gate", MODEL, hours=1, wall_clock=Clock())
    for k in range(200):
        jump = 0.0 if k < 100 else 1e9  # more than a record can express
        history.add(k, k / 10 + jump, 1.0, alert=False, skipped=False)
    history.close()
    recent = read_history(tmp_path, "gate", MODEL, since=NOW - timedelta(hours=1))
    assert [len(clip) for clip in recent.clips] == [100, 100]


@pytest.mark.parametrize("started_at", ['"yesterday"', "null", "12", '"0001-01-01T00:00:00+14:00"', '"9999-99-99"'])
def test_files_with_unreadable_headers_are_passed_over(tmp_path: Path, started_at: str) -> None:
    write(tmp_path, np.arange(300.0)).close()
    other = tmp_path / "gate" / "00.scores"
    other.write_text(f'{{"format":"streamad-scores","model_sha256":"{MODEL}","started_at":{started_at}}}\n')
    (tmp_path / "gate" / "01.scores").write_bytes(b"[" * 100_000)
    (tmp_path / "gate" / "02.scores").mkdir()
    recent = read_history(tmp_path, "gate", MODEL, since=datetime.min.replace(tzinfo=UTC))
    assert recent.frames == 300


def test_a_block_that_does_not_fit_on_the_disk_leaves_nothing_and_is_written_once_later(tmp_path: Path) -> None:
    blocks: list[HistoryBlock] = []
    history = ScoreHistory(tmp_path, "gate", MODEL, hours=1, wall_clock=Clock(), put=blocks.append)
    for k in range(30_000):
        history.add(k, k / 1000, 1.0, alert=False, skipped=False)
    history.close()
    assert len(blocks) == 3
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # a disk on which one block fits
        blocks[0].write()
        for _ in range(2):
            with pytest.raises(OSError, match="too large") as caught:
                blocks[1].write()
            assert caught.value.filename == str(blocks[1].path)
            assert blocks[0].path.read_bytes() == blocks[0].header + blocks[0].records
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    blocks[1].write()
    blocks[2].write()
    assert read_history(tmp_path, "gate", MODEL, since=NOW).frames == 30_000
