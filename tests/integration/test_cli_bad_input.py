"""Bad input on the command line: documented exit code, helpful message, one JSON document, no traceback."""

from __future__ import annotations

import hashlib
import shutil
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import yaml
from bundle_support import THRESHOLD, moving_shapes, write_mp4
from cli_support import CliServer, file_source, streamad, write_config

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
    # name: (function of a folder and a good file's content, part of the message, typed reason)
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
    quick: CliServer, small_bundle: Path, shapes_video: Path, tmp_path: Path, name: str
) -> None:
    make, word, reason = BAD_SOURCES[name]
    source = make(tmp_path, shapes_video.read_bytes())
    ran = quick("score", source, "-m", small_bundle, "-o", "out", "--json", cwd=tmp_path)
    assert ran.code == 3, ran.err
    error = ran.error()
    assert word in error["message"]
    assert error["reason"] == reason
    assert error["hint"]
    assert "hint: " in ran.err
    assert "hunter2" not in ran.out + ran.err
    assert not list((tmp_path / "out").iterdir())


def test_frames_smaller_than_a_cell_exit_with_3(quick: CliServer, small_bundle: Path, tmp_path: Path) -> None:
    source = images(tmp_path / "tiny", (1, 1))
    ran = quick("score", source, "-m", small_bundle, "-o", "out", "--json", cwd=tmp_path)
    assert ran.code == 3
    assert "1×1" in ran.error()["message"]


def test_an_address_that_is_none_is_a_usage_error(quick: CliServer, small_bundle: Path, tmp_path: Path) -> None:
    ran = quick("score", "ftp://admin:hunter2@host/x", "-m", small_bundle, "--json", cwd=tmp_path)
    assert ran.code == 2
    assert "address" in ran.error()["message"]
    assert "hunter2" not in ran.out + ran.err


def test_a_cut_off_file_is_scored_as_far_as_it_goes_and_says_so(
    quick: CliServer, small_bundle: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole.mkv"
    write_mp4(whole, moving_shapes(100))
    cut = written(tmp_path / "cut.mkv", whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    ran = quick("score", cut, "-m", small_bundle, "-o", "out", "--no-video", "--no-plot", "--json", cwd=tmp_path)
    assert ran.code == 0, ran.err
    (result,) = ran.document()["results"]
    assert 40 < result["frames"] < 90
    assert "truncated" in result["problems"][0]
    assert "truncated" in ran.err


def test_another_resolution_in_the_middle_is_scored_on(quick: CliServer, small_bundle: Path, tmp_path: Path) -> None:
    parts = []
    for number, size in enumerate(((160, 120), (240, 180))):
        part = tmp_path / f"{number}.h264"
        write_mp4(part, moving_shapes(40, size))
        parts.append(part.read_bytes())
    both = written(tmp_path / "both.h264", b"".join(parts))
    ran = quick("score", both, "-m", small_bundle, "-o", "out", "--threshold", THRESHOLD, "--json", cwd=tmp_path)
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
def test_bad_bundles_exit_with_4(
    quick: CliServer, small_bundle: Path, shapes_video: Path, tmp_path: Path, how: str, word: str
) -> None:
    bundle = damaged_bundle(small_bundle, tmp_path / "bad", how)
    runs_it = how in ("unknown detector", "no network")  # other damage shows on loading, and `models show` only loads
    arguments = ["score", shapes_video, "-m", bundle, "-o", "out"] if runs_it else ["models", "show", bundle]
    ran = quick(*arguments, "--json", cwd=tmp_path)
    assert ran.code == 4, ran.err
    assert word in ran.error()["message"]


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
        ("model: m\nmodel: n\ncameras: []\n", ["site.yaml:2", "duplicate of line"]),
    ],
)
@pytest.mark.parametrize("verb", [("run",), ("config", "check")])
def test_bad_configurations_exit_with_2(
    quick: CliServer, tmp_path: Path, verb: tuple[str, ...], text: str | None, words: list[str]
) -> None:
    if text is not None:
        (tmp_path / "site.yaml").write_text(text)
    ran = quick(*verb, "site.yaml", "--json", cwd=tmp_path)
    assert ran.code == 2, ran.err
    error = ran.error()
    for word in words:
        assert word in error["message"]
    assert "hunter2" not in ran.out + ran.err


def test_wrong_usage_exits_with_2(quick: CliServer, tmp_path: Path) -> None:
    ran = quick("fly", "--json", cwd=tmp_path)
    assert ran.code == 2
    assert ran.document()["error"]["code"] == 2
    ran = quick("train", "tea_leaves", "--data", ".", "-o", "x", "--json", cwd=tmp_path)
    assert ran.code == 2
    assert "tea_leaves" in ran.error()["message"]


@pytest.mark.parametrize("which", ["missing", "short"])
def test_data_that_teaches_nothing(quick: CliServer, small_bundle: Path, tmp_path: Path, which: str) -> None:
    data, code, word = tmp_path / "data", 3, "data"
    if which == "short":
        write_mp4(tmp_path / "data.mp4", moving_shapes(5))
        data, code, word = tmp_path / "data.mp4", 4, "cannot calibrate"
    ran = quick("calibrate", small_bundle, "--data", data, "-o", "c.json", "--json", cwd=tmp_path)
    assert ran.code == code, ran.err
    assert word in ran.error()["message"]


def test_a_calibration_that_is_none_exits_with_4(
    quick: CliServer, small_bundle: Path, shapes_video: Path, tmp_path: Path
) -> None:
    (tmp_path / "c.json").write_text("{}")
    ran = quick(
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
    path = write_config(tmp_path / "site.yaml", small_bundle, {}, cameras=cameras)
    ran = streamad("run", path, "--once", "--json", cwd=tmp_path)
    assert ran.code == 3
    rows = {row["camera"]: row for row in ran.document()["cameras"]}
    assert rows["good"] == {
        "camera": "good", "frames": 100, "scored": 100, "skipped": {"warming_up": 8}, "dropped": 0, "alerts": 1,
        "error": None,
    }  # fmt: skip
    assert "no.mp4" in rows["gone"]["error"]
    assert "9×9" in rows["tiny"]["error"]
