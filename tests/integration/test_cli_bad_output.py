"""Outputs that cannot be written, and early ends: documented exit codes, no partial files, no traceback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from bundle_support import moving_shapes, write_mp4
from cli_support import CliServer, Ran, command, file_source, streamad, write_config

pytestmark = pytest.mark.timeout(120)


def test_an_occupied_port_exits_with_1(small_bundle: Path, shapes_video: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        path = write_config(tmp_path / "site.yaml", small_bundle, file_source(shapes_video), web={"port": port})
        ran = streamad("run", path, "--once", "--json", cwd=tmp_path)
    assert ran.code == 1
    assert str(port) in ran.error()["message"]
    assert "web.port" in ran.error()["hint"]


def test_two_monitors_cannot_share_their_events(small_bundle: Path, shapes_video: Path, tmp_path: Path) -> None:
    endless = {**file_source(shapes_video), "realtime": True, "loop": True}
    first = write_config(tmp_path / "first.yaml", small_bundle, endless, web={"port": 0})
    second = write_config(tmp_path / "second.yaml", small_bundle, file_source(shapes_video))
    with subprocess.Popen(command("run", first), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if "page, /metrics" in line:
                    break
            ran = streamad("run", second, "--once", "--json", cwd=tmp_path)
        finally:
            process.terminate()
            process.stderr.read()
    assert ran.code == 1
    assert "in use by another streamad process" in ran.error()["message"]


def commands_that_write(bundle: Path, video: Path, out: Path) -> dict[str, list[str | Path]]:
    return {
        "score": ["score", video, "-m", bundle, "-o", out],
        "calibrate": ["calibrate", bundle, "--data", video, "-o", out / "c.json"],
    }


@pytest.mark.parametrize("name", ["score", "calibrate"])
def test_a_file_in_place_of_the_output_folder_exits_with_1(
    quick: CliServer, small_bundle: Path, tmp_path: Path, name: str
) -> None:
    video = write_mp4(tmp_path / "v.mp4", moving_shapes(60))
    taken = tmp_path / "taken"
    taken.write_bytes(b"a file")
    ran = quick(*commands_that_write(small_bundle, video, taken)[name], "--json", cwd=tmp_path)
    assert ran.code == 1, ran.err
    assert "taken" in ran.error()["message"]
    assert taken.read_bytes() == b"a file"


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Function that mounts a tmpfs with the given options. Skips if mounting is not permitted."""
    places: list[Path] = []

    def mount(options: str) -> Path:
        place = tmp_path / f"disk{len(places)}"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("mounting a small file system needs root")
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("name", ["score", "calibrate"])
def test_a_read_only_disk_exits_with_1(
    quick: CliServer, small_bundle: Path, tmp_path: Path, mounted: Callable[[str], Path], name: str
) -> None:
    video = write_mp4(tmp_path / "v.mp4", moving_shapes(60))
    out = mounted("ro")
    ran = quick(*commands_that_write(small_bundle, video, out)[name], "--json", cwd=tmp_path)
    assert ran.code == 1, ran.err
    assert "Read-only file system" in ran.error()["message"]


def test_events_on_a_read_only_disk_exit_with_1(
    small_bundle: Path, shapes_video: Path, tmp_path: Path, mounted: Callable[[str], Path]
) -> None:
    events = {"path": str(mounted("ro") / "events.sqlite")}
    path = write_config(tmp_path / "site.yaml", small_bundle, file_source(shapes_video), events=events)
    ran = streamad("run", path, "--once", "--json", cwd=tmp_path)
    assert ran.code == 1
    assert "events.sqlite" in ran.error()["message"]


def test_a_disk_that_fills_while_scoring_exits_with_1_and_leaves_no_half_video(
    quick: CliServer, small_bundle: Path, tmp_path: Path, mounted: Callable[[str], Path]
) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (120, 160), dtype=np.uint8) for _ in range(120)]  # hard to compress
    video = write_mp4(tmp_path / "noise.mp4", noise)
    out = mounted("size=160k")
    ran = quick("score", video, "-m", small_bundle, "-o", out, "--json", cwd=tmp_path)
    assert ran.code == 1, ran.err
    assert "No space left" in ran.error()["message"]
    assert str(out) in ran.error()["message"]
    assert "noise.mp4" not in os.listdir(out)


def events_of(url: str) -> dict[str, Any]:
    """Return the entry of the event output in `/status`."""
    outputs = httpx.get(url + "/status", timeout=10).json()["outputs"]
    (found,) = [output for output in outputs if output["name"] == "events"]
    assert isinstance(found, dict)
    return found


def test_a_disk_that_fills_while_watching_loses_no_event_silently(
    small_bundle: Path, tmp_path: Path, mounted: Callable[[str], Path]
) -> None:
    video = write_mp4(tmp_path / "v.mp4", moving_shapes(200, busy=((20, 60), (100, 140))))
    disk = mounted("size=300k")
    endless = {**file_source(video), "realtime": True, "loop": True}
    rules = {"min_duration_seconds": 0.1, "cooldown_seconds": 0}
    path = write_config(
        tmp_path / "site.yaml", small_bundle, endless, rules=rules, web={"port": 0},
        events={"path": str(disk / "events.sqlite")},
    )  # fmt: skip
    with subprocess.Popen(
        command("run", path), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        heard: list[str] = []
        for line in process.stderr:
            heard.append(line)
            if "page, /metrics" in line:
                # The store is open. Now another process fills the disk.
                filler = (disk / "filler").open("wb", buffering=0)
                try:
                    while True:
                        filler.write(bytes(1024))
                except OSError:
                    filler.close()
                url = line.rpartition(" ")[2].strip()
            if "keeping the data in memory and retrying" in line:
                break
        while not events_of(url)["waiting"]:
            time.sleep(0.1)
        assert process.poll() is None  # monitoring continues
        process.send_signal(signal.SIGTERM)
        heard += process.stderr.readlines()
    text = "".join(heard)
    assert "Traceback" not in text
    assert process.returncode == 1
    kept = [json.loads(line.partition("not stored: ")[2]) for line in heard if "not stored: " in line]
    assert kept  # as a last resort, events are written to standard error
    assert kept[0]["camera"] == "a"
    assert "could not be written" in text


def interrupted(arguments: list[str], cwd: Path, when: Callable[[], bool], number: int) -> Ran:
    with subprocess.Popen(
        arguments, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 60
        while not when() and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, number)  # to the whole group, as a terminal does
        out, err = process.communicate(timeout=30)
    return Ran(process.returncode, out, err)


def test_ctrl_c_while_scoring_exits_with_130_and_leaves_no_half_video(small_bundle: Path, tmp_path: Path) -> None:
    video = write_mp4(tmp_path / "long.mp4", 15 * list(moving_shapes(100, (320, 240), shapes=4)))
    out = tmp_path / "out"
    ran = interrupted(
        command("score", video, "-m", small_bundle, "-o", out), tmp_path, lambda: out.exists() and any(out.iterdir()),
        signal.SIGINT,
    )  # fmt: skip
    assert ran.code == 130, ran.err
    assert "Traceback" not in ran.err
    assert not (out / "long.mp4").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--help", 0), ("score --help", 0), ("--version", 0), ("models list", 0), ("models list --json", 0),
        ("datasets list", 0), ("doctor --json", 0), ("nonsense --json", 2), ("models show nothing --json", 4),
    ],
)  # fmt: skip
def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path, words: str, code: int) -> None:
    """`streamad … | head -1`, the same with both outputs in the pipe, and outputs closed from the start."""
    line = " ".join(command(*words.split()))
    for form, expected in (
        (f"{line} | true", code), (f"{line} 2>&1 | true", code), (f"{line} >&-", code), (f"{line} >&- 2>&-", code),
    ):  # fmt: skip
        ran = subprocess.run(
            ["bash", "-c", f"{form}; exit ${{PIPESTATUS[0]}}"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        assert "Traceback" not in ran.stderr, form
        assert "Exception ignored" not in ran.stderr, form
        assert ran.returncode == expected, form


@pytest.mark.parametrize("words", ["--version", "models list --json"])
def test_an_output_on_a_full_disk_is_one_sentence(tmp_path: Path, words: str) -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(command(*words.split()), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: cannot write")
    assert "No space left on device" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_program_is_started_as_module_and_as_script(tmp_path: Path) -> None:
    script = Path(sys.executable).parent / "streamad"
    if not script.exists():
        pytest.skip("streamad is not installed as a script here")
    ran = subprocess.run([str(script), "--version"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert ran.stdout == streamad("--version", cwd=tmp_path).out
