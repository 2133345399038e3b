"""`streamad run` while its outputs fail or hang: monitoring continues, and it ends when asked to."""

from __future__ import annotations

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from bundle_support import moving_shapes, write_mp4
from cli_support import command, streamad, write_config
from disk_support import fill, small_disk_or_skip
from run_support import Running, children, running

from streamad.calibration.score_history import RECORD

pytestmark = [pytest.mark.timeout(300), pytest.mark.alone]

RULES = {"min_duration_seconds": 0.1, "cooldown_seconds": 0}


@pytest.fixture(scope="module")
def blinking_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of half a minute in which something moves in every third second: ten events."""
    busy = tuple((45 * k + 15, 45 * k + 30) for k in range(10))
    return write_mp4(tmp_path_factory.mktemp("outputs") / "busy.mp4", moving_shapes(450, busy=busy), fps=15)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    with small_disk_or_skip(tmp_path / "disk", "2m") as folder:
        yield folder


def endless(video: Path) -> dict[str, Any]:
    return {"type": "file", "path": str(video), "realtime": True, "loop": True}


def output(run: Running, name: str) -> dict[str, Any]:
    (found,) = [each for each in run.get("/status")["outputs"] if each["name"] == name]
    assert isinstance(found, dict)
    return found


def sent(path: Path) -> list[tuple[str, str]]:
    """Read (id, kind) of every line; each line must be whole."""
    return [(line["id"], line["kind"]) for line in map(json.loads, path.read_text().splitlines())]


def stored(path: Path) -> list[tuple[str, str]]:
    """Read (id, state) of every event; empty if the file is not yet, or no longer, a store."""
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as connection, suppress(sqlite3.Error):
        return connection.execute("SELECT id, state FROM events WHERE type = 'anomaly' ORDER BY id").fetchall()
    return []


def test_a_full_disk_does_not_end_the_watching_of_files(
    small_bundle: Path, blinking_video: Path, tmp_path: Path, disk: Path
) -> None:
    sink = disk / "events.jsonl"
    sink.touch()
    (disk / "scores").mkdir()
    fill(disk)
    path = write_config(
        tmp_path / "site.yaml", small_bundle, {"type": "file", "path": str(blinking_video)}, rules=RULES,
        history={"folder": str(disk / "history")}, sinks=[{"type": "jsonl", "path": str(sink)}],
    )  # fmt: skip
    ran = streamad("run", path, "--once", "--json", "--scores", disk / "scores", cwd=tmp_path)
    assert ran.code == 1, ran.err  # monitored to the end, but the output is incomplete
    (camera,) = ran.document()["cameras"]
    assert (camera["scored"], camera["error"]) == (450, None)
    assert camera["alerts"] == len(stored(tmp_path / "events.sqlite")) == 10
    for name in ("history", "scores", "jsonl"):
        assert ran.err.count(f"output {name}: ") >= 1
        assert f"output {name}: " in ran.err
    assert "No space left on device" in ran.err
    assert " items: " in ran.err
    assert sink.read_text() == ""


@pytest.mark.parametrize("seconds", [pytest.param(60, marks=pytest.mark.slow)])
def test_a_disk_that_fills_and_is_freed_loses_and_doubles_nothing(
    small_bundle: Path, blinking_video: Path, tmp_path: Path, disk: Path, seconds: float
) -> None:
    events, sink, history, scores = (disk / n for n in ("events.sqlite", "events.jsonl", "history", "scores"))
    path = write_config(
        tmp_path / "site.yaml", small_bundle, endless(blinking_video), rules=RULES, web={"port": 0},
        events={"path": str(events)}, history={"folder": str(history)}, sinks=[{"type": "jsonl", "path": str(sink)}],
    )  # fmt: skip
    with running(path, arguments=["--scores", scores]) as run:
        run.eventually(lambda: run.camera("a")["frames"] > 30)
        filler = fill(disk)
        scored, until = run.metric("streamad_frames_total", stage="scored"), time.monotonic() + seconds
        while time.monotonic() < until:
            assert run.get("/healthz")["ok"]
            time.sleep(1)
        # Monitoring never stopped, and the cause is reported everywhere.
        assert run.metric("streamad_frames_total", stage="scored") - scored > 0.5 * 15 * seconds
        for name in ("events", "jsonl", "history", "scores"):
            state = output(run, name)
            assert state["waiting"] > 0, name
            assert state["dropped"] == 0, name
            assert "disk is full" in state["error"] or "No space left" in state["error"]
            reason = "SQLITE_FULL" if name == "events" else "ENOSPC"
            assert run.metric("streamad_output_errors_total", output=name, reason=reason) > 1
            assert run.text.count(f"output {name}: ") == 1
        assert run.metric("streamad_notifications_total", outcome="failed") > 1
        filler.unlink()
        run.eventually(lambda: all(each["error"] is None for each in run.get("/status")["outputs"]))
        run.eventually(lambda: all(each["waiting"] == 0 for each in run.get("/status")["outputs"]))
        for name in ("events", "jsonl", "history", "scores"):
            # Twice at most: the store's log has room for one more event after the others have failed.
            assert 1 <= run.text.count(f"output {name} recovered after") <= (2 if name == "events" else 1), run.text
        assert run.end() == 0
    assert "Traceback" not in run.text
    # Every event once, with its changes in order, in both store and sink; every frame's score once.
    names = [name for name, _ in stored(events)]
    assert len(names) > seconds / 8
    lines = sent(sink)
    assert sorted({name for name, _ in lines}) == names
    for name in names:
        kinds = [kind for each, kind in lines if each == name]
        assert kinds[0] == "opened"
        assert kinds[-1] == "closed"
        assert (kinds.count("opened"), kinds.count("closed")) == (1, 1)
    with (scores / "a.csv").open() as file:
        numbers = [int(row["index"]) for row in csv.DictReader(file)]
    assert numbers == sorted(set(numbers))
    assert len(numbers) > 15 * seconds
    records = sum(
        len(data.partition(b"\n")[2]) / RECORD.itemsize
        for data in (file.read_bytes() for file in (history / "a").iterdir())
    )
    assert records == len(numbers)


def blocked_pipe() -> tuple[int, int]:
    """Create a full pipe that nobody reads; return (read end, write end). The write end blocks."""
    read_end, write_end = os.pipe()
    stuff(write_end)
    return read_end, write_end


def stuff(write_end: int) -> None:
    # Use a separate file description, because the other one must keep blocking.
    other = os.open(f"/proc/self/fd/{write_end}", os.O_WRONLY | os.O_NONBLOCK)
    for size in (1000, 1):
        with suppress(BlockingIOError):
            while True:
                os.write(other, b"\n" * size)
    os.close(other)


@pytest.mark.parametrize(
    ("hangs", "code"),
    [
        ("jsonl to stdout", 1),
        pytest.param("document to stdout", 1, marks=pytest.mark.slow),
        pytest.param("named pipe", 0, marks=pytest.mark.slow),
        pytest.param("decoder", 0, marks=pytest.mark.slow),
    ],
)
def test_sigterm_ends_whatever_hangs(
    small_bundle: Path, blinking_video: Path, tmp_path: Path, hangs: str, code: int
) -> None:
    sinks = {"jsonl to stdout": [{"type": "jsonl"}], "named pipe": [{"type": "jsonl", "path": str(tmp_path / "fifo")}]}
    os.mkfifo(tmp_path / "fifo")
    path = write_config(
        tmp_path / "site.yaml", small_bundle, endless(blinking_video), rules=RULES, web={"port": 0},
        sinks=sinks.get(hangs, []),
    )  # fmt: skip
    read_end, write_end = blocked_pipe() if "stdout" in hangs else os.pipe()
    arguments = ["--json"] if hangs == "document to stdout" else []
    with running(path, arguments=arguments, stdout=write_end) as run:
        # Monitoring continues, with event after event.
        run.eventually(lambda: run.get("/status")["events"]["total"] >= 3)
        if "jsonl" in hangs or "named" in hangs:
            run.eventually(lambda: "hangs" in (output(run, "jsonl")["error"] or ""))
            assert output(run, "jsonl")["waiting"] >= 2
            assert run.metric("streamad_output_errors_total", output="jsonl", reason="ETIMEDOUT") == 1
        if hangs == "decoder":
            for pid in children(run.process.pid):
                os.kill(pid, signal.SIGSTOP)
        assert run.get("/healthz")["ok"]
        assert run.end() == code, run.text
    os.close(read_end)
    os.close(write_end)
    assert "Traceback" not in run.text
    assert len(stored(tmp_path / "events.sqlite")) >= 3


@pytest.mark.parametrize("reader", ["stopped", pytest.param("gone", marks=pytest.mark.slow)])
def test_a_log_that_nobody_reads_neither_stops_the_watching_nor_the_end(
    small_bundle: Path, blinking_video: Path, tmp_path: Path, reader: str
) -> None:
    path = write_config(
        tmp_path / "site.yaml", small_bundle, endless(blinking_video), rules=RULES, sinks=[{"type": "log"}],
        logging={"level": "debug"},
    )  # fmt: skip
    read_end, write_end = blocked_pipe()
    if reader == "gone":
        os.close(read_end)
    events = tmp_path / "events.sqlite"
    process = subprocess.Popen(command("run", path), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=write_end)

    def wait_for_events(number: int) -> None:
        deadline = time.monotonic() + 90
        while len(stored(events)) < number:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.2)

    try:
        wait_for_events(2)
        process.send_signal(signal.SIGHUP)  # as from a closed terminal
        wait_for_events(len(stored(events)) + 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    os.close(write_end)
    if reader != "gone":
        os.close(read_end)
    assert {state for _, state in stored(events)} == {"closed"}


_STUCK = """
import sys, threading
from streamad.cli.ending import Ending
with Ending() as ending:
    ending.stop_with(lambda: print("asked", flush=True))
    print("ready", flush=True)
    never = threading.Lock()
    never.acquire()
    never.acquire()  # as in an engine that never returns
"""


@pytest.mark.parametrize(
    ("signals", "code", "words"),
    [
        ([signal.SIGTERM], 1, "hangs"),
        ([signal.SIGHUP, signal.SIGINT], 1, "hangs"),
        ([signal.SIGTERM, signal.SIGTERM], 130, "exiting at once: second SIGTERM"),
        pytest.param([signal.SIGINT, signal.SIGTERM], 130, "second SIGTERM", marks=pytest.mark.slow),
    ],
)
def test_a_main_thread_that_never_comes_back_is_ended(signals: list[int], code: int, words: str) -> None:
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", _STUCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": root},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signals[0])
        if signals[0] != signal.SIGHUP:
            assert process.stdout.readline() == "asked\n"
        else:
            time.sleep(0.5)
            assert process.poll() is None
        for number in signals[1:]:
            process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode == code
    assert words in said


@pytest.mark.slow
def test_a_store_that_is_moved_away_while_watching_is_reported(
    small_bundle: Path, blinking_video: Path, tmp_path: Path
) -> None:
    path = write_config(
        tmp_path / "site.yaml", small_bundle, endless(blinking_video), rules=RULES, web={"port": 0},
        sinks=[{"type": "jsonl", "path": str(tmp_path / "all.jsonl")}],
    )  # fmt: skip
    events, archive = tmp_path / "events.sqlite", tmp_path / "archive.sqlite"
    with running(path) as run:
        run.eventually(lambda: run.get("/status")["events"]["total"] >= 3)
        events.rename(archive)
        run.eventually(lambda: "moved away, deleted, or replaced" in run.text)
        run.eventually(lambda: run.get("/status")["events"]["total"] >= 3)
        for rubbish in ("garbage", "x" * 9999):
            events.write_text(rubbish)
            run.eventually(lambda: output(run, "events")["error"])
            run.eventually(lambda: output(run, "events")["waiting"] > 2)
            events.unlink()
            run.eventually(lambda: output(run, "events")["error"] is None)
            run.eventually(lambda: output(run, "events")["waiting"] == 0)
        assert run.end() == 0
    assert "Traceback" not in run.text
    kept = {name for name, _ in stored(archive)} | {name for name, _ in stored(events)}
    assert kept >= {name for name, _ in sent(tmp_path / "all.jsonl")[-4:]}
    assert {state for _, state in stored(events)} == {"closed"}


def test_closed_standard_streams_are_no_traceback(tmp_path: Path) -> None:
    script = Path(command()[0])
    for closed in (">&-", "<&- >&- 2>&-"):
        line = f"exec {script} -m streamad models list {closed}"
        ran = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, (closed, ran)
        assert "Traceback" not in ran.stderr
