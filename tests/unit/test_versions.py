"""Versions of a bundle: whoever loads it finds the old one or the new one whole, whenever its maker is killed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from kill_support import killed_at_every_change

from streamad.errors import OutputError
from streamad.versions import MANIFEST, activate, active_version, new_version, root_of

FILES = ("a.bin", "b.bin", "calibration.json", MANIFEST)


def fill(folder: Path, content: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (folder / name).write_text(content)
    return folder


def content(folder: Path) -> str:
    """What the bundle in force says, the same in all its files."""
    inside = active_version(folder)
    (answer,) = {(inside / name).read_text() for name in FILES}
    return answer


def learn(home: Path, what: str) -> None:
    activate(home, fill(new_version(home), what))


def test_the_new_version_is_loaded_and_the_old_one_is_kept(tmp_path: Path) -> None:
    home = tmp_path / "gate"
    learn(home, "one")
    assert content(home) == "one"
    assert not (home / "previous").exists()
    running = active_version(home)  # what a watch was started with
    learn(home, "two")
    assert (content(home), content(home / "previous"), content(running)) == ("two", "one", "one")
    learn(home, "three")
    assert (content(home), content(home / "previous")) == ("three", "two")
    assert sorted(path.name for path in (home / "versions").iterdir()) == ["0002", "0003"]
    assert root_of(active_version(home)) == home
    assert root_of(tmp_path / "flat") == tmp_path / "flat"


def test_a_bundle_without_versions_becomes_one_with_them(tmp_path: Path) -> None:
    home = fill(tmp_path / "gate", "flat")
    fill(home / "previous", "older")  # as versions before had it
    (home / "recordings").mkdir()
    (home / ".lock").touch()
    learn(home, "new")
    assert (content(home), content(home / "previous")) == ("new", "flat")
    assert sorted(path.name for path in home.iterdir()) == [".lock", "current", "previous", "recordings", "versions"]


@pytest.mark.parametrize("before", ["nothing", "flat", "versions"])
def test_killed_anywhere_the_old_version_or_the_new_one_is_whole(tmp_path: Path, before: str) -> None:
    home, found = tmp_path / "gate", []

    def prepare() -> None:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        if before == "flat":
            fill(home, "old")
            fill(home / "previous", "older")
        elif before == "versions":
            learn(home, "older")
            learn(home, "old")

    for _ in killed_at_every_change(prepare, lambda: learn(home, "new")):
        has_any = (active_version(home) / MANIFEST).exists()
        assert has_any or before == "nothing"
        found.append(content(home) if has_any else "nothing")
        if before == "flat":  # the way with the most steps: the next run is not disturbed by what is left of it
            learn(home, "again")
            assert content(home) == "again"
            assert len(list((home / "versions").iterdir())) <= 2
    old = "nothing" if before == "nothing" else "old"
    assert set(found) == {old, "new"}
    assert found == sorted(found, key=lambda what: what == "new")  # never back again


def test_what_cannot_be_done_says_why(tmp_path: Path) -> None:
    (tmp_path / "gate").write_text("a file")
    with pytest.raises(OutputError, match=r"cannot write to .*gate"):
        new_version(tmp_path / "gate")
