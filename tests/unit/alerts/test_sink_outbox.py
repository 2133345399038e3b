"""The outbox: what waits survives a kill, a full disk and a file that is gone, within its limits."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest
from disk_support import fill, small_disk_or_skip
from unit.alerts.alert_events import START, make_event

import streamad
from streamad.alerts.sinks.notification import Notification, of_event
from streamad.alerts.sinks.outbox import Outbox
from streamad.errors import OutputError

DAY = timedelta(days=1)


def note(number: int) -> Notification:
    return of_event(make_event(number), "opened", START + timedelta(minutes=number), UTC)


def ids(outbox: Outbox) -> list[str]:
    return [item.notification.id for item in outbox.heads()]


def open_outbox(path: Path, **more: Any) -> Outbox:
    return Outbox(path, **{"max_waiting": 1000, "max_age": DAY, **more})


def test_what_waits_is_there_after_a_restart_in_the_same_order(tmp_path: Path) -> None:
    path = tmp_path / "new" / "webhook.sqlite"
    outbox = open_outbox(path)
    sent = [note(n) for n in range(5)]
    for notification in sent:
        outbox.add(notification)
    outbox.remove(outbox.heads()[1])
    assert outbox.is_saved
    outbox.close()
    again = open_outbox(path)
    assert ids(again) == [sent[n].id for n in (0, 2, 3, 4)]
    assert again.heads()[0].notification == sent[0]
    again.add(note(9))
    assert len(again) == 5
    again.close()


def test_only_the_first_of_an_event_may_be_sent(tmp_path: Path) -> None:
    outbox, event = open_outbox(tmp_path / "o.sqlite"), make_event()
    first, second, other = of_event(event, "opened", START, UTC), of_event(event, "closed", START, UTC), note(1)
    for notification in (first, second, other):
        outbox.add(notification)
    assert ids(outbox) == [first.id, other.id]
    outbox.remove(outbox.heads()[0])
    assert ids(outbox) == [second.id, other.id]
    outbox.close()


def test_the_oldest_go_when_too_many_wait_or_when_they_are_too_old(tmp_path: Path) -> None:
    dropped: list[tuple[int, str]] = []
    outbox = open_outbox(
        tmp_path / "o.sqlite",
        max_waiting=3,
        max_age=timedelta(minutes=30),
        on_dropped=lambda amount, reason: dropped.append((amount, reason)),
    )
    sent = [note(n) for n in range(5)]  # a minute between each
    for notification in sent:
        outbox.add(notification)
    assert ids(outbox) == [n.id for n in sent[2:]]
    outbox.expire(START + timedelta(minutes=33, seconds=30))
    assert ids(outbox) == [sent[4].id]
    assert dropped == [(1, "outbox_full"), (1, "outbox_full"), (2, "expired")]
    outbox.close()
    assert len(open_outbox(tmp_path / "o.sqlite")) == 1


def test_a_full_disk_loses_nothing_and_stops_nothing(tmp_path: Path) -> None:
    with small_disk_or_skip(tmp_path / "disk", "256k") as disk:
        outbox = open_outbox(disk / "o.sqlite")
        outbox.add(note(0))
        filler = fill(disk)
        for number in range(1, 40):
            outbox.add(note(number))
        assert outbox.error is not None
        assert "full" in str(outbox.error)
        assert len(outbox) == 40
        outbox.remove(outbox.heads()[0])
        filler.unlink()
        outbox.save()
        assert outbox.error is None
        kept = ids(outbox)
        assert len(kept) == 39
        outbox.close()
        again = open_outbox(disk / "o.sqlite")
        assert ids(again) == kept
        again.close()


def test_a_file_that_was_deleted_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite"
    outbox = open_outbox(path)
    outbox.add(note(0))
    for file in tmp_path.glob("o.sqlite*"):
        file.unlink()
    outbox.add(note(1))
    assert outbox.error is None
    outbox.close()
    again = open_outbox(path)
    assert len(again) == 2
    again.close()


def test_two_processes_cannot_share_an_outbox_and_foreign_files_stay(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite"
    outbox = open_outbox(path)
    with pytest.raises(OutputError, match="in use by another streamad process"):
        open_outbox(path)
    outbox.close()
    other = sqlite3.connect(tmp_path / "theirs.sqlite")
    other.execute("CREATE TABLE addresses (name TEXT)")
    other.commit()
    other.close()
    with pytest.raises(OutputError, match="another program"):
        open_outbox(tmp_path / "theirs.sqlite")
    (tmp_path / "text.sqlite").write_text("not a database, but long enough to be read as one" * 40)
    with pytest.raises(OutputError, match="not a database"):
        open_outbox(tmp_path / "text.sqlite")
    open_outbox(path).close()  # the lock was released


def test_a_notification_that_cannot_be_read_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "o.sqlite"
    outbox = open_outbox(path)
    for number in range(2):
        outbox.add(note(number))
    outbox.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE notifications SET document = '{' WHERE number = 1")
    connection.commit()
    connection.close()
    again = open_outbox(path)
    assert len(again) == 1
    assert "skipping notification 1" in caplog.text
    again.close()


_FILLER = """
import sys
from datetime import timedelta
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from datetime import UTC
from unit.alerts.alert_events import START, make_event
from streamad.alerts.sinks.notification import of_event
from streamad.alerts.sinks.outbox import Outbox

outbox = Outbox(Path(sys.argv[1]), max_waiting=100000, max_age=timedelta(days=1))
number = 0
while True:
    notification = of_event(make_event(number), "opened", START, UTC)
    outbox.add(notification)
    print(notification.id, flush=True)
    number += 1
"""


@pytest.mark.parametrize("lines_before_kill", [1, 100])
def test_a_killed_process_loses_nothing_that_was_accepted(tmp_path: Path, lines_before_kill: int) -> None:
    path = tmp_path / "o.sqlite"
    tests = str(Path(__file__).resolve().parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", _FILLER, str(path), tests],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(streamad.__file__).parents[1])},
    ) as process:
        assert process.stdout is not None
        accepted = [process.stdout.readline().strip() for _ in range(lines_before_kill)]
        os.kill(process.pid, signal.SIGKILL)
        accepted += [line.strip() for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    outbox = open_outbox(path)
    assert ids(outbox)[: len(accepted)] == accepted
    assert len(outbox) <= len(accepted) + 1
    outbox.close()
