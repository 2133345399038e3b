"""`streamad events mark` and `list`, beside a process that watches, and what a mark does to `calibrate --recent`."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml
from bundle_support import moving_shapes, write_mp4
from cli_support import streamad
from unit.alerts.alert_events import make_event

from streamad.alerts import EventStore, Mark, add_mark, false_alarms
from streamad.alerts.store import read_events
from streamad.bundle import load_bundle
from streamad.calibration import Calibration
from streamad.calibration.score_history import ScoreHistory, read_history
from streamad.config import parse_config
from streamad.observability.health import Health
from streamad.observability.metrics import Metrics
from streamad.service import watch
from streamad.web import create_app
from streamad.workflows.recalibrate import scores_sha256


def listed(path: Path, *options: str) -> list[str]:
    ran = streamad("events", "list", path, "--json", *options, cwd=path.parent)
    assert ran.code == 0, ran.err
    return [event["id"] for event in json.loads(ran.out)["events"]]


def test_events_are_marked_and_listed_while_they_are_written(tmp_path: Path) -> None:
    from starlette.testclient import TestClient

    path = tmp_path / "events.sqlite"
    now = datetime.now(UTC)
    first = replace(make_event(0, state="closed"), started_at=now - timedelta(hours=30))
    second = replace(make_event(1, state="closed"), started_at=now - timedelta(minutes=5))
    third = replace(make_event(2), started_at=now)
    with EventStore(path) as store:
        for event in (first, second, third):
            store.save(event)
        made = streamad("events", "mark", path, first.id, "false-alarm", "--note", "rain", "--by", "kim", cwd=tmp_path)
        assert made.code == 0, made.err
        assert streamad("events", "mark", path, second.id, "reviewed", cwd=tmp_path).code == 0
        assert listed(path) == [third.id, second.id, first.id]
        assert listed(path, "--mark", "false-alarm") == [first.id]
        assert listed(path, "--mark", "none") == [third.id]
        assert listed(path, "--since", "24h", "--state", "closed") == [second.id]
        assert "false-alarm" in streamad("events", "list", path, cwd=tmp_path).out
        assert streamad("events", "mark", path, first.id, "none", "--by", "alex", cwd=tmp_path).code == 0
        assert listed(path, "--mark", "none") == [third.id, first.id]
        shown = json.loads(streamad("events", "show", path, first.id, "--json", cwd=tmp_path).out)
        assert [(m["verdict"], m["by"], m["note"]) for m in shown["marks"]] == [
            ("false_alarm", "kim", "rain"),
            ("none", "alex", None),
        ]
        app = create_app(metrics=Metrics(), health=Health(), status=dict, store=store)
        marks = [
            event["mark"] for event in TestClient(app, client=("127.0.0.1", 1)).get("/api/v1/events").json()["events"]
        ]
        assert [mark and mark["kind"] for mark in marks] == [None, "reviewed", None]
        store.save(replace(third, state="closed", ended_index=20, ended_pts_seconds=2.0, ended_at=now))
        assert store.flush()
    unknown = streamad("events", "mark", path, "0" * 26, "reviewed", cwd=tmp_path)
    assert (unknown.code, "no event 0000" in unknown.err) == (2, True)
    assert streamad("events", "mark", tmp_path / "none.sqlite", first.id, "reviewed", cwd=tmp_path).code == 1


def test_a_false_alarm_counts_in_full_when_recent_scores_are_calibrated(small_bundle: Path, tmp_path: Path) -> None:
    owner, rng = scores_sha256(load_bundle(small_bundle), None), np.random.default_rng(0)
    now = datetime.now(UTC) - timedelta(hours=3)
    history = ScoreHistory(tmp_path / "scores", "gate", owner, hours=24, wall_clock=lambda: now, threshold=-8.0)
    with closing(history):
        for k in range(72_000):
            in_alert = 6000 <= k < 6050
            history.add(k, k / 10, -5.0 if in_alert else rng.normal(-9.0, 0.3), alert=in_alert, skipped=False)
    event = replace(
        make_event(state="closed"),
        started_pts_seconds=600.0,
        started_at=now + timedelta(seconds=600),
        ended_pts_seconds=604.9,
    )
    path = tmp_path / "events.sqlite"
    with EventStore(path) as store:
        store.save(event)

    def calibrated(out: str) -> tuple[float, str]:
        ran = streamad(
            "calibrate", small_bundle, "--recent", "24h", "--history", tmp_path / "scores", "--events", path,
            "--out", tmp_path / out, cwd=tmp_path,
        )  # fmt: skip
        assert ran.code == 0, ran.err
        return Calibration.load(tmp_path / out).threshold, ran.out + ran.err

    before, _ = calibrated("before.json")
    assert streamad("events", "mark", path, event.id, "false-alarm", cwd=tmp_path).code == 0
    marked, message = calibrated("marked.json")
    assert "5.0 s of alerts that are marked as false alarms count in full" in message
    assert marked > before
    assert streamad("events", "mark", path, event.id, "reviewed", cwd=tmp_path).code == 0
    assert calibrated("withdrawn.json")[0] == pytest.approx(before)


def test_an_event_of_a_real_run_is_found_among_its_scores(small_bundle: Path, tmp_path: Path) -> None:
    """Twelve seconds in real time, of which something moves in three."""
    video = write_mp4(tmp_path / "gate.mp4", moving_shapes(300, busy=((150, 225),)))
    config = {
        "model": str(small_bundle),
        "cameras": [
            {"id": "gate", "source": {"type": "file", "path": str(video), "realtime": True}, "threshold": -8.0}
        ],
        "rules": {"min_duration_seconds": 0.2, "cooldown_seconds": 0.5},
        "quality": {"enabled": False},
        "engine": {"threads": 1},
        "evidence": {"enabled": False},
        "history": {"folder": str(tmp_path / "scores")},
        "events": {"path": str(tmp_path / "events.sqlite")},
        "web": {"enabled": False},
    }
    began = datetime.now(UTC)
    assert watch(parse_config(yaml.safe_dump(config)), once=True).is_complete
    owner, path = scores_sha256(load_bundle(small_bundle), None), tmp_path / "events.sqlite"
    plain = read_history(tmp_path / "scores", "gate", owner, since=began)
    assert plain.alert_frames > 50
    events = read_events(path)
    assert events
    for event in events:
        add_mark(path, Mark(event=event.id, verdict="false_alarm", by="kim", at=began))
    marked = read_history(tmp_path / "scores", "gate", owner, since=began, false_alarms=false_alarms(path, "gate"))
    assert (marked.alert_frames, marked.false_alarm_frames) == (0, plain.alert_frames)
