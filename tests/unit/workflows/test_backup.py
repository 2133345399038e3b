"""Backups of an installation, restored elsewhere, damaged, hostile, and on a full disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import stat
import zipfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from disk_support import fill, small_disk_or_skip
from unit.alerts.alert_events import make_event

from streamad.alerts import EventStore, Mark, add_mark
from streamad.alerts.database import MIGRATIONS
from streamad.alerts.marks import read_marks
from streamad.alerts.store import read_events
from streamad.errors import OutputError, StreamadError, UsageError
from streamad.versions import active_version
from streamad.workflows.backup import create_backup
from streamad.workflows.restore import restore_backup

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation: events of which one is marked, a model with two versions, a calibration, scores, evidence."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("STREAMAD_MODELS", raising=False)
    document = {
        "model": "models/gate",
        "cameras": [{"id": "gate", "source": {"type": "file", "path": "x.mp4"}, "calibration": "own/gate.json"}],
        "web": {"users": "accounts.json"},
    }
    Path("camera.yaml").write_text(yaml.safe_dump(document))
    with EventStore("runs/events.sqlite") as store:
        events = [make_event(number, state="closed") for number in range(3)]
        for event in events:
            store.save(event)
    add_mark(Path("runs/events.sqlite"), Mark(event=events[0].id, verdict="false_alarm", by="kim", at=NOW))
    for name in ("0001", "0002"):
        version = Path("models/gate/versions") / name
        version.mkdir(parents=True)
        (version / "model.yaml").write_text(f"name: gate {name}\n")
        (version / "model.onnx").write_bytes(os.urandom(5000))
    Path("models/gate/versions/0003.part").mkdir()
    Path("models/gate/versions/0003.part/model.onnx").write_bytes(b"unfinished")
    Path("models/gate/current").symlink_to("versions/0001")  # rolled back
    Path("models/gate/.lock").touch()
    for path, text in (
        ("accounts.json", "{}"),
        ("own/gate.json", "{}"),
        ("own/gate.local.npz", "statistics"),
        ("runs/scores/gate/20260301.scores", "scores"),
        ("runs/scores/gate/calibration.json", "tightened"),
        ("runs/scores/gate/watched/1.npz", "input"),
        ("runs/scores/watched/calibration.json", "of a camera of that name"),
        ("runs/evidence/gate/01/clip.mp4", "clip"),
    ):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
    return folder


def back_up(*, evidence: bool = False) -> Path:
    return create_backup(Path("camera.yaml"), Path("backup.zip"), made_at=NOW, evidence=evidence).path


def elsewhere(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path.mkdir()
    monkeypatch.chdir(path)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def rewrite(archive: Path, change: Callable[[dict[str, Any], dict[str, bytes]], None]) -> Path:
    """Write an archive again after `change` of its manifest and files."""
    with zipfile.ZipFile(archive) as old:
        files = {name: old.read(name) for name in old.namelist()}
    manifest = json.loads(files.pop("manifest.json"))
    change(manifest, files)
    target = archive.with_name("changed.zip")
    with zipfile.ZipFile(target, "w") as new:
        for name, data in files.items():
            new.writestr(name, data)
        new.writestr("manifest.json", json.dumps(manifest))
    return target


def add(manifest: dict[str, Any], files: dict[str, bytes], name: str, data: bytes) -> None:
    files[name] = data
    manifest["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_everything_comes_back_in_an_empty_folder(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, events = tree(site), read_events(Path("runs/events.sqlite"))
    archive = back_up(evidence=True).resolve()
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    empty = elsewhere(tmp_path / "empty", monkeypatch)
    done = restore_backup(archive, Path("camera.yaml"))
    assert (done.left_out, done.kept_config) == ((), False)
    after = tree(empty)
    assert read_events(Path("runs/events.sqlite")) == events
    assert [mark.by for mark in read_marks(Path("runs/events.sqlite"), events[-1].id)] == ["kim"]
    assert active_version(Path("models/gate")).name == "0001"
    assert Path("models/gate/current").is_symlink()
    assert stat.S_IMODE(Path("accounts.json").stat().st_mode) == 0o600
    left_out = {
        "models/gate/.lock",
        "models/gate/versions/0003.part/model.onnx",
        "runs/scores/gate/watched/1.npz",
        "backup.zip",
    }
    expected = {name: data for name, data in before.items() if name not in left_out and "events.sqlite" not in name}
    assert {name: data for name, data in after.items() if "events.sqlite" not in name} == expected
    with EventStore("runs/events.sqlite") as store:
        store.save(make_event(9, state="closed"))


def test_evidence_is_left_out_by_default(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = back_up().resolve()
    empty = elsewhere(tmp_path / "empty", monkeypatch)
    restore_backup(archive, Path("camera.yaml"))
    assert not list(empty.rglob("clip*"))


def test_an_existing_configuration_says_where_files_go(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = back_up().resolve()
    elsewhere(tmp_path / "other", monkeypatch)
    document = {
        "model": "learned/gate",
        "cameras": [{"id": "gate", "source": {"type": "file", "path": "x.mp4"}}],
        "events": {"path": "e.sqlite"},
    }
    Path("mine.yaml").write_text(text := yaml.safe_dump(document))
    done = restore_backup(archive, Path("mine.yaml"))
    assert done.kept_config
    assert Path("mine.yaml").read_text() == text
    assert len(read_events(Path("e.sqlite"))) == 3
    assert Path("learned/gate/current/model.yaml").is_file()
    assert done.left_out == ("calibrations/gate/gate.json", "calibrations/gate/gate.local.npz", "users")


def test_nothing_is_replaced_unless_asked_to(site: Path) -> None:
    archive = back_up()
    with EventStore("runs/events.sqlite") as store:
        store.save(make_event(9, state="closed"))
    Path("models/gate/versions/0002/model.yaml").write_text("changed")
    before = tree(site)
    with pytest.raises(UsageError, match=r"events\.sqlite, .*exists already"):
        restore_backup(archive, Path("camera.yaml"))
    assert tree(site) == before
    restore_backup(archive, Path("camera.yaml"), force=True)
    assert len(read_events(Path("runs/events.sqlite"))) == 3, "no log of the replaced file is applied to the new one"
    assert Path("models/gate/versions/0002/model.yaml").read_text() == "name: gate 0002\n"
    assert not [path for path in site.rglob("*") if path.name.endswith((".restoring", ".replaced"))]
    with pytest.raises(OutputError, match="exists already"):
        back_up()


def test_a_store_in_use_is_not_replaced(site: Path) -> None:
    archive = back_up()
    with EventStore("runs/events.sqlite"), pytest.raises(OutputError, match="in use"):
        restore_backup(archive, Path("camera.yaml"), force=True)


def damage(archive: Path) -> Path:
    with zipfile.ZipFile(archive) as opened:
        entry = opened.getinfo("models/gate/versions/0001/model.onnx")
    data = bytearray(archive.read_bytes())
    data[entry.header_offset + 2000] ^= 0xFF
    target = archive.with_name("changed.zip")
    target.write_bytes(data)
    return target


def cut(archive: Path) -> Path:
    target = archive.with_name("changed.zip")
    target.write_bytes(archive.read_bytes()[:-3000])
    return target


def other_content(manifest: dict[str, Any], files: dict[str, bytes]) -> None:
    name = "models/gate/versions/0001/model.onnx"
    files[name] = bytes(len(files[name]))


def newer_store(manifest: dict[str, Any], files: dict[str, bytes]) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(files["events.sqlite"])
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
        add(manifest, files, "events.sqlite", connection.serialize())


def damaged_store(manifest: dict[str, Any], files: dict[str, bytes]) -> None:
    data = files["events.sqlite"]
    add(manifest, files, "events.sqlite", data[:100] + os.urandom(len(data) - 100))


HOSTILE: dict[str, tuple[Callable[[dict[str, Any], dict[str, bytes]], Any], str]] = {
    "parent folder": (lambda m, f: add(m, f, "models/gate/../../../evil", b"x"), "leads out"),
    "absolute": (lambda m, f: add(m, f, "/evil", b"x"), "leads out"),
    "backslash": (lambda m, f: add(m, f, "models\\..\\evil", b"x"), "leads out"),
    "empty part": (lambda m, f: add(m, f, "models//evil", b"x"), "leads out"),
    "link out": (lambda m, f: m["links"].update({"models/gate/out": "../../evil"}), "leads out"),
    "absolute link": (lambda m, f: m["links"].update({"models/gate/out": "/etc"}), "leads out"),
    "file under a link": (lambda m, f: add(m, f, "models/gate/current/evil", b"x"), "under the link"),
    "file that is not listed": (lambda m, f: f.update({"models/gate/more": b"x"}), "exactly the files"),
    "missing file": (lambda m, f: f.pop("events.sqlite"), "exactly the files"),
    "other size": (lambda m, f: f.update({"events.sqlite": b"x"}), "the size of events.sqlite"),
    "other content": (other_content, "does not match its hash"),
    "newer format": (lambda m, f: m.update(version=2), "version 2 of the backup format"),
    "wrong types": (lambda m, f: m.update(files=[1]), "not valid: files"),
    "newer store": (newer_store, "newest supported"),
    "damaged store": (damaged_store, "malformed|damaged|not a database"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archives_are_refused_and_change_nothing(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    change, message = HOSTILE[kind]
    archive = rewrite(back_up(), change).resolve()
    empty = elsewhere(tmp_path / "empty", monkeypatch)
    with pytest.raises(StreamadError, match=message):
        restore_backup(archive, Path("camera.yaml"))
    assert {name for name in tree(empty) if not name.endswith(".lock")} == set()
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("spoil", [damage, cut])
def test_damaged_archives_are_refused(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], Path]
) -> None:
    archive = spoil(back_up()).resolve()
    empty = elsewhere(tmp_path / "empty", monkeypatch)
    with pytest.raises(UsageError, match="damaged"):
        restore_backup(archive, Path("camera.yaml"))
    assert {name for name in tree(empty) if not name.endswith(".lock")} == set()


def test_what_is_no_backup_is_refused(site: Path) -> None:
    with zipfile.ZipFile("other.zip", "w") as other:
        other.writestr("photo.jpg", b"x")
    os.mkfifo("pipe")
    messages = {"other.zip": "not a backup", "camera.yaml": "not a backup", "pipe": "regular file", "none": "No such"}
    for path, message in messages.items():
        with pytest.raises(UsageError, match=message):
            restore_backup(Path(path), Path("camera.yaml"))


def test_a_full_disk_costs_neither_what_is_there_nor_half_a_backup(site: Path, tmp_path: Path) -> None:
    archive = back_up()
    with small_disk_or_skip(tmp_path / "disk", "200k") as disk:
        shutil.copytree(site / "own", disk / "own")
        Path("mine.yaml").write_text(
            Path("camera.yaml").read_text()
            + f"events: {{path: {disk}/events.sqlite}}\nhistory: {{folder: {disk}/scores}}\n"
        )
        ballast = fill(disk)
        with pytest.raises(OutputError, match=r"No space|free space"):
            create_backup(Path("camera.yaml"), disk / "b.zip", made_at=NOW)
        with pytest.raises(OutputError, match=r"No space|free space"):
            restore_backup(archive, Path("mine.yaml"), force=True)
        ballast.unlink()
        assert {name for name in tree(disk) if not name.endswith(".lock")} == {"own/gate.json", "own/gate.local.npz"}
    assert Path("models/gate/versions/0002/model.yaml").is_file()


def test_what_cannot_be_included_is_reported(site: Path) -> None:
    os.mkfifo("models/gate/pipe")
    Path("models/gate/out").symlink_to("/etc")
    made = create_backup(Path("camera.yaml"), Path("backup.zip"), made_at=NOW)
    assert sorted(made.skipped) == ["models/gate/out: a link out of its folder", "models/gate/pipe: not a regular file"]


def test_a_damaged_store_is_not_backed_up_as_if_it_were_whole(site: Path) -> None:
    path = Path("runs/events.sqlite")
    with EventStore(path) as store:
        for number in range(200):
            store.save(make_event(number, state="closed"))
    data = bytearray(path.read_bytes())
    data[8192:24576] = os.urandom(16384)
    path.write_bytes(data)
    with pytest.raises(OutputError, match=r"damaged|malformed"):
        back_up()
    assert not Path("backup.zip").exists()
