"""A running `streamad run` takes up a changed configuration, with real streams, at a signal."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from bundle_support import THRESHOLD, moving_shapes, write_mp4
from rtsp_support import RtspServer, require_rtsp_server
from run_support import Running, alive, children, running

pytestmark = [pytest.mark.timeout(240), pytest.mark.alone, pytest.mark.rtsp]

SUCCESSFUL = "streamad_config_last_reload_successful"
RIGHT = {"name": "right", "polygon": [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]}
NOWHERE = {"name": "corner", "polygon": [[0, 0], [0.05, 0], [0.05, 0.05], [0, 0.05]]}


@pytest.fixture(scope="module")
def busy_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of two minutes at 10 frames per second in which something always moves."""
    path = tmp_path_factory.mktemp("reload") / "busy.mp4"
    return write_mp4(path, moving_shapes(1200, shapes=3), fps=10)


def write(path: Path, bundle: Path, cameras: list[dict[str, Any]], **more: Any) -> Path:
    document = {
        "model": str(bundle),
        "cameras": cameras,
        "rules": {"min_duration_seconds": 0.3, "cooldown_seconds": 0},
        "engine": {"threads": 1},
        "history": {"folder": str(path.parent / "scores")},
        "evidence": {"folder": str(path.parent / "evidence"), "post_roll_seconds": 1},
        "events": {"path": str(path.parent / "events.sqlite")},
        "web": {"port": 0},
        **more,
    }
    path.write_text(yaml.safe_dump(document))
    return path


def reload(run: Running, heard: str) -> None:
    """Send SIGHUP, and wait for a message that comes after it."""
    before = len(run.text)
    run.process.send_signal(signal.SIGHUP)
    run.eventually(lambda: heard in run.text[before:])


def value(run: Running, name: str) -> float:
    """Return the value of a metric without labels."""
    lines = httpx.get(run.url + "/metrics", timeout=10).text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def ids(run: Running) -> list[str]:
    return [camera["id"] for camera in run.get("/status")["cameras"]]


def test_only_what_changed_is_touched(small_bundle: Path, busy_video: Path, tmp_path: Path) -> None:
    require_rtsp_server()
    with RtspServer({"cam": busy_video}) as server:

        def camera(name: str, **more: Any) -> dict[str, Any]:
            return {"id": name, "source": {"type": "rtsp", "url": server.url("cam")}, "threshold": THRESHOLD, **more}

        path = write(tmp_path / "site.yaml", small_bundle, [camera("steady"), camera("other")])
        with running(path, arguments=["--scores", tmp_path / "tables"]) as run:
            run.eventually(lambda: run.camera("steady")["alert"] == run.camera("other")["alert"] == "warning")
            decoders = set(children(run.process.pid))
            opened = run.events("steady")[0]["id"]
            since = value(run, "streamad_config_last_reload_success_timestamp_seconds")

            # Zones of one camera: in place, without connecting again.
            other = run.events("other")[0]["id"]
            write(path, small_bundle, [camera("steady"), camera("other", zones=[NOWHERE])])
            reload(run, "configuration reloaded: changed other")
            run.eventually(lambda: run.camera("other")["alert"] == "none")
            (closed,) = [event for event in run.events("other") if event["id"] == other]
            assert (closed["state"], closed["reason"]) == ("closed", "reconfigured")
            assert set(children(run.process.pid)) == decoders
            assert run.camera("other")["reconnects"] == 0
            assert value(run, "streamad_config_last_reload_success_timestamp_seconds") >= since

            # A new camera, whose events name its zone.
            write(path, small_bundle, [camera("steady"), camera("other"), camera("third", zones=[RIGHT])])
            reload(run, "configuration reloaded: added third; changed other")
            assert ids(run) == ["steady", "other", "third"]
            run.eventually(lambda: run.events("third"))
            assert run.events("third")[0]["zone"] == "right"
            assert decoders < set(children(run.process.pid))

            # A camera that goes: its event closes, its decoder ends, its series are deleted.
            run.eventually(lambda: run.camera("other")["alert"] == "warning")
            write(path, small_bundle, [camera("steady"), camera("third", zones=[RIGHT])])
            reload(run, "configuration reloaded: removed other")
            run.eventually(lambda: sum(alive(pid) for pid in decoders) == 1)
            assert {event["state"] for event in run.events("other")} == {"closed"}
            run.eventually(lambda: 'camera="other"' not in _metrics(run))
            run.eventually(lambda: all(_record(tmp_path, event["id"])["is_complete"] for event in run.events("other")))

            # A file that is broken changes nothing, and says so.
            text = path.read_text()
            path.write_text(text.replace("polygon:", "polygn:"))
            reload(run, "polygn: unknown setting; did you mean `polygon`?")
            assert value(run, SUCCESSFUL) == 0
            path.write_text(text + "  - [")
            reload(run, "not valid YAML")
            path.write_text(text.replace(str(small_bundle), str(tmp_path / "none")))
            reload(run, "the watch goes on as before")
            assert ids(run) == ["steady", "third"]

            # What needs a restart is named.
            path.write_text(text.replace("port: 0", "port: 1"))
            reload(run, "configuration reloaded: at the next start: web.port")
            assert value(run, SUCCESSFUL) == 1

            # Through all of it, the camera that was never changed was never touched.
            assert sum(alive(pid) for pid in decoders) == 1
            steady = run.camera("steady")
            assert steady["reconnects"] == 0
            assert run.metric("streamad_gaps_total", camera="steady") == 0
            (still,) = [event for event in run.events("steady") if event["id"] == opened]
            assert still["state"] == "open"
            assert run.end() == 0
        with (tmp_path / "tables" / "steady.csv").open() as file:
            frames = [int(row["index"]) for row in csv.DictReader(file)]
        assert frames[-1] - frames[0] + 1 - len(frames) <= steady["dropped"]


def _metrics(run: Running) -> str:
    return httpx.get(run.url + "/metrics", timeout=10).text


def _record(folder: Path, event: str) -> dict[str, Any]:
    (path,) = (folder / "evidence").glob(f"*/{event}/event.json")
    document: dict[str, Any] = json.loads(path.read_text())
    return document
