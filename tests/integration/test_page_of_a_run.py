"""The page of a real `streamad run` in a real browser: an event as it happens, its mark, and setting up a camera."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from browser_support import accessibility_issues, chromium, opened
from bundle_support import moving_shapes
from cli_support import streamad, write_config
from playwright.sync_api import expect
from run_support import running

from streamad.alerts import read_marks

pytestmark = [pytest.mark.timeout(300), pytest.mark.alone]

FPS = 15
PASSWORD = "correct horse battery"


def color_video(path: Path) -> Path:
    """Twelve seconds in color, unusual from 4 to 7 s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "sc_threshold": "0"})
        stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", FPS
        stream.width, stream.height = 160, 120
        for gray in moving_shapes(180, busy=((60, 105),)):
            color = np.stack([gray, gray // 2, gray // 2], axis=-1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(color, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_an_operator_sees_marks_and_sets_up(small_bundle: Path, tmp_path: Path) -> None:
    source = {"type": "file", "path": str(color_video(tmp_path / "color.mp4")), "realtime": True, "loop": True}
    users = tmp_path / "users.json"
    config = write_config(
        tmp_path / "site.yaml", small_bundle, source, web={"port": 0, "users": str(users)},
        rules={"min_duration_seconds": 0.2, "cooldown_seconds": 0},
        evidence={"pre_roll_seconds": 1.0, "post_roll_seconds": 1.0, "min_free_gigabytes": 0},
    )  # fmt: skip
    (tmp_path / "password").write_text(PASSWORD)
    password = ("--password-file", tmp_path / "password")
    added = streamad("users", "add", config, "otto", "--role", "operator", *password, cwd=tmp_path)
    assert added.code == 0, added.err
    with chromium() as browser, running(config) as run, opened(browser, run.url) as page:
        gate = page.get_by_role("article", name="Camera a")
        is_red = """async (image) => {
            const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight), pen = canvas.getContext("2d");
            pen.drawImage(image, 0, 0);
            const data = pen.getImageData(0, 0, canvas.width, canvas.height).data;
            let red = 0, blue = 0;
            for (let i = 0; i < data.length; i += 4) { red += data[i]; blue += data[i + 2]; }
            return red > 1.3 * blue;
        }"""
        picture = gate.get_by_role("img", name="Live picture of a")
        expect(picture).to_be_visible(timeout=60_000)
        page.wait_for_function(f"() => ({is_red})(document.querySelector('.tile img'))", timeout=60_000)
        page.get_by_role("button", name="Log in").click()
        page.get_by_label("Name").fill("otto")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("dialog").get_by_role("button", name="Log in").click()
        expect(page.get_by_role("button", name="Account of otto")).to_be_visible()
        page.get_by_role("link", name="Review").click()
        card = page.get_by_role("article").last  # the first event; newer ones come before it
        expect(card).to_be_visible(timeout=90_000)
        play = card.get_by_role("button", name="Play the clip")
        expect(play).to_be_enabled(timeout=90_000)
        identity = card.get_attribute("data-id")
        assert identity is not None
        play.click()
        page.wait_for_function(
            "(id) => document.querySelector(`[data-id='${id}'] video`)?.currentTime > 0", arg=identity, timeout=60_000
        )
        card.get_by_role("button", name="False alarm").click()
        expect(card.get_by_role("button", name="False alarm")).to_have_attribute("aria-pressed", "true")
        page.get_by_role("link", name="Set up").click()
        page.get_by_role("button", name="Leave out an area").click()
        board = page.locator(".board")
        expect(board.locator("img")).to_be_visible()
        board.scroll_into_view_if_needed()
        frame = board.bounding_box()
        assert frame is not None
        for x, y in ((0.1, 0.1), (0.5, 0.1), (0.5, 0.5), (0.1, 0.1)):
            page.mouse.click(frame["x"] + x * frame["width"], frame["y"] + y * frame["height"])
        page.get_by_role("button", name="Corner 3 of zone-1", exact=True).press("ArrowDown")
        page.get_by_text("Corners as numbers").click()
        assert accessibility_issues(page) == []
        page.get_by_role("button", name="Save the zones").click()
        expect(page.get_by_role("button", name="Save the zones")).to_be_hidden(timeout=30_000)
        page.get_by_role("slider").press("ArrowRight")
        expect(page.get_by_text("of the last week's", exact=False)).to_be_visible()
        page.get_by_role("button", name="Use this sensitivity").click()
        expect(page.get_by_role("button", name="Use this sensitivity")).to_be_hidden(timeout=30_000)
        before = yaml.safe_load((tmp_path / "site.yaml").read_text())["cameras"][0]
        settings = run.get("/api/v1/cameras/a")
    (zone,) = before["zones"]
    assert (zone["name"], zone["type"]) == ("zone-1", "exclude")
    assert np.abs(np.array(zone["polygon"]) - [[0.1, 0.1], [0.5, 0.1], [0.5, 0.51]]).max() < 0.01
    assert settings["zones"][0]["polygon"] == zone["polygon"]
    assert settings["threshold"] == pytest.approx(before["threshold"])
    assert [(mark.verdict, mark.by) for mark in read_marks(tmp_path / "events.sqlite", identity)] == [
        ("false_alarm", "otto")
    ]
