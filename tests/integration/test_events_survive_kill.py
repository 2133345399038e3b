"""A process killed by SIGKILL loses no event that it had reported as saved."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import streamad
from streamad.alerts import EventStore
from streamad.errors import OutputError

# The process prints an event's id after `save` returns; from then on the event must not be lost. Every other
# event is closed again; the rest stay open, as in the middle of an alert.
_WATCHER = """
import sys
from pathlib import Path
from streamad.alerts import EventStore, EventTracker
from streamad.calibration import AlertPolicy
from streamad.scoring import FrameScore

store = EventStore(Path(sys.argv[1]))
trackers = [
    EventTracker(
        AlertPolicy(threshold=10, release=8, baseline=0, min_duration_seconds=0, cooldown_seconds=0),
        f"camera-{i}",
        model="m",
        model_sha256="0",
    )
    for i in range(3)
]
index = 0
while True:
    for number, tracker in enumerate(trackers):
        for score in (20.0, 1.0) if number % 2 else (1.0, 20.0):
            index += 1
            change = tracker.update(FrameScore("camera", index, index / 25, score))
            if change is not None:
                store.save(change.event)
                print(change.event.id, change.event.state, flush=True)
"""


def start_watcher(path: Path) -> subprocess.Popen[str]:
    root = str(Path(streamad.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", _WATCHER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )


@pytest.mark.parametrize("lines_before_kill", [1, 40, 333])
def test_no_saved_event_is_lost(tmp_path: Path, lines_before_kill: int) -> None:
    path = tmp_path / "events.sqlite"
    with start_watcher(path) as watcher:
        assert watcher.stdout is not None
        reported = [watcher.stdout.readline().split() for _ in range(lines_before_kill)]
        with pytest.raises(OutputError, match="in use by another streamad process"):
            EventStore(path)
        os.kill(watcher.pid, signal.SIGKILL)
        # Lines printed between our last read and its death count too, except a truncated one.
        rest = watcher.stdout.read().splitlines(keepends=True)
        reported += [line.split() for line in rest if line.endswith("\n")]
    assert watcher.returncode == -signal.SIGKILL

    expected = dict(reported)
    with EventStore(path) as store:
        events = {event.id: event for event in store.events(limit=100_000)}
        assert store.count() == len(events)
    assert set(expected) <= set(events)
    # At most one more event: the one whose report was prevented by the kill.
    assert len(events) <= len(expected) + 1
    assert all(event.state in ("closed", "interrupted") for event in events.values())
    for name, state in list(expected.items())[:-3]:
        assert events[name].state == ("closed" if state == "closed" else "interrupted")
    interrupted = [event for event in events.values() if event.state == "interrupted"]
    assert all(event.ended_at == event.updated_at and event.reason == "process_died" for event in interrupted)

    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        connection.close()


def test_a_store_survives_kill_after_kill(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    known: set[str] = set()
    for _ in range(4):
        with start_watcher(path) as watcher:
            assert watcher.stdout is not None
            known |= {watcher.stdout.readline().split()[0] for _ in range(25)}
            os.kill(watcher.pid, signal.SIGKILL)
            watcher.stdout.read()
    with EventStore(path) as store:
        assert known <= {event.id for event in store.events(limit=100_000)}
        assert store.error is None
