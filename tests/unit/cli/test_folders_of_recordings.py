"""Commands given a recorder's folder: pictures beside the videos, hidden files, and one recording without its index."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import pytest
from bundle_support import moving_shapes, small_manifest, write_mp4, write_small_bundle
from cli_support import write_config

from streamad.inference import clips as clip_scores
from streamad.sources import FileSpec


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of 25 seconds in which shapes move."""
    folder = tmp_path_factory.mktemp("clean")
    for name in ("1.mp4", "2.mp4"):  # of one place: `learn` leaves out video of another
        write_mp4(folder / name, moving_shapes(75, (160, 120), seed=1), fps=3)
    return folder


@pytest.fixture(scope="module")
def recorder(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same clips with what recorders and file systems put beside them, and a third that was never finished."""
    folder = tmp_path_factory.mktemp("recorder")
    shutil.copytree(clean, folder, dirs_exist_ok=True)
    (folder / "._1.mp4").write_bytes(b"\0")
    (folder / "3.mp4").write_bytes((clean / "1.mp4").read_bytes()[:5000])
    for number, picture in enumerate(moving_shapes(40, (160, 120), seed=9)):
        cv2.imwrite(str(folder / f"1-{number:02d}.jpg"), picture)
    return folder


def arguments(command: str, bundle: Path, data: Path, out: Path) -> list[str | Path]:
    return {
        "calibrate": ["calibrate", bundle, "--data", data, "-o", out / "c.json"],
        "fuse": ["fuse", bundle, bundle.parent / "second", "--data", data, "-o", out / "fused"],
        "train motion": ["train", "motion", "--data", data, "-o", out / "trained"],
        "train": ["train", "adacl", "--data", data, "-o", out / "trained", "--epochs", "1", "--max-cells", "256"],
        "learn": ["learn", data, "-o", out / "learned", "--minutes", "0.5"],
        "export": ["export", bundle, "--precision", "int8", "--data", data],
    }[command]


SAME = {
    "calibrate": ("threshold", "frames", "clips"),
    "fuse": ("threshold", "frames"),
    "train motion": ("threshold", "frames"),
    "train": ("threshold", "calibration_frames"),
    "learn": ("recorded_seconds",),
    "export": (),
}
"""Figures that show what video an artifact was made of."""


@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.parametrize(
    "command",
    [
        "calibrate",
        pytest.param("fuse", marks=pytest.mark.slow),
        pytest.param("train motion", marks=pytest.mark.slow),
        pytest.param("train", marks=pytest.mark.slow),
        pytest.param("learn", marks=pytest.mark.slow),
        pytest.param("export", marks=pytest.mark.slow),
    ],
)
def test_the_recordings_alone_are_used_and_the_rest_is_reported(
    call: Any, small_bundle: Path, clean: Path, recorder: Path, tmp_path: Path, command: str
) -> None:
    if command == "export":
        pytest.importorskip("nncf")
    documents = []
    for data, expected in ((clean, 0), (recorder, 3)):
        place = tmp_path / data.name
        bundle = shutil.copytree(small_bundle, place / "small")
        if command == "fuse":
            write_small_bundle(place / "second", small_manifest(name="second", cells=3))
        code, out, err = call(*arguments(command, bundle, data, place), "--json")
        assert code == expected, err
        documents.append(json.loads(out))
        if expected:
            assert f"note: {recorder}: 40 images beside 3 videos left out" in err
            assert "note: 1 clip left out (codec): " in err
            assert "3.mp4" in err
            assert "._1" not in out + err
    good, bad = documents
    assert (good["notes"], good["left_out"]) == ([], [])
    assert bad["notes"] == [f"{recorder}: 40 images beside 3 videos left out"]
    assert [(Path(item["path"]).name, item["reason"]) for item in bad["left_out"]] == [("3.mp4", "codec")]
    for key in SAME[command]:
        assert bad[key] == pytest.approx(good[key]), key


def test_nothing_is_written_where_no_clip_can_be_read(
    call: Any, small_bundle: Path, recorder: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    for name in ("1.mp4", "2.mp4"):
        shutil.copy(recorder / "3.mp4", bad / name)
    code, out, err = call("calibrate", small_bundle, "--data", bad, "-o", tmp_path / "c.json", "--json")
    assert code == 3
    assert json.loads(out)["error"]["reason"] == "codec"
    assert "none of the 2 clips can be read" in err
    assert not (tmp_path / "c.json").exists()


def test_score_takes_the_clips_of_a_folder_and_never_its_pictures(
    call: Any, small_bundle: Path, recorder: Path, tmp_path: Path
) -> None:
    quick = ("-m", small_bundle, "--threshold", "0", "--no-video", "--no-plot", "--json")
    code, out, err = call("score", recorder, "-o", tmp_path / "folder", *quick)
    assert code == 3, err
    document = json.loads(out)
    assert [(r["input"], r["error"] is None) for r in document["results"]] == [("1", True), ("2", True), ("3", False)]
    assert document["notes"] == [f"{recorder}: 40 images beside 3 videos left out"]
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == ["1.csv", "2.csv"]
    code, out, err = call("score", *sorted(recorder.glob("1*")), "-o", tmp_path / "glob", *quick)
    assert code == 0, err
    assert [r["input"] for r in json.loads(out)["results"]] == ["1"]
    assert "note: 40 images given with the videos left out" in err


@pytest.mark.parametrize("command", ["run", "config check"])
def test_a_folder_of_recordings_is_no_camera_of_images(
    call: Any, small_bundle: Path, recorder: Path, tmp_path: Path, command: str
) -> None:
    config = write_config(tmp_path / "c.yaml", small_bundle, {"type": "images", "path": str(recorder)})
    code, out, err = call(*command.split(), config, *(["--once"] if command == "run" else []))
    assert code != 0
    assert "contains 3 videos beside 40 images" in out + err


@pytest.mark.parametrize("local", ["--local", "--no-local"])
def test_a_recording_that_is_deleted_meanwhile_costs_no_more_than_itself(
    call: Any, small_bundle: Path, clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: str
) -> None:
    """As recorders do with the oldest: it is there when the folder is read, and gone when its turn comes."""
    folder = shutil.copytree(clean, tmp_path / "rec")
    shutil.copy(clean / "1.mp4", folder / "0.mp4")
    real = clip_scores.score_clip

    def score_clip(clip: FileSpec, *arguments: Any, **options: Any) -> Any:
        clip.path.unlink() if clip.path.name == "1.mp4" else None
        return real(clip, *arguments, **options)

    monkeypatch.setattr(clip_scores, "score_clip", score_clip)
    code, out, err = call("calibrate", small_bundle, "--data", folder, "-o", tmp_path / "c.json", local, "--json")
    assert code == 3, err
    document = json.loads(out)
    assert document["clips"] == 2
    assert [(Path(item["path"]).name, item["reason"]) for item in document["left_out"]] == [("1.mp4", "not_found")]
    assert "1 clip left out (not_found)" in err
    assert (tmp_path / "c.json").exists()
