"""Bad input on the command line: the documented exit code, words that help, one JSON document, no traceback."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import yaml
from bundle_support import THRESHOLD, moving_shapes, write_mp4
from cli_support import Ran, command, streamad

pytestmark = pytest.mark.timeout(120)


def images(folder: Path, size: tuple[int, int], count: int = 3) -> Path:
    folder.mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), np.full(size[::-1], 90, np.uint8))
    return folder


def audio(path: Path) -> Path:
    with wave.open(str(path.with_suffix(".wav")), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    return path.with_suffix(".wav")


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def folder(path: Path, **files: bytes) -> Path:
    path.mkdir()
    for name, content in files.items():
        (path / name.replace("_", ".")).write_bytes(content)
    return path


BAD_SOURCES: dict[str, tuple[Callable[[Path, bytes], Path | str], str, str]] = {
    # name: (what makes it of a folder and a good file's bytes, a word of the message, the typed reason)
    "missing file": (lambda p, _: p / "no.mp4", "no.mp4", "not_found"),
    "folder without images": (lambda p, _: folder(p / "d", notes_txt=b"x"), "no image", "not_found"),
    "zero bytes": (lambda p, _: written(p / "z.mp4", b""), "0 bytes", "codec"),
    "no moov": (lambda p, good: written(p / "m.mp4", good[: len(good) // 2]), "m.mp4", "codec"),
    "text as mp4": (lambda p, _: written(p / "t.mp4", b"dear diary\n" * 500), "t.mp4", "codec"),
    "audio alone": (lambda p, _: audio(p / "a"), "no video", "codec"),
    "nothing listens": (lambda p, _: "rtsp://admin:hunter2@127.0.0.1:1/x", "refused", "refused"),
}


@pytest.mark.parametrize("name", BAD_SOURCES)
def test_sources_that_cannot_be_read_exit_with_3(
    small_bundle: Path, shapes_video: Path, tmp_path: Path, name: str
) -> None:
    make, word, reason = BAD_SOURCES[name]
    source = make(tmp_path, shapes_video.read_bytes())
    ran = streamad("score", source, "-m", small_bundle, "-o", "out", "--json", cwd=tmp_path)
    assert ran.code == 3, ran.err
    error = ran.error()
    assert word in error["message"]
    assert error["reason"] == reason
    assert error["hint"]
    assert "what to do" in ran.err
    assert "hunter2" not in ran.out + ran.err
    assert not list((tmp_path / "out").iterdir())


def test_frames_smaller_than_a_cell_exit_with_3(small_bundle: Path, tmp_path: Path) -> None:
    source = images(tmp_path / "tiny", (1, 1))
    ran = streamad("score", source, "-m", small_bundle, "-o", "out", "--json", cwd=tmp_path)
    assert ran.code == 3
    assert "1×1" in ran.error()["message"]


def test_an_address_that_is_none_is_a_usage_error(small_bundle: Path, tmp_path: Path) -> None:
    ran = streamad("score", "ftp://admin:hunter2@host/x", "-m", small_bundle, "--json", cwd=tmp_path)
    assert ran.code == 2
    assert "address" in ran.error()["message"]
    assert "hunter2" not in ran.out + ran.err


def test_a_cut_off_file_is_scored_as_far_as_it_goes_and_says_so(small_bundle: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.mkv"
    write_mp4(whole, moving_shapes(100))
    cut = written(tmp_path / "cut.mkv", whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    ran = streamad("score", cut, "-m", small_bundle, "-o", "out", "--no-video", "--no-plot", "--json", cwd=tmp_path)
    assert ran.code == 0, ran.err
    (result,) = ran.document()["results"]
    assert 40 < result["frames"] < 90
    assert "truncated" in result["problems"][0]
    assert "truncated" in ran.err


def test_another_resolution_in_the_middle_is_scored_on(small_bundle: Path, tmp_path: Path) -> None:
    parts = []
    for number, size in enumerate(((160, 120), (240, 180))):
        part = tmp_path / f"{number}.h264"
        write_mp4(part, moving_shapes(40, size))
        parts.append(part.read_bytes())
    both = written(tmp_path / "both.h264", b"".join(parts))
    ran = streamad("score", both, "-m", small_bundle, "-o", "out", "--threshold", THRESHOLD, "--json", cwd=tmp_path)
    assert ran.code == 0, ran.err
    (result,) = ran.document()["results"]
    assert result["frames"] == 80
    rows = (tmp_path / "out" / "both.csv").read_text().splitlines()[1:]
    held = [number for number, row in enumerate(rows) if "warming_up" in row]
    assert held == [*range(8), *range(40, 48)]
    with av.open(str(tmp_path / "out" / "both.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 80


def edited(bundle: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    shutil.copytree(bundle, target)
    document = yaml.safe_load((target / "model.yaml").read_text())
    change(document)
    (target / "model.yaml").write_text(yaml.safe_dump(document))
    return target


def damaged_bundle(bundle: Path, target: Path, how: str) -> Path | str:
    if how == "unknown name":
        return "no-such-model"
    if how == "wrong hash":
        shutil.copytree(bundle, target)
        with (target / "model.onnx").open("r+b") as file:
            file.seek(1000)
            file.write(b"!")
    elif how == "missing file":
        shutil.copytree(bundle, target)
        (target / "weights.safetensors").unlink()
    elif how == "newer format":
        edited(bundle, target, lambda d: d.update(format_version=99))
    elif how == "unknown detector":
        edited(bundle, target, lambda d: d.update(detector="tea_leaves"))
    elif how == "no yaml":
        shutil.copytree(bundle, target)
        (target / "model.yaml").write_text("{a: [")
    else:
        assert how == "no network"
        shutil.copytree(bundle, target)
        (target / "model.onnx").write_bytes(b"not a network")
        digest = hashlib.sha256(b"not a network").hexdigest()
        document = yaml.safe_load((target / "model.yaml").read_text())
        document["files"]["model.onnx"] = digest
        (target / "model.yaml").write_text(yaml.safe_dump(document))
    return target


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ("unknown name", "no-such-model"),
        ("wrong hash", "SHA-256"),
        ("missing file", "weights.safetensors"),
        ("newer format", "format 99"),
        ("unknown detector", "tea_leaves"),
        ("no yaml", "YAML"),
        ("no network", "model.onnx"),
    ],
)
def test_bad_bundles_exit_with_4(small_bundle: Path, shapes_video: Path, tmp_path: Path, how: str, word: str) -> None:
    bundle = damaged_bundle(small_bundle, tmp_path / "bad", how)
    runs_it = how in ("unknown detector", "no network")  # the rest shows on loading, and `models show` loads alone
    arguments = ["score", shapes_video, "-m", bundle, "-o", "out"] if runs_it else ["models", "show", bundle]
    ran = streamad(*arguments, "--json", cwd=tmp_path)
    assert ran.code == 4, ran.err
    assert word in ran.error()["message"]


def config(path: Path, bundle: Path, source: dict[str, Any], **more: Any) -> Path:
    document = {
        "model": str(bundle),
        "cameras": [{"id": "a", "source": source, "threshold": THRESHOLD}],
        "web": {"enabled": False},
        "events": {"path": str(path.parent / "events.sqlite")},
        **more,
    }
    path.write_text(yaml.safe_dump(document))
    return path


def file_source(video: Path) -> dict[str, Any]:
    return {"type": "file", "path": str(video)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["site.yaml", "No such file"]),
        ("cameras: [\n", ["site.yaml:2", "not valid YAML"]),
        ("model: m\ncameras:\n- id: a\n  sauce: {}\n", ["site.yaml:4", "sauce", "site.yaml:3"]),
        ("model: ${NO_SUCH_VARIABLE_HERE}\ncameras: []\n", ["site.yaml:1", "NO_SUCH_VARIABLE_HERE"]),
        (
            "model: m\ncameras:\n- id: a\n  source: {type: rtsp, url: 'rtsp://u:hunter2@h', transport: x}\n",
            ["site.yaml:4", "transport"],
        ),
        ("model: m\nmodel: n\ncameras: []\n", ["site.yaml:2", "given before"]),
    ],
)
@pytest.mark.parametrize("verb", [("run",), ("config", "check")])
def test_bad_configurations_exit_with_2(
    tmp_path: Path, verb: tuple[str, ...], text: str | None, words: list[str]
) -> None:
    if text is not None:
        (tmp_path / "site.yaml").write_text(text)
    ran = streamad(*verb, "site.yaml", "--json", cwd=tmp_path)
    assert ran.code == 2, ran.err
    error = ran.error()
    for word in words:
        assert word in error["message"]
    assert "hunter2" not in ran.out + ran.err


def test_wrong_usage_exits_with_2(tmp_path: Path) -> None:
    ran = streamad("fly", "--json", cwd=tmp_path)
    assert ran.code == 2
    assert ran.document()["error"]["code"] == 2
    ran = streamad("train", "tea_leaves", "--data", ".", "-o", "x", "--json", cwd=tmp_path)
    assert ran.code == 2
    assert "tea_leaves" in ran.error()["message"]


@pytest.mark.parametrize("which", ["missing", "short"])
def test_data_that_teaches_nothing(small_bundle: Path, tmp_path: Path, which: str) -> None:
    data, code, word = tmp_path / "data", 3, "data"
    if which == "short":
        write_mp4(tmp_path / "data.mp4", moving_shapes(5))
        data, code, word = tmp_path / "data.mp4", 4, "cannot calibrate"
    ran = streamad("calibrate", small_bundle, "--data", data, "-o", "c.json", "--json", cwd=tmp_path)
    assert ran.code == code, ran.err
    assert word in ran.error()["message"]


def test_a_calibration_that_is_none_exits_with_4(small_bundle: Path, shapes_video: Path, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("{}")
    ran = streamad(
        "score", shapes_video, "-m", small_bundle, "-o", "out", "--calibration", "c.json", "--json", cwd=tmp_path
    )
    assert ran.code == 4, ran.err
    assert "c.json" in ran.error()["message"]


def test_once_exits_with_the_reason_of_the_camera_that_failed(
    small_bundle: Path, shapes_video: Path, tmp_path: Path
) -> None:
    cameras = [
        {"id": "gone", "source": file_source(tmp_path / "no.mp4"), "threshold": 1},
        {"id": "good", "source": file_source(shapes_video), "threshold": THRESHOLD},
        {"id": "tiny", "source": {"type": "images", "path": str(images(tmp_path / "t", (9, 9)))}, "threshold": 1},
    ]
    path = config(tmp_path / "site.yaml", small_bundle, {}, cameras=cameras)
    ran = streamad("run", path, "--once", "--json", cwd=tmp_path)
    assert ran.code == 3
    rows = {row["camera"]: row for row in ran.document()["cameras"]}
    assert rows["good"] == {"camera": "good", "frames": 100, "scored": 100, "dropped": 0, "alerts": 1, "error": None}
    assert "no.mp4" in rows["gone"]["error"]
    assert "9×9" in rows["tiny"]["error"]


def test_an_occupied_port_exits_with_1(small_bundle: Path, shapes_video: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        path = config(tmp_path / "site.yaml", small_bundle, file_source(shapes_video), web={"port": port})
        ran = streamad("run", path, "--once", "--json", cwd=tmp_path)
    assert ran.code == 1
    assert str(port) in ran.error()["message"]
    assert "web.port" in ran.error()["hint"]


def test_two_monitors_cannot_share_their_events(small_bundle: Path, shapes_video: Path, tmp_path: Path) -> None:
    endless = {**file_source(shapes_video), "realtime": True, "loop": True}
    first = config(tmp_path / "first.yaml", small_bundle, endless, web={"port": 0})
    second = config(tmp_path / "second.yaml", small_bundle, file_source(shapes_video))
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
def test_a_file_in_place_of_the_output_folder_exits_with_1(small_bundle: Path, tmp_path: Path, name: str) -> None:
    video = write_mp4(tmp_path / "v.mp4", moving_shapes(60))
    taken = written(tmp_path / "taken", b"a file")
    ran = streamad(*commands_that_write(small_bundle, video, taken)[name], "--json", cwd=tmp_path)
    assert ran.code == 1, ran.err
    assert "taken" in ran.error()["message"]
    assert taken.read_bytes() == b"a file"


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a tmpfs with the given options; skips where that is not permitted."""
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
    small_bundle: Path, tmp_path: Path, mounted: Callable[[str], Path], name: str
) -> None:
    video = write_mp4(tmp_path / "v.mp4", moving_shapes(60))
    out = mounted("ro")
    ran = streamad(*commands_that_write(small_bundle, video, out)[name], "--json", cwd=tmp_path)
    assert ran.code == 1, ran.err
    assert "Read-only file system" in ran.error()["message"]


def test_events_on_a_read_only_disk_exit_with_1(
    small_bundle: Path, shapes_video: Path, tmp_path: Path, mounted: Callable[[str], Path]
) -> None:
    events = {"path": str(mounted("ro") / "events.sqlite")}
    path = config(tmp_path / "site.yaml", small_bundle, file_source(shapes_video), events=events)
    ran = streamad("run", path, "--once", "--json", cwd=tmp_path)
    assert ran.code == 1
    assert "events.sqlite" in ran.error()["message"]


def test_a_disk_that_fills_while_scoring_exits_with_1_and_leaves_no_half_video(
    small_bundle: Path, tmp_path: Path, mounted: Callable[[str], Path]
) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (120, 160), dtype=np.uint8) for _ in range(120)]  # hard to compress
    video = write_mp4(tmp_path / "noise.mp4", noise)
    out = mounted("size=160k")
    ran = streamad("score", video, "-m", small_bundle, "-o", out, "--json", cwd=tmp_path)
    assert ran.code == 1, ran.err
    assert "No space left" in ran.error()["message"]
    assert str(out) in ran.error()["message"]
    assert "noise.mp4" not in os.listdir(out)


def test_a_disk_that_fills_while_watching_loses_no_event_silently(
    small_bundle: Path, tmp_path: Path, mounted: Callable[[str], Path]
) -> None:
    video = write_mp4(tmp_path / "v.mp4", moving_shapes(200, busy=((20, 60), (100, 140))))
    disk = mounted("size=300k")
    endless = {**file_source(video), "realtime": True, "loop": True}
    rules = {"min_duration_seconds": 0.1, "cooldown_seconds": 0}
    path = config(
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
                # The store is open: now somebody else fills the disk.
                filler = (disk / "filler").open("wb", buffering=0)
                try:
                    while True:
                        filler.write(bytes(1024))
                except OSError:
                    filler.close()
            if "events are kept in memory" in line:
                break
        time.sleep(0.5)
        assert process.poll() is None  # watching goes on
        process.send_signal(signal.SIGTERM)
        heard += process.stderr.readlines()
    text = "".join(heard)
    assert "Traceback" not in text
    assert process.returncode == 1
    kept = [json.loads(line.partition("not stored: ")[2]) for line in heard if "not stored: " in line]
    assert kept  # the last resort: the events themselves on standard error
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
        os.killpg(process.pid, number)  # as a terminal does: the whole group
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


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    with subprocess.Popen(
        command("doctor", "--json"), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
    assert "Traceback" not in err
    assert "Exception ignored" not in err


def test_the_program_is_started_as_module_and_as_script(tmp_path: Path) -> None:
    script = Path(sys.executable).parent / "streamad"
    if not script.exists():
        pytest.skip("streamad is not installed as a script here")
    ran = subprocess.run([str(script), "--version"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert ran.stdout == streamad("--version", cwd=tmp_path).out
