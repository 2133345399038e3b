"""A running `streamad run` under faults, observed through its own HTTP endpoints."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from bundle_support import THRESHOLD, moving_shapes, write_mp4
from rtsp_support import RtspServer, require_rtsp_server
from run_support import alive, children, running

pytestmark = [pytest.mark.timeout(180), pytest.mark.alone]

PASSWORD = "wr0ng-pass"


@pytest.fixture(scope="module")
def busy_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 40 s at 15 frames per second in which something always moves."""
    path = tmp_path_factory.mktemp("faults") / "busy.mp4"
    return write_mp4(path, moving_shapes(600, shapes=3), fps=15)


def config(folder: Path, bundle: Path, sources: dict[str, dict[str, Any]]) -> Path:
    document = {
        "model": str(bundle),
        "cameras": [{"id": name, "source": source, "threshold": THRESHOLD} for name, source in sources.items()],
        "rules": {"min_duration_seconds": 0.3, "cooldown_seconds": 0},
        "engine": {"threads": 1},
        "reconnect": {"initial_seconds": 0.2, "max_seconds": 0.5},
        "events": {"path": str(folder / "events.sqlite")},
        "web": {"port": 0},
    }
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.rtsp
def test_wrong_password_and_a_server_that_dies(small_bundle: Path, busy_video: Path, tmp_path: Path) -> None:
    require_rtsp_server()
    with (
        RtspServer({"cam": busy_video}, user="admin", password="right") as guarded,
        RtspServer({"cam": busy_video}) as dying,
        RtspServer({"cam": busy_video}) as steady,
    ):
        locked = guarded.url("cam", credentials=False).replace("rtsp://", f"rtsp://admin:{PASSWORD}@")
        sources = {
            "locked": {"type": "rtsp", "url": locked},
            "dying": {"type": "rtsp", "url": dying.url("cam")},
            "steady": {"type": "rtsp", "url": steady.url("cam")},
        }
        with running(config(tmp_path, small_bundle, sources)) as run:
            # A wrong password has its typed reason, while the other cameras are monitored.
            run.eventually(lambda: run.camera("locked")["reason"] == "auth")
            run.eventually(lambda: run.camera("dying")["alert"] == run.camera("steady")["alert"] == "warning")
            assert run.camera("locked")["state"] in ("backoff", "starting")
            assert run.camera("locked")["frames"] == 0
            assert run.metric("streamad_camera_up", camera="locked") == 0
            run.eventually(lambda: run.metric("streamad_camera_up", camera="steady") == 1)
            assert run.get("/healthz")["ok"]
            assert run.get("/readyz")["ok"]
            # On a slow machine an alert may have ended already (frames dropped under load), so use the newest.
            run.eventually(lambda: run.events("dying")[0]["state"] == "open")
            opened, *earlier = run.events("dying")
            before = run.metric("streamad_alerts_total", camera="dying")
            assert before == 1 + len(earlier)
            assert run.metric("streamad_gaps_total", camera="dying") == 0

            # The server dies in the middle of an alert and comes back; the camera restarts after the gap.
            dying.kill()
            run.eventually(lambda: run.camera("dying")["state"] in ("backoff", "starting"))
            run.eventually(lambda: run.metric("streamad_camera_up", camera="dying") == 0)
            assert run.get("/healthz")["ok"]
            skipped = run.metric("streamad_scores_withheld_total", camera="dying", reason="warming_up")
            dying.start()
            run.eventually(lambda: run.camera("dying")["state"] == "up")
            run.eventually(lambda: run.metric("streamad_alerts_total", camera="dying") > before)
            newest, *others = run.events("dying")
            (first,) = [event for event in others if event["id"] == opened["id"]]
            assert (first["state"], first["reason"]) == ("closed", "gap")
            assert first["ended_at"] is not None
            assert newest["started_pts_seconds"] > first["ended_pts_seconds"]
            assert run.metric("streamad_gaps_total", camera="dying") == 1
            assert run.metric("streamad_reconnects_total", camera="dying") >= 1
            # The patch history restarts: four frames have none. The background is kept.
            again = run.metric("streamad_scores_withheld_total", camera="dying", reason="warming_up")
            assert again - skipped == 4

            # The steady camera is not affected.
            assert run.metric("streamad_gaps_total", camera="steady") == 0
            assert run.metric("streamad_reconnects_total", camera="steady") == 0
            assert "gap" not in [event["reason"] for event in run.events("steady")]
            everything = run.text + httpx.get(run.url + "/status").text + httpx.get(run.url + "/metrics").text
            assert PASSWORD not in everything
            assert httpx.get(run.url + "/api/v1/cameras/steady/preview.jpg").content.startswith(b"\xff\xd8")

            # SIGTERM: open alerts are closed, decoders stopped, no traceback.
            assert run.end(signal.SIGTERM) == 0
            assert "Traceback" not in run.text
    with running(config(tmp_path, small_bundle, {"none": sources["locked"]})) as later:
        assert "left open" not in later.text
        states = {event["state"] for camera in ("dying", "steady") for event in later.events(camera)}
        assert states == {"closed"}


@pytest.mark.slow
def test_sigkill_during_an_alert_leaves_an_interrupted_event(
    small_bundle: Path, busy_video: Path, tmp_path: Path
) -> None:
    replay = {"type": "file", "path": str(busy_video), "realtime": True, "loop": True}
    path = config(tmp_path, small_bundle, {"a": replay})
    with running(path) as run:
        run.eventually(lambda: run.camera("a")["alert"] == "warning")
        (opened,) = run.events("a")
        assert opened["state"] == "open"
        decoders = children(run.process.pid)
        assert decoders
        assert run.end(signal.SIGKILL) == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in decoders) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in decoders if alive(pid)]  # no decoder outlives its monitor

    with running(path) as run:
        assert "1 event left open" in run.text
        found = [event for event in run.events("a") if event["id"] == opened["id"]]
        assert [(e["state"], e["reason"]) for e in found] == [("interrupted", "process_died")]
        run.eventually(lambda: run.camera("a")["alert"] == "warning")  # and monitoring continues
        assert run.end(signal.SIGINT) == 0
        assert "Traceback" not in run.text
