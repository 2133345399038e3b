"""When evidence is removed by age, and which process does it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from monitor_support import Clock

from streamad.alerts import new_event_id
from streamad.alerts.evidence import EvidenceSpec
from streamad.errors import OutputError
from streamad.live.evidence import LOOK_SECONDS, STEADY_SECONDS, EvidenceRecorder


class Wall:
    """Wall clock beside a monotonic one; `offset` sets it."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.offset = clock, timedelta()

    def __call__(self) -> datetime:
        return datetime(2026, 6, 1, tzinfo=UTC) + timedelta(seconds=self.clock.now) + self.offset


def look(recorder: EvidenceRecorder, clock: Clock, seconds: float) -> None:
    """Let time pass, with a check every minute."""
    end = clock.now + seconds
    while clock.now < end:
        clock.now += LOOK_SECONDS
        recorder.refresh()
        recorder.writer.flush(5.0)


def test_a_clock_that_is_set_removes_nothing_by_age(tmp_path: Path) -> None:
    clock = Clock()
    wall = Wall(clock)
    own = tmp_path / "gate" / new_event_id(wall())
    with EvidenceRecorder(EvidenceSpec(folder=tmp_path), wall, clock=clock) as recorder:
        own.mkdir(parents=True)
        look(recorder, clock, 2 * STEADY_SECONDS)
        wall.offset = timedelta(days=3650)  # ten years ahead by mistake, and back
        look(recorder, clock, STEADY_SECONDS / 2)
        assert own.is_dir()
        wall.offset = timedelta()
        look(recorder, clock, 2 * STEADY_SECONDS)
        assert own.is_dir()
        clock.now += 31 * 86400
        look(recorder, clock, 2 * LOOK_SECONDS)
        assert not own.exists()


def test_one_process_looks_after_a_folder(tmp_path: Path) -> None:
    clock = Clock()
    spec = EvidenceSpec(folder=tmp_path, max_gigabytes=1e-9)
    own = tmp_path / "gate" / new_event_id(Wall(clock)())
    own.mkdir(parents=True)
    (own / "clip.mp4").write_bytes(bytes(100))
    with EvidenceRecorder(spec, Wall(clock), clock=clock) as first:
        with EvidenceRecorder(spec, Wall(clock), clock=clock) as second:
            look(second, clock, LOOK_SECONDS)
            assert own.is_dir()
        look(first, clock, LOOK_SECONDS)
        assert not own.exists()


def test_a_folder_that_cannot_be_written_is_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        EvidenceRecorder(EvidenceSpec(folder=tmp_path / "file" / "evidence"), Wall(Clock()))
