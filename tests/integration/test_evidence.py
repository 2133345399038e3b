"""Evidence of events, of a real `streamad run` with real decoder processes."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import sqlite3
import time
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import cv2
import httpx
import numpy as np
import pytest
from bundle_support import moving_shapes
from cli_support import streamad, write_config
from clip_support import decoded, packets_of, slices_of
from disk_support import fill, small_disk_or_skip
from rtsp_support import RtspServer, require_rtsp_server
from run_support import running

pytestmark = [pytest.mark.timeout(300), pytest.mark.alone]

FPS = 15
RULES = {"min_duration_seconds": 0.2, "cooldown_seconds": 0}
EVIDENCE = {"pre_roll_seconds": 2.0, "post_roll_seconds": 2.0, "min_free_gigabytes": 0}


@pytest.fixture(scope="module")
def color_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a minute in color with three events: at 6 to 8 s, at 9 to 9.6 s, and at 20 to 24 s."""
    busy = ((90, 120), (135, 144), (300, 360))
    path = tmp_path_factory.mktemp("evidence") / "color.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "sc_threshold": "0"})
        stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", FPS
        stream.width, stream.height = 160, 120
        for gray in moving_shapes(450, busy=busy):
            color = np.stack([gray] * 3, axis=-1)
            color[:, : gray.shape[1] // 2, 1:] //= 2
            color[:, gray.shape[1] // 2 :, :2] //= 2
            container.mux(stream.encode(av.VideoFrame.from_ndarray(color, format="rgb24")))
        container.mux(stream.encode())
    return path


def is_red_and_blue(picture: av.VideoFrame) -> bool:
    rgb = picture.to_ndarray(format="rgb24").astype(float)
    left, right = rgb[:, :70].mean(axis=(0, 1)), rgb[:, 90:].mean(axis=(0, 1))
    return bool(left[0] > left[2] + 20 and right[2] > right[0] + 20)


def evidence_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*") if path.is_dir())


def record_of(folder: Path) -> dict[str, Any]:
    document = json.loads((folder / "event.json").read_text())
    assert isinstance(document, dict)
    return document


def stored(path: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT document FROM events WHERE type = 'anomaly' ORDER BY id").fetchall()
    return [json.loads(row[0]) for row in rows]


def trace_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "trace.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_event_of_a_file_has_evidence(small_bundle: Path, color_video: Path, tmp_path: Path) -> None:
    path = write_config(
        tmp_path / "site.yaml", small_bundle, {"type": "file", "path": str(color_video)}, rules=RULES, evidence=EVIDENCE
    )
    ran = streamad("run", path, "--once", "--json", "--scores", tmp_path / "scores", cwd=tmp_path)
    assert ran.code == 0, ran.err
    folders = evidence_of(tmp_path / "runs" / "evidence")
    events = stored(tmp_path / "events.sqlite")
    assert [folder.name for folder in folders] == [event["id"] for event in events]
    assert len(events) == 3
    with next((tmp_path / "scores").glob("*.csv")).open(newline="") as file:
        scores = {int(row["index"]): row for row in csv.DictReader(file)}
    original, colored = packets_of(color_video), 0
    for folder, event in zip(folders, events, strict=True):
        assert sorted(p.name for p in folder.iterdir()) == ["clip.mp4", "event.json", "snapshot.jpg", "trace.csv"]
        record = record_of(folder)
        assert record["event"] == event, "the event as stored"
        assert record["is_complete"]
        assert record["files"] == ["clip.mp4", "snapshot.jpg", "trace.csv"]
        assert record["clips"] == [{"file": "clip.mp4", "reason": None}]
        rows = trace_of(folder)
        indices = [int(row["index"]) for row in rows]
        assert indices == list(range(indices[0], indices[-1] + 1)), "every frame once"
        assert float(rows[0]["pts_seconds"]) == pytest.approx(max(0.0, event["started_pts_seconds"] - 2.0), abs=0.1)
        assert float(rows[-1]["pts_seconds"]) == pytest.approx(event["ended_pts_seconds"] + 2.0, abs=0.1)
        peak = next(row for row in rows if int(row["index"]) == event["peak_index"])
        assert float(peak["score"]) == pytest.approx(event["peak_score"], rel=1e-4)
        assert all(float(row["threshold"]) == pytest.approx(event["threshold"]) for row in rows)
        assert len(scores) >= len(rows)
        clip = packets_of(folder / "clip.mp4")
        start = original.index(clip[0])
        assert clip == original[start : start + len(clip)], "no re-encoding"
        assert start % FPS == 0
        assert event["started_pts_seconds"] - 3.1 <= start / FPS <= event["started_pts_seconds"] - 2.0 + 1e-6
        assert (start + len(clip)) / FPS >= event["ended_pts_seconds"] + 2.0
        pictures = decoded(folder / "clip.mp4")
        assert len(pictures) == len(clip)
        assert is_red_and_blue(pictures[0])
        snapshot = cv2.imread(str(folder / "snapshot.jpg"))
        assert snapshot is not None
        x0, y0, x1, _ = event["box"]
        edge = snapshot[y0 + 1, x0 + 4 : x1 - 4].astype(int)
        assert (edge[:, 2] - edge[:, 0]).mean() > 60, "the box is drawn in red"
        left, right = snapshot[90:115, 5:30].mean(axis=(0, 1)), snapshot[90:115, 130:155].mean(axis=(0, 1))
        colored += left[2] > left[0] + 15 and right[0] > right[2] + 15
    assert colored == 3, "the decoder's picture has replaced the gray one"


def test_a_killed_process_leaves_evidence_that_the_next_completes(
    small_bundle: Path, color_video: Path, tmp_path: Path
) -> None:
    source = {"type": "file", "path": str(color_video), "realtime": True, "loop": True}
    path = write_config(tmp_path / "site.yaml", small_bundle, source, rules=RULES, evidence=EVIDENCE, web={"port": 0})
    folder = tmp_path / "runs" / "evidence"
    with running(path) as run:
        (own,) = run.eventually(lambda: [p.parent for p in folder.glob("*/*/clip.mp4.part") if p.stat().st_size > 5000])
        opened = time.monotonic()
        run.eventually((own / "snapshot.jpg").exists)
        assert time.monotonic() - opened < 2.0
        assert not record_of(own)["is_complete"]
        time.sleep(1.0)
        run.end(signal.SIGKILL)
    assert not (own / "clip.mp4").exists()
    with running(path) as run:
        run.eventually(lambda: record_of(own)["is_complete"])
        run.end()
    record = record_of(own)
    assert record["clips"] == [{"file": "clip.mp4", "reason": "process_died"}]
    assert record["event"]["state"] == "interrupted"
    assert {e["id"]: e for e in stored(tmp_path / "events.sqlite")}[own.name] == record["event"]
    assert len(decoded(own / "clip.mp4")) > FPS
    assert not list(folder.glob("*/*/*.part"))


def test_a_full_disk_costs_evidence_alone(small_bundle: Path, color_video: Path, tmp_path: Path) -> None:
    with small_disk_or_skip(tmp_path / "disk", "1m") as disk:
        evidence = disk / "evidence"
        evidence.mkdir()
        source = {"type": "file", "path": str(color_video), "realtime": True, "speed": 2, "loop": True}
        path = write_config(
            tmp_path / "site.yaml", small_bundle, source, rules=RULES, evidence={**EVIDENCE, "folder": str(evidence)},
            web={"port": 0},
        )  # fmt: skip
        with running(path) as run:
            ballast = fill(disk)
            run.eventually(lambda: len(run.events("a")) >= 2 and run.events("a")[0]["state"] == "closed")
            run.eventually(lambda: run.metric("streamad_output_errors_total", output="evidence", reason="ENOSPC") >= 2)
            (output,) = [each for each in run.get("/status")["outputs"] if each["name"] == "evidence"]
            assert "No space left" in output["error"]
            assert run.camera("a")["fps"] > 20
            ballast.unlink()
            run.eventually(lambda: list(evidence.glob("*/*/clip.mp4")))
            run.eventually(lambda: not [o for o in run.get("/status")["outputs"] if o["error"]])
            assert run.metric("streamad_output_dropped_total", output="events") == 0
            assert run.end() == 0
        assert all(e["state"] == "closed" for e in stored(tmp_path / "events.sqlite"))


def test_evidence_deleted_by_hand(small_bundle: Path, color_video: Path, tmp_path: Path) -> None:
    source = {"type": "file", "path": str(color_video), "realtime": True, "loop": True}
    path = write_config(tmp_path / "site.yaml", small_bundle, source, rules=RULES, evidence=EVIDENCE, web={"port": 0})
    folder = tmp_path / "runs" / "evidence"
    with running(path) as run:
        own = run.eventually(lambda: next(folder.glob("*/*/snapshot.jpg"), None)).parent
        shutil.rmtree(folder / own.parent.name)
        run.eventually(lambda: (own / "event.json").exists() and record_of(own)["is_complete"])
        assert record_of(own)["clips"][0]["file"] is None
        run.eventually(lambda: list(folder.glob("*/*/clip.mp4")), 60)
        assert run.end() == 0


@pytest.mark.rtsp
def test_a_camera_that_breaks_off_within_an_event(small_bundle: Path, color_video: Path, tmp_path: Path) -> None:
    require_rtsp_server()
    folder = tmp_path / "runs" / "evidence"
    with RtspServer({"cam": color_video}) as server:
        source = {"type": "rtsp", "url": server.url("cam"), "read_timeout_seconds": 2}
        path = write_config(
            tmp_path / "site.yaml", small_bundle, source, rules=RULES, evidence=EVIDENCE, web={"port": 0}
        )
        with running(path) as run:
            run.eventually(lambda: any(e["state"] == "open" for e in run.events("a")))
            server.kill()
            own = run.eventually(lambda: next(folder.glob("*/*/clip.mp4"), None)).parent
            run.eventually(lambda: record_of(own)["is_complete"])
            page = httpx.get(f"{run.url}/api/v1/events/{own.name}/evidence/clip.mp4", headers={"Range": "bytes=0-99"})
            assert page.status_code == 206
            assert page.content == (own / "clip.mp4").read_bytes()[:100]
            assert run.events("a")[0]["evidence"] == ["clip.mp4", "event.json", "snapshot.jpg", "trace.csv"]
            run.end()
    assert record_of(own)["clips"] == [{"file": "clip.mp4", "reason": "stream_ended"}]
    assert record_of(own)["event"]["reason"] == "gap"
    original, clip = slices_of(color_video), slices_of(own / "clip.mp4")
    start = original.index(clip[0])
    assert clip == original[start : start + len(clip)]
    assert is_red_and_blue(decoded(own / "clip.mp4")[0])


def test_export(small_bundle: Path, color_video: Path, tmp_path: Path) -> None:
    path = write_config(
        tmp_path / "site.yaml", small_bundle, {"type": "file", "path": str(color_video)}, rules=RULES, evidence=EVIDENCE
    )
    assert streamad("run", path, "--once", cwd=tmp_path).code == 0
    listed = json.loads(streamad("events", "list", path, "--json", cwd=tmp_path).out)["events"]
    assert len(listed) == 3
    event = listed[0]["id"]
    assert listed[0]["evidence"] == ["clip.mp4", "event.json", "snapshot.jpg", "trace.csv"]
    shown = json.loads(streamad("events", "show", path, event, "--json", cwd=tmp_path).out)
    assert shown["event"]["id"] == event
    target = tmp_path / "case.zip"
    ran = streamad("events", "export", path, event, "--out", target, cwd=tmp_path)
    assert ran.code == 0, ran.err
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        own = tmp_path / "runs" / "evidence" / "a" / event
        assert {name: archive.read(name) for name in archive.namelist()} == {
            f"{event}/{p.name}": p.read_bytes() for p in own.iterdir()
        }
    assert streamad("events", "export", path, event, "--out", target, cwd=tmp_path).code == 1, "nothing is overwritten"
    assert streamad("events", "show", path, "0" * 26, cwd=tmp_path).code == 2
