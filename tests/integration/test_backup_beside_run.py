"""`streamad backup` beside a `streamad run` that writes events, and a service that starts from what is restored."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from bundle_support import THRESHOLD, moving_shapes, write_mp4
from cli_support import streamad
from run_support import running

from streamad.alerts.store import read_events

pytestmark = [pytest.mark.timeout(240), pytest.mark.alone]


def test_a_backup_beside_a_running_service_restores_to_one_that_shows_the_same_events(
    small_bundle: Path, tmp_path: Path
) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    site.mkdir()
    empty.mkdir()
    shutil.copytree(small_bundle, site / "models" / "gate")
    busy = tuple((15 * k + 10, 15 * k + 15) for k in range(20))
    video = write_mp4(tmp_path / "busy.mp4", moving_shapes(300, busy=busy), fps=15)
    source = {"type": "file", "path": str(video), "realtime": True, "loop": True, "speed": 8}
    document = {
        "model": "models/gate",
        "cameras": [{"id": "gate", "source": source, "threshold": THRESHOLD}],
        "rules": {"min_duration_seconds": 0.1, "cooldown_seconds": 0},
        "evidence": {"pre_roll_seconds": 0, "post_roll_seconds": 0, "min_free_gigabytes": 0},
        "web": {"port": 0},
    }
    config = site / "camera.yaml"
    config.write_text(yaml.safe_dump(document))
    with running(config) as run:
        run.eventually(lambda: len(run.events("gate")) >= 5)
        event = run.events("gate")[0]["id"]
        assert streamad("events", "mark", config, event, "reviewed", "--by", "kim", cwd=site).code == 0
        archives = []
        for number in range(3):
            before = {event["id"]: event for event in run.events("gate") if event["state"] == "closed"}
            made = streamad("backup", config, "--out", f"{number}.zip", "--evidence", "--json", cwd=site)
            assert made.code == 0, made.err
            assert made.document()["skipped"] == []
            archives.append((site / f"{number}.zip", before))
        count = len(run.events("gate"))
        run.eventually(lambda: len(run.events("gate")) > count)  # watching goes on
        refused = streamad("restore", archives[-1][0], config, "--force", cwd=site)
        assert (refused.code, "in use" in refused.err) == (1, True)
        assert run.metric("streamad_event_store_errors_total") == 0
        assert run.end() == 0
    stored = {event.id: event for event in read_events(site / "runs" / "events.sqlite", limit=100_000)}
    for archive, before in archives:
        folder = empty / archive.stem
        folder.mkdir()
        restored = streamad("restore", archive, "camera.yaml", cwd=folder)
        assert restored.code == 0, restored.err
        found = {e.id: e for e in read_events(folder / "runs" / "events.sqlite", limit=100_000)}
        assert set(before) <= set(found) <= set(stored)
        assert all(found[e].to_dict() == stored[e].to_dict() for e in found if found[e].state == "closed")
    listed = streamad("events", "list", "camera.yaml", "--limit", "999", "--json", cwd=folder).document()
    ids = [e["id"] for e in listed["events"]]
    # A service that watches nothing more: what it shows was restored.
    document["cameras"][0]["source"] = {
        "type": "file",
        "path": str(write_mp4(tmp_path / "still.mp4", moving_shapes(60))),
    }  # type: ignore[index]
    (folder / "camera.yaml").write_text(yaml.safe_dump(document))
    with running(folder / "camera.yaml") as run:
        shown = run.get("/api/v1/events?limit=500")["events"]
        assert [e["id"] for e in shown] == ids
        assert {e["id"]: e["mark"]["by"] for e in shown if e.get("mark")} == {event: "kim"}
        assert all(e["state"] in ("closed", "interrupted") for e in shown)
        with suppress(AssertionError):
            run.end()
