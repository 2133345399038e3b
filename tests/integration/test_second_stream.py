"""Clips of a camera's main stream, in HEVC, while its substream is watched: real streams, real decoders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from bundle_support import moving_shapes
from cli_support import write_config
from clip_support import decoded
from openapi_support import fits
from rtsp_support import RtspServer, require_rtsp_server
from run_support import Running, running

pytestmark = [pytest.mark.timeout(240), pytest.mark.rtsp]

FPS = 15
PRE, POST = 2.0, 2.0
BUSY = ((120, 150), (300, 330))
"""Frames of the two events: 8 to 10 s and 20 to 22 s."""


def write(path: Path, codec: str, scale: int) -> Path:
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "x265-params": "keyint=15:log-level=none"}
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", FPS
        stream.width, stream.height = 160 * scale, 120 * scale
        for gray in moving_shapes(420, busy=BUSY):
            color = np.kron(np.stack([gray] * 3, axis=-1), np.ones((scale, scale, 1), np.uint8))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(color, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def sub_and_main(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A substream of 160×120 in H.264, and the main stream of 640×480 in HEVC, of the same scene."""
    folder = tmp_path_factory.mktemp("streams")
    return write(folder / "sub.mp4", "libx264", 1), write(folder / "main.mp4", "libx265", 4)


def site(folder: Path, bundle: Path, sub: str, main: str) -> Path:
    config = write_config(
        folder / "site.yaml",
        bundle,
        {"type": "rtsp", "url": sub, "read_timeout_seconds": 2},
        rules={"min_duration_seconds": 0.2, "cooldown_seconds": 0},
        evidence={"pre_roll_seconds": PRE, "post_roll_seconds": POST, "min_free_gigabytes": 0},
        reconnect={"initial_seconds": 0.2, "max_seconds": 0.5},
        web={"port": 0},
    )
    text = config.read_text().replace(
        "- id: a\n", f"- id: a\n  evidence_source: {{type: rtsp, url: '{main}', read_timeout_seconds: 2}}\n"
    )
    config.write_text(text)
    return config


def completed(run: Running, folder: Path, number: int) -> list[Path]:
    """Folders of events whose evidence is complete, in order, once there are that many."""

    def found() -> list[Path]:
        records = sorted(folder.glob("runs/evidence/a/*/event.json"))
        done = [path.parent for path in records if json.loads(path.read_text())["is_complete"]]
        return done if len(done) >= number else []

    result = run.eventually(found, seconds=90)
    assert isinstance(result, list)
    return result


def movement(pictures: list[av.VideoFrame]) -> list[int]:
    """Numbers of the pictures that differ from the one before."""
    gray = [picture.to_ndarray(format="gray").astype(int) for picture in pictures]
    return [k for k in range(1, len(gray)) if np.abs(gray[k] - gray[k - 1]).mean() > 0.5]


def record_of(folder: Path) -> dict[str, Any]:
    document = json.loads((folder / "event.json").read_text())
    assert isinstance(document, dict)
    return document


def test_clips_show_the_main_stream_around_the_event(
    small_bundle: Path, sub_and_main: tuple[Path, Path], tmp_path: Path
) -> None:
    require_rtsp_server()
    sub, main = sub_and_main
    with RtspServer({"sub": sub, "main": main}) as server:
        config = site(tmp_path, small_bundle, server.url("sub"), server.url("main"))
        with running(config) as run:
            folder = completed(run, tmp_path, 1)[0]
            assert run.camera("a")["state"] == "up"
            assert run.end() == 0
    assert record_of(folder)["clips"] == [{"file": "clip.mp4", "reason": None}]
    with av.open(str(folder / "clip.mp4")) as clip:
        stream = clip.streams.video[0]
        assert (stream.width, stream.height, stream.codec_context.name) == (640, 480, "hevc")
    pictures = decoded(folder / "clip.mp4")
    moving = movement(pictures)
    event = record_of(folder)["event"]
    seconds = event["ended_pts_seconds"] - event["started_pts_seconds"]
    # Both streams show the event: a key frame a second, and connections that begin within a second of each other.
    assert PRE - 1.0 <= moving[0] / FPS <= PRE + 2.5
    assert (moving[-1] - moving[0]) / FPS == pytest.approx(seconds, abs=1.5)
    assert (len(pictures) - moving[-1]) / FPS >= POST - 1.5


def test_without_the_main_stream_clips_are_of_the_one_that_is_watched(
    small_bundle: Path, sub_and_main: tuple[Path, Path], tmp_path: Path
) -> None:
    require_rtsp_server()
    sub, main = sub_and_main
    with RtspServer({"sub": sub}) as server, RtspServer({"main": main}) as other:
        config = site(tmp_path, small_bundle, server.url("sub"), other.url("main"))
        with running(config) as run:
            run.eventually(lambda: "a (evidence): up" in run.text)
            run.eventually(lambda: run.metric("streamad_evidence_source_up", camera="a") == 1)
            assert run.camera("a")["evidence_source"] == {
                "state": "up", "reason": None, "message": None, "down_seconds": None,
            }  # fmt: skip
            other.kill()
            folder = completed(run, tmp_path, 1)[0]
            camera = run.camera("a")
            second = camera["evidence_source"]
            assert camera["state"] == "up"
            assert second["state"] in ("starting", "backoff")
            assert second["message"]
            assert second["down_seconds"] > 0.5
            assert run.metric("streamad_evidence_source_up", camera="a") == 0
            fits(run.get("/api/v1/openapi.json"), "/status", httpx.get(run.url + "/status", timeout=10))
            other.start()
            run.eventually(lambda: run.text.count("a (evidence): up") == 2)
            run.eventually(lambda: run.metric("streamad_evidence_source_up", camera="a") == 1)
            assert run.end() == 0
    (clip,) = record_of(folder)["clips"]
    assert clip == {"file": "clip.mp4", "reason": None}
    pictures = decoded(folder / "clip.mp4")
    assert (pictures[0].width, pictures[0].height) == (160, 120)
    assert movement(pictures)


def test_a_main_stream_that_dies_during_an_event_costs_neither_its_clip_nor_scores(
    small_bundle: Path, sub_and_main: tuple[Path, Path], tmp_path: Path
) -> None:
    require_rtsp_server()
    sub, main = sub_and_main
    with RtspServer({"sub": sub}) as server, RtspServer({"main": main}) as other:
        config = site(tmp_path, small_bundle, server.url("sub"), other.url("main"))
        with running(config) as run:
            run.eventually(lambda: "a (evidence): up" in run.text)
            run.eventually(lambda: list(tmp_path.glob("runs/evidence/a/*/clip.mp4.part")))
            other.freeze()
            folder = completed(run, tmp_path, 1)[0]
            assert run.metric("streamad_camera_faults_total", camera="a") == 0
            other.kill()
            assert run.end() == 0
    assert decoded(folder / "clip.mp4")
    assert record_of(folder)["event"]["state"] == "closed"
