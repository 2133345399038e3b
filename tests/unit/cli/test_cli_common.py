"""What commands share: sources and clips from words, folders, tables and the JSON document."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from bundle_support import write_mp4

from streamad.cli.common import clips_of, emit, engine_spec, output_folder, source_of, table
from streamad.cli.score import _distinct, _sources
from streamad.errors import OutputError, UsageError
from streamad.sources import DeviceSpec, FileSpec, ImagesSpec, RtspSpec, SourceNotFoundError


def images(folder: Path, count: int = 2) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), np.zeros((4, 4), np.uint8))
    return folder


def test_sources_are_told_apart_and_only_folders_take_the_rate(tmp_path: Path) -> None:
    folder = images(tmp_path / "frames")
    assert source_of(str(folder), 10) == ImagesSpec(path=folder, fps=10)
    assert source_of("a.mp4", 10) == FileSpec(path=Path("a.mp4"))
    assert isinstance(source_of("rtsp://host/x", 10), RtspSpec)
    assert isinstance(source_of("/dev/video3", 10), DeviceSpec)


def test_clips_are_files_folders_of_images_or_folders_of_those(tmp_path: Path) -> None:
    images(tmp_path / "frames" / "b")
    images(tmp_path / "frames" / "a")
    (tmp_path / "videos").mkdir()
    for name in ("c.AVI", "a.mp4"):
        write_mp4(tmp_path / "videos" / name, [np.zeros((32, 32), np.uint8)] * 2)
    (tmp_path / "videos" / "notes.txt").write_text("x")
    assert clips_of([tmp_path / "frames", tmp_path / "videos"], 12).clips == (
        ("a", ImagesSpec(path=tmp_path / "frames" / "a", fps=12)),
        ("b", ImagesSpec(path=tmp_path / "frames" / "b", fps=12)),
        ("a", FileSpec(path=tmp_path / "videos" / "a.mp4")),
        ("c", FileSpec(path=tmp_path / "videos" / "c.AVI")),
    )


def test_missing_and_empty_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match="nowhere"):
        clips_of([tmp_path / "nowhere"], 25)
    with pytest.raises((UsageError, SourceNotFoundError), match=str(tmp_path)):
        clips_of([tmp_path], 25)


def test_an_output_folder_is_made_and_tried(tmp_path: Path) -> None:
    folder = output_folder(tmp_path / "a" / "b")
    assert os.listdir(folder) == []
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "under"):
        with pytest.raises(OutputError, match="file") as caught:
            output_folder(place)
        assert "--out" in (caught.value.hint or "")


def test_an_unknown_engine_is_refused_with_the_known_ones() -> None:
    assert engine_spec("onnx", 3).threads == 3
    with pytest.raises(UsageError, match=r"'cpu'.*auto, openvino, onnx, torch"):
        engine_spec("cpu", None)


def test_names_of_outputs_are_unique_and_hold_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    inputs = ["a/x.mp4", "b/x.mp4", "frames/", "rtsp://user:secret@host/cam", "x.avi", "."]
    sources, _ = _sources(inputs, 25, "16")
    assert _distinct(name for name, _ in sources) == ["x", "x-2", "frames", "camera3", "x-3", "input"]


def test_the_document_is_strict_json(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"a": math.nan, "b": [math.inf, 1.5], "c": Path("x"), "d": "größe"})
    out = capsys.readouterr().out
    assert json.loads(out) == {"a": None, "b": [None, 1.5], "c": "x", "d": "größe"}
    assert "größe" in out


def test_a_table_is_aligned_and_shows_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    table([{"name": "a", "value": 1.23456789}, {"name": "longer", "value": None}])
    assert capsys.readouterr().out.splitlines() == ["name    value", "a       1.235", "longer  –"]
    table([])
    assert capsys.readouterr().out == ""
