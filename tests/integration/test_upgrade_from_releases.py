"""What earlier releases wrote is read, upgraded, backed up and served by this one."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from bundle_support import moving_shapes, write_mp4
from cli_support import streamad, write_config
from run_support import running

from streamad.alerts import EventStore, Mark, add_mark
from streamad.alerts.database import MIGRATIONS
from streamad.alerts.sinks.outbox import Outbox
from streamad.alerts.store import read_events
from streamad.bundle import combined_sha256, load_bundle
from streamad.calibration import Calibration
from streamad.config import load_config
from streamad.errors import OutputError

ROOT = Path(__file__).resolve().parents[2]
OLD = ROOT / "tests" / "releases" / "0.1.0"
NEWER = f"has schema {len(MIGRATIONS) + 1}, the newest supported is {len(MIGRATIONS)}"


def copy(tmp_path: Path, name: str = "events.sqlite") -> Path:
    return Path(shutil.copy(OLD / name, tmp_path / name))


def reported() -> dict[str, dict[str, Any]]:
    """Events by id in their last state, from the lines that 0.1.0 wrote beside its store."""
    lines = map(json.loads, (OLD / "events.jsonl").read_text().splitlines())
    return {line["id"]: line for line in lines}


def schema(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def make_newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")


def test_the_store_of_0_1_is_upgraded_and_keeps_its_events(tmp_path: Path) -> None:
    path, known = copy(tmp_path), reported()
    assert schema(path) == 1
    with EventStore(path) as store:
        assert store.interrupted == 1, "what 0.1.0 left open when it was killed"
        events = read_events(path, limit=100)
        assert store.count() == len(events) == len(known) == 6
    assert schema(path) == len(MIGRATIONS)
    keys = ("camera", "severity", "started_at", "peak_score", "peak_index", "threshold", "box", "model_sha256")
    for event in events:
        document, old = event.to_dict(), known[event.id]
        assert {key: document[key] for key in keys if key in old} == {key: old[key] for key in keys if key in old}
        assert document["state"] == {"open": "interrupted"}.get(old["state"], old["state"])
    add_mark(path, Mark(event=events[0].id, verdict="reviewed", by="kim", at=events[0].started_at))
    assert len(read_events(path, camera="gate", verdict="reviewed")) + len(read_events(path, camera="yard")) >= 3


def test_a_store_is_not_changed_by_reading_or_backing_up(small_bundle: Path, tmp_path: Path) -> None:
    path = copy(tmp_path)
    before = path.read_bytes()
    config = write_config(tmp_path / "camera.yaml", small_bundle, {"type": "file", "path": "x.mp4"})
    listed = streamad("events", "list", path, cwd=tmp_path)
    assert listed.code in (0, 1)
    if listed.code:
        assert "an earlier version of streamad wrote the file" in listed.err
        assert "`streamad run` upgrades it" in listed.err
    assert streamad("backup", config, "--out", "before.zip", cwd=tmp_path).code == 0
    assert path.read_bytes() == before
    path.unlink()
    restored = streamad("restore", "before.zip", config, "--force", cwd=tmp_path)
    assert restored.code == 0, restored.err
    assert schema(path) == 1
    with EventStore(path) as store:
        assert store.count() == 6


@pytest.mark.alone
@pytest.mark.timeout(120)
def test_a_run_upgrades_and_serves_the_events_of_0_1(small_bundle: Path, tmp_path: Path) -> None:
    copy(tmp_path)
    video = write_mp4(tmp_path / "still.mp4", moving_shapes(60))
    source = {"type": "file", "path": str(video), "realtime": True, "loop": True}
    config = write_config(tmp_path / "camera.yaml", small_bundle, source, web={"port": 0})
    with running(config) as run:
        shown = run.get("/api/v1/events?limit=100")
        assert {event["id"] for event in shown["events"]} == set(reported())
        assert shown["total"] == 6
        assert "1 event left open by a process that died" in run.text
        assert run.end() == 0


def test_newer_files_are_refused_with_what_to_do(small_bundle: Path, tmp_path: Path) -> None:
    path = copy(tmp_path)
    make_newer(path)
    before = path.read_bytes()
    config = write_config(tmp_path / "camera.yaml", small_bundle, {"type": "file", "path": "x.mp4"})
    for command in (("run", config, "--once"), ("backup", config), ("events", "mark", path, "0" * 26, "reviewed")):
        ran = streamad(*command, cwd=tmp_path)
        assert (ran.code, NEWER in ran.err, "a newer streamad wrote it" in ran.err) == (1, True, True), ran.err
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*.zip"))
    outbox = tmp_path / "outbox.sqlite"
    limits: dict[str, Any] = {"max_waiting": 1, "max_age": timedelta(days=1)}
    Outbox(outbox, **limits).close()
    make_newer(outbox)
    with pytest.raises(OutputError, match="the newest supported is 0"):
        Outbox(outbox, **limits)


@pytest.mark.parametrize("name", ["camera.yaml", "several.yaml", "replay.yaml"])
def test_configurations_that_0_1_shipped_are_still_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_USER", "viewer")
    monkeypatch.setenv("CAMERA_PASSWORD", "secret")
    config, document = load_config(OLD / name), yaml.safe_load((OLD / name).read_text())
    assert config.model == document["model"]
    for camera, old in zip(config.cameras, document["cameras"], strict=True):
        assert (camera.id, camera.source.type) == (old["id"], old["source"]["type"])
        assert camera.alerts_per_day == old.get("alerts_per_day")
        assert camera.threshold == old.get("threshold")
        rules = old.get("rules", document.get("rules", {}))
        chosen = camera.rules or config.rules
        assert {key: getattr(chosen, key) for key in rules} == rules


def test_bundles_and_calibrations_of_0_1_are_still_valid(tmp_path: Path) -> None:
    folder = tmp_path / "adacl-ped2"
    shutil.copytree(OLD / "adacl-ped2", folder)
    for name in ("model.onnx", "weights.safetensors"):  # unchanged since; the bundle checks their hashes
        shutil.copy(ROOT / "models" / "adacl-ped2" / name, folder / name)
    bundle = load_bundle(folder)
    for path in (folder / "calibration.json", OLD / "calibration.json"):
        known, document = Calibration.load(path), json.loads(path.read_text())
        known.require_model(combined_sha256(bundle))
        assert (known.frames, known.fps, known.median) == (document["frames"], document["fps"], document["median"])
