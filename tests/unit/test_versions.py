"""Versions of a bundle: whoever loads it finds the old one or the new one whole, whenever its maker is killed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from kill_support import killed_at_every_change

from streamad.errors import OutputError, UsageError
from streamad.versions import (
    KEPT,
    MANIFEST,
    activate,
    active_version,
    list_versions,
    new_version,
    older_version,
    root_of,
)

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


def versions(home: Path) -> dict[str, str]:
    return {path.name: content(path) for path in list_versions(home)}


def test_the_new_version_is_loaded_and_the_newest_ones_are_kept(tmp_path: Path) -> None:
    home = tmp_path / "gate"
    assert list_versions(home) == []
    learn(home, "1")
    assert content(home) == "1"
    running = active_version(home)  # what a watch was started with
    learn(home, "2")
    assert (content(home), content(running)) == ("2", "1")
    assert versions(home) == {"0001": "1", "0002": "2"}
    for number in range(3, KEPT + 3):
        learn(home, str(number))
    assert versions(home) == {f"{number:04d}": str(number) for number in range(3, KEPT + 3)}
    assert root_of(active_version(home)) == home
    assert root_of(tmp_path / "flat") == tmp_path / "flat"


def test_an_older_version_is_activated_and_learning_goes_on_from_there(tmp_path: Path) -> None:
    home = tmp_path / "gate"
    with pytest.raises(UsageError, match="has no versions"):
        older_version(home)
    for number in range(1, KEPT + 1):
        learn(home, str(number))
    activate(home, older_version(home))
    assert content(home) == str(KEPT - 1)
    activate(home, older_version(home, 1))
    assert content(home) == "1"
    with pytest.raises(UsageError, match="no version before the active one, 1; versions: 1, 2"):
        older_version(home)
    with pytest.raises(UsageError, match="no version 9"):
        older_version(home, 9)
    learn(home, "new")
    # The newest are kept, and the one that the new one comes from.
    assert versions(home) == {"0001": "1", "0002": "2", "0003": "3", "0004": "4", "0005": "5", "0006": "new"}
    learn(home, "newer")
    assert list(versions(home)) == ["0003", "0004", "0005", "0006", "0007"]


def test_a_bundle_without_versions_becomes_one_with_them(tmp_path: Path) -> None:
    home = fill(tmp_path / "gate", "flat")
    fill(home / "previous", "older")  # as versions before had it
    (home / "recordings").mkdir()
    (home / ".lock").touch()
    learn(home, "new")
    assert content(home) == "new"
    assert versions(home) == {"0000": "flat", "0001": "new"}
    assert sorted(path.name for path in home.iterdir()) == [".lock", "current", "recordings", "versions"]


def test_the_versions_of_release_0_2_are_kept(tmp_path: Path) -> None:
    home = tmp_path / "gate"
    for number in (1, 2):
        fill(home / "versions" / f"000{number}", str(number))
    (home / "previous").symlink_to("versions/0001")
    (home / "current").symlink_to("versions/0002")
    learn(home, "3")
    assert versions(home) == {"0001": "1", "0002": "2", "0003": "3"}
    assert not (home / "previous").is_symlink()


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
            assert not list((home / "versions").glob("*.part"))
    old = "nothing" if before == "nothing" else "old"
    assert set(found) == {old, "new"}
    assert found == sorted(found, key=lambda what: what == "new")  # never back again


def test_what_cannot_be_done_says_why(tmp_path: Path) -> None:
    (tmp_path / "gate").write_text("a file")
    with pytest.raises(OutputError, match=r"cannot write to .*gate"):
        new_version(tmp_path / "gate")
