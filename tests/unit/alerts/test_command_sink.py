"""The command sink with real programs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from unit.alerts.alert_events import START, make_event

from streamad.alerts.sinks import CommandSinkSpec, SinkContext
from streamad.alerts.sinks.notification import Notification, notification_of_test, of_event
from streamad.errors import OutputError


def program(folder: Path, text: str) -> Path:
    path = folder / "notify"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def send(command: list[str], what: Notification, **settings: Any) -> None:
    CommandSinkSpec.model_validate({"command": command, **settings}).build_sender(SinkContext()).send(what)


def test_it_gets_the_document_and_a_few_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_PASSWORD", "hunter2")
    monkeypatch.setenv("CHAT_ROOM", "7")
    notify = program(tmp_path, f'cat > {tmp_path}/given; env > {tmp_path}/env; printf %s "$1" > {tmp_path}/argument')
    what = of_event(make_event(), "opened", START, None).with_picture(tmp_path / "p.jpg")
    send([str(notify), "$HOME; rm -rf /"], what, environment=["CHAT_ROOM", "NOT_SET"])
    assert json.loads((tmp_path / "given").read_text()) == what.to_dict()
    assert (tmp_path / "argument").read_text() == "$HOME; rm -rf /"
    given = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    expected = {
        "STREAMAD_CAMERA": "gate", "STREAMAD_KIND": "opened", "STREAMAD_SEVERITY": "warning",
        "STREAMAD_TYPE": "anomaly", "STREAMAD_TEXT": what.text, "STREAMAD_PICTURE": str(tmp_path / "p.jpg"),
        "CHAT_ROOM": "7",
    }  # fmt: skip
    assert expected.items() <= given.items()
    assert "CAMERA_PASSWORD" not in given
    send([str(notify)], notification_of_test("command"))


def test_a_program_that_does_not_read_is_no_failure(tmp_path: Path) -> None:
    send(["true"], of_event(make_event(), "opened", START, None))


def test_another_exit_code_is_a_failure_with_its_message(tmp_path: Path) -> None:
    notify = program(tmp_path, "echo 'cannot post to https://chat.example/hooks/hunter2' >&2; exit 3")
    with pytest.raises(OutputError, match=r"exit code 3: cannot post to https://chat\.example") as caught:
        send([str(notify)], notification_of_test("command"))
    assert "hunter2" not in str(caught.value)


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    notify = program(tmp_path, f"sleep 300 & echo $! > {tmp_path}/child; wait")
    started = time.monotonic()
    with pytest.raises(OutputError, match=r"killed after 0\.5 s"):
        send([str(notify)], notification_of_test("command"), timeout_seconds=0.5)
    assert time.monotonic() - started < 20
    child = int((tmp_path / "child").read_text())
    for _ in range(200):
        if not Path(f"/proc/{child}").exists() or b"Z" in Path(f"/proc/{child}/stat").read_bytes().rpartition(b")")[2]:
            break
        time.sleep(0.05)
    else:
        os.kill(child, 9)
        pytest.fail("the child is still running")


def test_a_program_that_leaves_a_child_behind_is_not_waited_for(tmp_path: Path) -> None:
    notify = program(tmp_path, f"sleep 30 & echo $! > {tmp_path}/child")
    started = time.monotonic()
    send([str(notify)], notification_of_test("command"))
    assert time.monotonic() - started < 10
    os.kill(int((tmp_path / "child").read_text()), 9)


def test_a_program_that_does_not_exist_is_found_before_anything_is_sent(tmp_path: Path) -> None:
    spec = CommandSinkSpec(command=(str(tmp_path / "nothing"),))
    assert "does not exist" in (spec.problem() or "")
    notify = program(tmp_path, "exit 0")
    assert CommandSinkSpec(command=(str(notify),)).problem() is None
    sender = CommandSinkSpec(command=(str(notify),)).build_sender(SinkContext())
    notify.unlink()
    with pytest.raises(OutputError, match="notify"):
        sender.send(notification_of_test("command"))
