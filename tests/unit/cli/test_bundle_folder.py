"""The name and the folder of a model that is to be made: all that is wrong is said before any work."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from bundle_support import moving_shapes, write_mp4

from streamad.bundle import require_name
from streamad.cli.common import bundle_folder, output_file
from streamad.errors import OutputError, UsageError

NAMES = {
    "Gate": "gate",
    "Front Gate": "front-gate",
    "Köln Süd": "koeln-sued",
    "Zażółć": "zazolc",
    "café": "cafe",
    ".hidden": "hidden",
    "-x": "x",
    "a/../B": "b",
    "gate\n": "gate",
    "门": "gate",
    "a" * 300: "a" * 100,
}


@pytest.mark.parametrize("name", ["gate", "gate-2", "0", "a.b_c", "gate.v2"])
def test_names_that_are_valid(name: str, tmp_path: Path) -> None:
    assert require_name(name) == name
    assert bundle_folder(tmp_path / "models" / name) == tmp_path / "models" / name
    assert not (tmp_path / "models").exists()  # nothing is left where a later check refuses


@pytest.mark.parametrize(("name", "nearest"), NAMES.items())
def test_a_name_that_is_not_valid_comes_with_the_nearest_one_that_is(name: str, nearest: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a valid model name") as refused:
        bundle_folder(tmp_path / name)
    assert refused.value.hint is not None
    assert refused.value.hint.endswith(f"/{nearest}")
    assert require_name(nearest) == nearest


def test_a_dot_and_a_trailing_slash_have_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gate").mkdir()
    monkeypatch.chdir(tmp_path / "gate")
    assert bundle_folder(Path(".")).name == "gate"
    assert bundle_folder(Path(f"{tmp_path}/yard/")).name == "yard"
    (tmp_path / "Gate").mkdir()
    monkeypatch.chdir(tmp_path / "Gate")
    with pytest.raises(UsageError, match="'Gate' is not a valid model name"):
        bundle_folder(Path("."))


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, small_bundle: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "README.md").write_text("mine")
    (home / "letters").mkdir()
    with pytest.raises(
        UsageError, match=r"home is not a model: it holds other files \(README\.md, letters\)"
    ) as refused:
        bundle_folder(home)
    assert "home/gate" in str(refused.value.hint)
    assert (home / "README.md").read_text() == "mine"
    for left in ("training", "recordings", ".DS_Store"):  # of a command that was interrupted, or of a file manager
        (tmp_path / "begun" / left).mkdir(parents=True)
    assert bundle_folder(tmp_path / "begun") == tmp_path / "begun"
    assert bundle_folder(small_bundle) == small_bundle  # a model is replaced
    (tmp_path / "learned" / "current").mkdir(parents=True)
    assert bundle_folder(tmp_path / "learned", versioned=True)
    with pytest.raises(UsageError, match="holds versions made by `streamad learn`"):
        bundle_folder(tmp_path / "learned")
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "gate"):
        with pytest.raises(OutputError):
            bundle_folder(place)


def test_a_full_and_a_read_only_disk_are_named(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        with pytest.raises(OutputError, match="No space left on device"):
            bundle_folder(disk / "models" / "gate")
        assert not list(disk.iterdir())
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for check in (bundle_folder, output_file):
            with pytest.raises(OutputError, match="Read-only file system"):
                check(disk / "gate")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_file_to_write_is_not_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder; --out takes a file"):
        output_file(tmp_path)
    assert output_file(tmp_path / "new" / "c.json") == tmp_path / "new" / "c.json"


@pytest.mark.parametrize("command", ["train motion", "train adacl", "learn", "fuse"])
def test_every_command_says_so_before_it_reads_the_video(command: str, call: Any, tmp_path: Path) -> None:
    """The video that is named does not exist: whoever says that first has looked at it first."""
    if command == "train adacl":
        pytest.importorskip("torch")
    words = {"learn": ["learn", "nowhere.mp4"], "fuse": ["fuse", "a", "b", "--data", "nowhere.mp4"]}
    arguments = words.get(command) or [*command.split(), "--data", "nowhere.mp4"]
    code, _, said = call(*arguments, "--out", "models/Gate Yard")
    assert code == 2
    assert "'Gate Yard' is not a valid model name" in said
    assert "--out models/gate-yard" in said
    assert not (tmp_path / "models").exists()


def test_calibrate_checks_its_file_before_it_reads_the_video(call: Any, small_bundle: Path, tmp_path: Path) -> None:
    code, _, said = call("calibrate", small_bundle, "--data", "nowhere.mp4", "--out", tmp_path)
    assert code == 2
    assert "is a folder; --out takes a file" in said


def test_clips_of_two_sizes_are_refused_before_any_is_read(call: Any, tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mp4", moving_shapes(30))
    write_mp4(tmp_path / "b.mp4", (picture[:100, :80] for picture in moving_shapes(30)))
    for arguments in (["train", "motion", "--data"], ["learn"]):
        code, _, said = call(*arguments, tmp_path / "a.mp4", *arguments[2:], tmp_path / "b.mp4", "--out", "gate")
        assert code == 2
        assert "the clips have different sizes: 160×120 (a), 80×100 (b)" in said
