"""Notifications to systemd, received by a real socket, and the unit file as systemd reads it."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from program_support import program

from streamad.observability.systemd import SystemdNotifier

UNIT = Path(__file__).resolve().parents[3] / "configs" / "streamad.service"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.setblocking(False)
        yield receiver


def received(manager: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(manager.recv(4096).decode())
        except BlockingIOError:
            return messages


def test_ready_once_then_alive_at_half_the_watchdog_time(manager: socket.socket) -> None:
    times = iter([100.0, 100.5, 105.0, 109.9, 110.0, 110.1])
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = SystemdNotifier(environ, clock=times.__next__)
    assert environ == {}, "children do not notify"
    notifier.alive()
    assert received(manager) == ["READY=1\nWATCHDOG=1"]
    for _ in range(3):
        notifier.alive()
    assert received(manager) == []
    notifier.alive()
    notifier.alive()
    assert received(manager) == ["WATCHDOG=1"]
    notifier.stopping()
    assert received(manager) == ["STOPPING=1"]


@pytest.mark.parametrize(
    "environ", [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}]
)
def test_no_watchdog_means_ready_alone(manager: socket.socket, environ: dict[str, str]) -> None:
    notifier = SystemdNotifier({**environ, "NOTIFY_SOCKET": manager.getsockname()}, clock=iter(range(1000)).__next__)
    for _ in range(100):
        notifier.alive()
    assert received(manager) == ["READY=1\nWATCHDOG=1"]


def test_nothing_happens_without_a_manager_or_after_it_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    SystemdNotifier({}).alive()
    assert caplog.text == ""
    SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).alive()
    assert "cannot notify systemd: No such file" in caplog.text


def test_an_abstract_socket_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0streamad-{os.getpid()}")
        receiver.setblocking(False)
        SystemdNotifier({"NOTIFY_SOCKET": f"@streamad-{os.getpid()}"}).alive()
        assert received(receiver) == ["READY=1\nWATCHDOG=1"]


@pytest.fixture
def analyze() -> str:
    return program("systemd-analyze")


def test_the_unit_is_valid_and_confined(analyze: str, tmp_path: Path) -> None:
    text = UNIT.read_text()
    program = "/opt/streamad/bin/streamad"
    assert text.count(program) == 1
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace(program, "/bin/true"))  # whose absence would be the only complaint
    checked = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    # 2.0 of 10 is the least that a service with network, devices and a compiler at run time reaches here.
    rated = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout
