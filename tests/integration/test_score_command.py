"""`streamad score` on users' input: names that are not UTF-8, deep images, and several inputs of which one is bad."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from bundle_support import THRESHOLD, moving_shapes, write_mp4
from cli_support import CliServer, command, streamad, write_config

from streamad.formatting import drawable

pytestmark = pytest.mark.timeout(180)

LATIN = os.fsdecode(b"caf\xe9")
"""A name in Latin-1 bytes, as on old disks and in Windows archives."""


def video_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.fixture(scope="module")
def latin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder and a video in it, both with such a name."""
    folder = tmp_path_factory.mktemp("names") / LATIN
    folder.mkdir()
    plain = write_mp4(folder / "plain.mp4", moving_shapes(60))
    plain.rename(folder / f"{LATIN}.mp4")
    return folder


def test_a_name_that_is_no_text_is_scored_and_its_outputs_have_the_same_bytes(
    latin: Path, small_bundle: Path, tmp_path: Path
) -> None:
    ran = streamad(
        "score", latin / f"{LATIN}.mp4", "-m", small_bundle, "--threshold", str(THRESHOLD), "-o", tmp_path / "out",
        "--json", cwd=tmp_path,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    (result,) = ran.document()["results"]
    assert (result["input"], result["events"][0]["camera"]) == (LATIN, LATIN), "the JSON names the files as they are"
    assert Path(result["video"]) == tmp_path / "out" / f"{LATIN}.mp4"
    written = sorted(os.listdir(os.fsencode(tmp_path / "out")))
    assert written == [b"caf\xe9.csv", b"caf\xe9.mp4", b"caf\xe9.png"]
    assert video_frames(tmp_path / "out" / f"{LATIN}.mp4") == 60
    assert drawable("\ud800 caf\udce9 é") == "\ufffd caf\ufffd é"


def test_a_table_and_an_error_show_such_a_name(
    quick: CliServer, latin: Path, small_bundle: Path, tmp_path: Path
) -> None:
    ran = quick("score", latin / f"{LATIN}.mp4", "-m", small_bundle, "--no-video", "--no-plot", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[1].startswith(r"caf\udce9 ")
    gone = quick("score", latin / f"{LATIN}-gone.mp4", "-m", small_bundle, "--json", cwd=tmp_path)
    assert gone.code == 3
    assert f"{LATIN}-gone.mp4" in gone.document()["error"]["message"]
    assert r"caf\udce9-gone.mp4" in gone.err


def test_every_command_takes_such_names(latin: Path, small_bundle: Path, tmp_path: Path) -> None:
    """Configuration, data set, calibration and learning, in a folder and with files of such names."""
    home = tmp_path / LATIN
    home.mkdir()
    path = write_config(home / f"{LATIN}.yaml", small_bundle, {"type": "file", "path": "clip.mp4"})
    shutil.copy(latin / f"{LATIN}.mp4", home / "clip.mp4")
    # YAML is UTF-8, so only the folder and the configuration file itself can have such a name.
    path.write_text(path.read_text(encoding="utf-8", errors="surrogateescape").replace(str(home) + "/", ""))
    ran = streamad("config", "check", path, "--json", cwd=home)
    assert ran.code == 0, ran.err
    ran = streamad("run", path, "--once", "--json", "--scores", home / "scores", cwd=home)
    assert ran.code == 0, ran.err
    assert ran.document()["cameras"][0]["frames"] == 60

    ran = streamad("calibrate", small_bundle, "--data", latin, "-o", home / "c.json", "--json", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert (home / "c.json").exists()

    data = home / "set"
    for split, name in (("training", "a"), ("testing", LATIN)):
        (data / split / "videos").mkdir(parents=True)
        shutil.copy(latin / f"{LATIN}.mp4", data / split / "videos" / f"{name}.mp4")
    (data / "testing" / "frame_labels").mkdir()
    np.save(data / "testing" / "frame_labels" / f"{LATIN}.npy", np.repeat([0, 1], 30))
    ran = streamad("datasets", "validate", data, "--json", cwd=tmp_path)
    assert ran.code == 0, ran.err + ran.out
    ran = streamad("evaluate", data, "--model", small_bundle, "-o", home / "results", "--json", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert ran.document()
    with (home / "results" / "scores.csv").open(encoding="utf-8") as file:
        assert {row["clip"] for row in csv.DictReader(file)} == {r"caf\udce9"}


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same pictures in 8 bits, in 12 of 16, in 16 of 16, and as the counts of a thermal camera."""
    folder = tmp_path_factory.mktemp("deep")
    changes: dict[str, Callable[[Any], Any]] = {
        "eight": lambda p: p,
        "twelve": lambda p: p.astype(np.uint16) * 16,
        "sixteen": lambda p: p.astype(np.uint16) * 257,
        "thermal": lambda p: p.astype(np.uint16) * 4 + 7000,
    }
    for name, change in changes.items():
        (folder / name).mkdir()
        for number, picture in enumerate(moving_shapes(40)):
            cv2.imwrite(str(folder / name / f"{number:03d}.png"), change(picture))
    return {name: folder / name for name in changes}


def scores_of(path: Path) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8") as file:
        return [(row["raw_score"], row["skipped_reason"]) for row in csv.DictReader(file)]


def test_frames_that_the_quality_gate_rejects_are_counted_and_explained(
    quick: CliServer, deep: dict[str, Path], small_bundle: Path, tmp_path: Path
) -> None:
    arguments = ("-m", small_bundle, "--no-video", "--no-plot", "-o", tmp_path)
    ran = quick("score", deep["twelve"], *arguments, "--json", cwd=tmp_path)
    assert ran.code == 0, ran.err
    (result,) = ran.document()["results"]
    assert (result["frames"], result["scored"], result["skipped"]) == (40, 0, {"quality:dark": 40})
    highest = max(int(p.max()) for p in moving_shapes(40)) * 16
    for words in (
        "40 of 40 frames were rejected: dark",
        f"highest value is {highest}: possibly a 12-bit camera",
        "nothing was",
    ):
        assert words in ran.err
        assert any(words in problem for problem in result["problems"])
    assert scores_of(tmp_path / "twelve.csv") == [("", "quality:dark")] * 40
    shown = quick("score", deep["twelve"], *arguments, cwd=tmp_path)
    assert "quality:dark 40" in shown.out
    ran = quick("score", deep["thermal"], *arguments, cwd=tmp_path)
    assert "raw counts of a thermal camera" in ran.err
    for more in ((), ("--local",)):
        ran = quick("calibrate", small_bundle, "--data", deep["twelve"], "-o", tmp_path / "c.json", *more, cwd=tmp_path)
        assert ran.code == 4
        assert "40 of 40 frames were rejected: dark" in ran.err
        assert "possibly a 12-bit camera" in ran.err


@pytest.mark.parametrize("depth", ["12", "auto"])
def test_deep_images_are_scored_as_the_same_ones_in_8_bits(
    quick: CliServer, deep: dict[str, Path], small_bundle: Path, tmp_path: Path, depth: str
) -> None:
    arguments = ("-m", small_bundle, "--no-video", "--no-plot", "-o", tmp_path, "--bit-depth", depth)
    names = ["eight", "twelve", *(["sixteen"] if depth == "auto" else [])]
    ran = quick("score", *(deep[name] for name in names), *arguments, "--json", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert [result["skipped"] for result in ran.document()["results"]] == [{"warming_up": 8}] * len(names)
    for name in names[1:]:
        assert scores_of(tmp_path / f"{name}.csv") == scores_of(tmp_path / "eight.csv")
    bad = quick("score", deep["twelve"], "-m", small_bundle, "--bit-depth", "11", "--json", cwd=tmp_path)
    assert bad.code == 2


def test_once_says_why_frames_were_rejected(deep: dict[str, Path], small_bundle: Path, tmp_path: Path) -> None:
    source = {"type": "images", "path": str(deep["twelve"])}
    ran = streamad("run", write_config(tmp_path / "a.yaml", small_bundle, source), "--once", "--json", cwd=tmp_path)
    assert ran.code == 0
    assert ran.document()["cameras"][0]["skipped"] == {"quality:dark": 40}
    assert "possibly a 12-bit camera" in ran.err
    read = {**source, "bit_depth": 12}
    ran = streamad("run", write_config(tmp_path / "b.yaml", small_bundle, read), "--once", "--json", cwd=tmp_path)
    assert ran.document()["cameras"][0]["skipped"] == {"warming_up": 8}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two good recordings and, between them, one that is truncated before its index."""
    folder = tmp_path_factory.mktemp("three")
    good = write_mp4(folder / "good.mp4", moving_shapes(40))
    bad = folder / "bad.mp4"
    bad.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    shutil.copy(good, folder / "good2.mp4")
    return [good, bad, folder / "good2.mp4"]


def test_one_bad_input_of_several_is_reported_and_the_others_are_scored(
    quick: CliServer, three: list[Path], small_bundle: Path, tmp_path: Path
) -> None:
    ran = quick("score", *three, tmp_path / "gone.mp4", "-m", small_bundle, "-o", "out", "--json", cwd=tmp_path)
    assert ran.code == 3
    results = ran.document()["results"]
    assert [(r["input"], r["frames"]) for r in results] == [("good", 40), ("bad", None), ("good2", 40), ("gone", None)]
    assert [r["error"] and r["error"]["reason"] for r in results] == [None, "codec", None, "not_found"]
    assert ran.error() == results[1]["error"]
    for result in results:
        for kind in ("csv", "plot", "video"):
            assert (result[kind] is None) == (result["error"] is not None)
            assert result[kind] is None or (tmp_path / result[kind]).is_file()
    table = quick("score", *three, "-m", small_bundle, "-o", "out", "--no-video", cwd=tmp_path)
    assert table.code == 3
    lines = table.out.splitlines()
    assert [line.split()[0] for line in lines] == ["input", "good", "bad", "good2"]
    assert "codec: " in lines[2]
    assert "bad.mp4" in lines[2]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=260k", "tmpfs", place], check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_disk_that_is_full_for_one_input_keeps_the_results_of_the_others(
    quick: CliServer, small_bundle: Path, small_disk: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    noise = write_mp4(tmp_path / "noise.mp4", [rng.integers(0, 256, (240, 320), dtype=np.uint8) for _ in range(60)])
    small = write_mp4(tmp_path / "small.mp4", moving_shapes(30))
    last = write_mp4(tmp_path / "last.mp4", moving_shapes(30))
    ran = quick(
        "score", small, noise, last, "-m", small_bundle, "-o", small_disk, "--no-plot", "--json", cwd=tmp_path
    )  # fmt: skip
    assert ran.code == 1, ran.err
    errors = [result["error"] for result in ran.document()["results"]]
    assert [error and error["type"] for error in errors] == [None, "OutputError", None]
    assert "No space left" in errors[1]["message"]
    assert sorted(os.listdir(small_disk)) == ["last.csv", "last.mp4", "small.csv", "small.mp4"]


@pytest.mark.parametrize("as_json", [True, False])
def test_ctrl_c_in_the_second_input_shows_the_results_of_the_first(
    small_bundle: Path, tmp_path: Path, as_json: bool
) -> None:
    first = write_mp4(tmp_path / "first.mp4", moving_shapes(30))
    long = write_mp4(tmp_path / "long.mp4", 12 * list(moving_shapes(100, (320, 240), shapes=4)))
    out = tmp_path / "out"
    arguments = command("score", first, long, first, "-m", small_bundle, "-o", out, *(["--json"] if as_json else []))
    with subprocess.Popen(
        arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 90
        while not any(name.startswith(".long") for name in (os.listdir(out) if out.exists() else [])):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        printed, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "interrupted" in said
    if as_json:
        rows = json.loads(printed)["results"]
        assert [(row["input"], row["frames"]) for row in rows] == [("first", 30), ("long", None)]
        assert rows[1]["error"]["code"] == 130
    else:
        assert [line.split()[0] for line in printed.splitlines()] == ["input", "first", "long"]
    assert "long.mp4" not in os.listdir(out)
