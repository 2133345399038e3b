"""Atomic writing and hashing, on the real file system."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from streamad.errors import ExitCode, OutputError
from streamad.files import locked, sha256_of, write_atomic, write_json


def test_writes_text_and_bytes_and_makes_folders(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a" / "b" / "text", "müde")
    assert (tmp_path / "a" / "b" / "text").read_bytes() == "müde".encode()
    write_atomic(tmp_path / "bytes", b"\x00\xff")
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff"


def test_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for number in range(5):
        write_atomic(path, str(number))
    assert path.read_text() == "4"
    assert os.listdir(tmp_path) == ["file"]


def test_mode_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "file", "x")
        assert os.umask(0o027) == 0o027  # left as it was
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = {(str(digit) * 200_000) for digit in range(4)}
    write_atomic(path, "0" * 200_000)
    stop = threading.Event()
    seen: set[str] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(40):
        write_atomic(path, str(number % 4) * 200_000)
    stop.set()
    reader.join()
    assert seen <= contents


def test_a_file_in_place_of_the_folder_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="taken/file") as caught:
        write_atomic(tmp_path / "taken" / "file", "x")
    assert caught.value.exit_code == ExitCode.RUNTIME
    assert caught.value.hint is not None
    assert isinstance(caught.value, OSError)


def test_a_folder_in_place_of_the_file_leaves_nothing_beside(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OutputError):
        write_atomic(tmp_path / "file", "x")
    assert os.listdir(tmp_path) == ["file"]


def test_json_is_indented_unicode_and_refuses_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"größe": 1.5, "liste": [1]})
    assert json.loads(path.read_text()) == {"größe": 1.5, "liste": [1]}
    assert "größe" in path.read_text()
    assert path.read_text().endswith("}\n")
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"value": float("nan")})
    assert json.loads(path.read_text())["größe"] == 1.5  # the old content is untouched


def test_hash_equals_hashlib(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()


HOLDER = """
import os, sys, time
from pathlib import Path
from streamad.files import locked
with locked(Path(sys.argv[1])) as mine:
    if os.fork() == 0:  # a worker process that outlives the holder
        print(mine, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("place", [None, "/dev/shm"])
def test_a_lock_excludes_other_processes_and_ends_with_its_own(tmp_path: Path, place: str | None) -> None:
    folder = tmp_path / "locked" if place is None else Path(place) / f"streamad-{os.getpid()}-{tmp_path.name}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with locked(folder) as mine:
            assert not mine
        holder.kill()
        holder.wait()
        with locked(folder) as mine:
            assert mine
            with locked(folder) as again:
                assert not again
    finally:
        holder.stdout.close()
        os.killpg(holder.pid, signal.SIGKILL)
        shutil.rmtree(folder)
