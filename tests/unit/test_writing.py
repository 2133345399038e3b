"""Writing on a thread of its own, to real files, pipes and disks that fail."""

from __future__ import annotations

import errno
import io
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from disk_support import fill, small_disk_or_skip

from streamad.observability.logging import BackgroundStream, setup_logging
from streamad.writing import Appender, BackgroundWriter, reason_of

RETRY = 0.02


def eventually(question: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not question():
        assert time.monotonic() < deadline
        time.sleep(RETRY)


class Target:
    """What a writer writes to: refuses, hangs or takes."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.calls: list[list[int]] = []
        self.fault: Exception | None = None
        self.free = threading.Event()
        self.free.set()

    def write(self, items: Sequence[int]) -> None:
        self.calls.append(list(items))
        self.free.wait()
        if self.fault is not None:
            raise self.fault
        self.taken += items


@pytest.fixture
def target() -> Iterator[Target]:
    made = Target()
    yield made
    made.free.set()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KB."""
    with small_disk_or_skip(tmp_path / "disk", "64k") as folder:
        yield folder


def test_items_arrive_once_and_in_order_through_a_fault_that_is_named_once(
    target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes = list[tuple[str, int, str]]()
    writer = BackgroundWriter(
        "x", target.write, batch=4, retry_seconds=RETRY, on_outcome=lambda *outcome: outcomes.append(outcome)
    )
    caplog.set_level(logging.INFO)
    writer.put(0)
    assert writer.flush(30)
    target.fault = OSError(errno.EDQUOT, "Disk quota exceeded", "/somewhere/file")
    for item in range(1, 10):
        writer.put(item)
    eventually(lambda: len(target.calls) > 4)
    assert not writer.flush(30)  # does not wait
    assert writer.status() == {
        "name": "x", "error": "cannot write /somewhere/file: Disk quota exceeded", "waiting": 9, "dropped": 0,
    }  # fmt: skip
    target.fault = None
    eventually(lambda: not writer.waiting())
    assert target.taken == list(range(10))
    assert max(len(call) for call in target.calls) == 4
    assert writer.close() == []
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "output x: cannot write /somewhere/file: Disk quota exceeded" in caplog.text
    assert "recovered after" in caplog.text
    assert {outcome for outcome in outcomes if outcome[0] == "failed"} == {("failed", 1, "EDQUOT")}
    assert sum(amount for outcome, amount, _ in outcomes if outcome == "written") == 10


def test_the_oldest_give_way_and_are_counted(target: Target, caplog: pytest.LogCaptureFixture) -> None:
    writer = BackgroundWriter("x", target.write, capacity=5, retry_seconds=RETRY)
    target.fault = OSError(errno.ENOSPC, "No space left on device")
    for item in range(100):
        writer.put(item)
    assert writer.waiting()[-5:] == [95, 96, 97, 98, 99]
    eventually(lambda: writer.error is not None)
    target.fault = None
    eventually(lambda: not writer.waiting())
    writer.close()
    assert target.taken[-5:] == [95, 96, 97, 98, 99]
    assert writer.dropped == 100 - len(target.taken) > 0
    assert caplog.text.count("dropping the oldest") == 1
    assert f"{writer.dropped} items lost" in caplog.text


def test_a_newer_item_under_the_same_key_takes_the_place_of_one_that_waits(target: Target) -> None:
    writer = BackgroundWriter("x", target.write, retry_seconds=RETRY)
    target.free.clear()
    writer.put(1, key="a")
    eventually(lambda: target.calls)
    for item, key in ((2, "b"), (3, "c"), (4, "b"), (5, "a")):
        writer.put(item, key=key)
    target.free.set()
    assert writer.flush(30)
    assert target.taken == [1, 5, 4, 3]  # the first was being written already, so its place is kept
    writer.close()


def test_a_call_that_hangs_is_a_fault_and_delays_neither_the_caller_nor_the_end(
    target: Target, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamad.writing.STALL_SECONDS", 0.05)
    writer = BackgroundWriter("x", target.write, capacity=10)
    target.free.clear()
    for item in range(1000):
        writer.put(item)
    eventually(lambda: writer.error is not None)
    assert reason_of(writer.error or OSError()) == "ETIMEDOUT"
    writer.put(1000)
    assert caplog.text.count("hangs: nothing written") == 1
    rest = writer.close(0.05)
    assert rest[0] == 0
    assert rest[-1] == 1000
    assert not writer.is_over
    assert writer.dropped == 1001
    target.free.set()
    eventually(lambda: writer.is_over)


def test_a_bug_costs_its_item_and_no_other(target: Target, caplog: pytest.LogCaptureFixture) -> None:
    def write(items: Sequence[int]) -> None:
        if items[0] == 1:
            raise KeyError("a bug")
        target.write(items)

    writer = BackgroundWriter("x", write)
    for item in range(3):
        writer.put(item)
    assert writer.flush(30)
    assert target.taken == [0, 2]
    assert writer.dropped == 1
    assert "a bug" in caplog.text
    writer.close()
    writer.put(3)
    assert writer.dropped == 2


def test_files_that_are_read_faster_than_written_lose_nothing(target: Target) -> None:
    def slowly(items: Sequence[int]) -> None:
        time.sleep(0.0005)
        target.write(items)

    writer = BackgroundWriter("x", slowly, capacity=20)
    for item in range(300):
        writer.put(item)
    writer.close()
    assert target.taken == list(range(300))


def test_a_line_is_on_a_full_disk_whole_or_not_at_all(disk: Path) -> None:
    path = disk / "lines"
    file = Appender(path, header=b"header\n")
    file.append(b"a" * 5000 + b"\n")
    filler = fill(disk)
    for _ in range(3):
        with pytest.raises(OSError, match="No space left") as caught:
            file.append(b"b" * 9000 + b"\n")
        assert caught.value.filename == str(path)
        assert path.read_bytes() == b"header\n" + b"a" * 5000 + b"\n"
    filler.unlink()
    file.append(b"c\n")
    assert path.read_bytes().endswith(b"a\nc\n")
    file.close()


def test_a_file_goes_on_after_whatever_befell_its_path(disk: Path) -> None:
    path = disk / "folder" / "lines"
    file = Appender(path, header=b"header\n")
    file.append(b"a\n")
    shutil.rmtree(path.parent)
    file.append(b"b\n")
    assert path.read_bytes() == b"header\nb\n"
    path.parent.rename(disk / "moved")
    path.parent.write_text("a file in place of the folder")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        file.append(b"c\n")
    path.parent.unlink()
    path.mkdir(parents=True)
    with pytest.raises(OSError, match="Is a directory"):
        file.append(b"c\n")
    path.rmdir()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(OSError, match="Read-only"):
        file.append(b"c\n")
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    path.write_bytes(b"header\nbroken of")
    file.append(b"c\n")
    assert path.read_bytes() == b"header\nbroken of\nc\n"
    file.close()


def test_no_descriptor_left_is_a_fault_that_ends() -> None:
    script = """
import os, resource, sys
from pathlib import Path
from streamad.writing import Appender
file = Appender(Path(sys.argv[1]))
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")), most))
taken = []
try:
    while True:
        taken.append(os.dup(0))
except OSError:
    pass
try:
    file.append(b"a")
    sys.exit("no fault")
except OSError as error:
    assert error.errno == 24, error
for number in taken: os.close(number)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
file.append(b"b")
"""
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script, "/dev/null"], env={**os.environ, "PYTHONPATH": root}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_pipe_gets_every_byte_once_also_where_it_does_not_block() -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    output, got = Appender(write_end), list[bytes]()

    def read() -> None:
        while data := os.read(read_end, 3000):
            got.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    pieces = [bytes([65 + k]) * 50_000 for k in range(10)]
    for piece in pieces:
        output.append(piece)
    os.close(write_end)
    reader.join()
    os.close(read_end)
    assert b"".join(got) == b"".join(pieces)


def test_the_log_of_a_reader_that_stops_delays_nobody_and_arrives_in_order(logging_as_before: None) -> None:
    read_end, write_end = os.pipe()
    behind = os.fdopen(write_end, "w")
    stream = BackgroundStream(behind)
    handler = setup_logging("info", "text", stream=stream)
    log = logging.getLogger("streamad.test")
    for number in range(3000):  # the pipe holds some 1000
        log.info("line %d: größer", number)
    assert stream.writer.status()["waiting"] > 1000
    got = b""
    while got.count(b"\n") < 3000:
        got += os.read(read_end, 65536)
    texts = got.decode().splitlines()
    assert [text.partition("line ")[2] for text in texts] == [f"{number}: größer" for number in range(3000)]
    stream.end()
    handler.close()
    behind.close()
    os.close(read_end)


def test_a_log_that_hangs_reports_it_once_it_is_read_again(
    logging_as_before: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamad.observability.logging.LOG_CAPACITY", 100)
    monkeypatch.setattr("streamad.writing.STALL_SECONDS", 0.1)
    read_end, write_end = os.pipe()
    behind = os.fdopen(write_end, "w")
    stream = BackgroundStream(behind)
    setup_logging("info", "json", stream=stream)
    log = logging.getLogger("streamad.test")
    for number in range(3000):
        log.info("line %d", number)
    eventually(lambda: stream.writer.error is not None)
    log.info("one more")
    got = b""
    while b"recovered after" not in got:
        got += os.read(read_end, 65536)
    assert b"items lost" in got
    stream.end()
    behind.close()
    os.close(read_end)


def test_a_stream_in_memory_is_written_to_as_it_is() -> None:
    target = io.StringIO()
    stream = BackgroundStream(target)
    print("hello", file=stream)
    assert not stream.isatty()
    stream.end()
    print("after", file=stream)
    assert target.getvalue() == "hello\nafter\n"
