"""The page in a real browser, from a real server: what an operator sees and does, with hostile names and faults."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import cv2
import httpx
import numpy as np
import pytest
from browser_support import DESKTOP, OTHER_HOST, PHONE, accessibility_issues, chromium, opened
from clip_support import write_color_video
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect
from unit.alerts.alert_events import make_event

from streamad.accounts import Role, User, changed_accounts, hash_password
from streamad.alerts import EventStore, new_event_id, read_marks
from streamad.alerts.audit import read_audit
from streamad.alerts.sinks import Subscriptions
from streamad.errors import OutputError
from streamad.observability import Health, Metrics
from streamad.observability.timeline import ScoreTimeline
from streamad.web import Logins, WebServer, WebSpec, create_app

HOSTILE = "<img src=x onerror=document.title='owned'>"
PASSWORD = "correct horse battery"
HASH = hash_password(PASSWORD)
DAY = datetime(2026, 3, 1, tzinfo=UTC)


def camera(name: str, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": name,
        "state": "up",
        "reason": None,
        "message": None,
        "fps": 24.97,
        "frames": 1000,
        "dropped": 12345,
        "reconnects": 0,
        "score": 1.2,
        "threshold": 2.0,
        "alert": "none",
        "latency_seconds": 0.112,
        "last_frame_at": time.time() - 90,
        "last_frame_seconds": 90.0,
        "budget": "first day: at most 1 false alert an hour; 1 a day after 7.67 hours more",
        "recurrence": {"seconds": 1.0, "at_most": True, "not_seen": False, "text": "every second"},
        "foreign": None,
        "quality": None,
        "recent": [(i / 25, 1.2 if i % 7 else None) for i in range(100)],
        "size": (320, 240),
        "drift": {"ratio": 1.0, "drifted": False, "message": None},
        "learning": "2 hours learned; more after the next hour",
    }
    return values | changes


def status(*cameras: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": "0.2.0",
        "started_at": time.time() - 7300,
        "uptime_seconds": 7300.0,
        "overloaded": False,
        "engine": {"name": "openvino", "device": "CPU", "precision": "fp32", "why": "no GPU"},
        "models": [{"name": "ped2", "sha256": "ab", "detector": "motion"}],
        "cameras": list(cameras),
        "events": {"total": 5, "path": "events.sqlite", "error": None},
        "outputs": [],
    }


def picture(text: str = "") -> bytes:
    pixels = np.full((240, 320, 3), (90, 120, 60), np.uint8)
    cv2.putText(pixels, text, (10, 120), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


class Site:
    """A running server with four cameras, five events of two days, and an operator and a viewer who can log in."""

    def __init__(self, folder: Path, *, push: Subscriptions | None = None, **settings: Any) -> None:
        self.document = status(
            camera("gate"),
            camera(HOSTILE, alert="warning", score=4.2),
            camera("yard", state="backoff", reason="auth", message="refused the password", recent=[], score=None),
            camera("old", state="ended", score=None),
        )
        self.error: Exception | None = None
        self.store = EventStore(folder / "events.sqlite")
        self.evidence = folder / "evidence"
        self.events = []
        clip = write_color_video(folder / "clip.mp4", frames=30)
        for number, (name, hours) in enumerate([("gate", 3), ("gate", 3.1), ("dock", 4), (HOSTILE, 27), ("gate", 28)]):
            at = DAY + timedelta(hours=hours)
            event = replace(
                make_event(camera=name, state="closed"), id=new_event_id(at), started_at=at, box=(10, 180, 60, 230),
                explanation="speed 3.2× the usual here", severity="critical" if number == 2 else "warning",
            )  # fmt: skip
            self.events.append(event)
            self.store.save(event)
            if name == "gate":
                place = self.evidence / name / event.id
                place.mkdir(parents=True)
                (place / "snapshot.jpg").write_bytes(picture("snapshot"))
                (place / "clip.mp4").write_bytes(clip.read_bytes())
                (place / "trace.csv").write_text(
                    "index,pts_seconds,score,threshold,skipped\n1,0.0,5,10,\n2,0.04,,10,quality:dark\n3,0.08,12.5,10,\n"
                )
        self.timeline = ScoreTimeline()
        self.timeline.add("gate", 1.0, 2.0)
        users = folder / "users.json"
        with changed_accounts(users) as states:
            for name, role in (("vera", Role.VIEWER), ("otto", Role.OPERATOR), ("anna", Role.ADMIN)):
                states.append(states[-1].with_user(User(name=name, role=role, password=HASH)))
        spec = WebSpec(port=0, users=users, **{"allowed_hosts": (OTHER_HOST,), **settings})
        self.app = create_app(
            metrics=Metrics(), health=Health(), status=self._status, store=self.store, preview=self._preview,
            evidence=self.evidence, timeline=self.timeline, logins=Logins(spec, events=self.store.path),
            push=push,
        )  # fmt: skip
        self.server = WebServer(self.app, spec)
        self.server.start()
        self.url = self.server.url

    def _status(self) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        return self.document

    def _preview(self, camera: str, *, has_map: bool = False) -> bytes | None:
        return picture("map" if has_map else camera[:8]) if camera != "yard" else None

    def close(self) -> None:
        self.server.stop()
        self.store.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    opened = Site(tmp_path)
    yield opened
    opened.close()


def log_in(page: Page, name: str) -> None:
    page.get_by_role("button", name="Log in").click()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("dialog").get_by_role("button", name="Log in").click()
    expect(page.get_by_role("button", name=f"Account of {name}")).to_be_visible()


def test_the_wall_says_in_words_how_every_camera_is(site: Site, browser: Browser) -> None:
    with opened(browser, site.url) as page:
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Something unusual: {HOSTILE}")
        expect(page).to_have_title(f"⚠ Something unusual: {HOSTILE} · streamad")
        for name, words in (("gate", "Watching"), (HOSTILE, "Unusual now"), ("yard", "No picture"), ("old", "Ended")):
            expect(page.get_by_role("article", name=f"Camera {name}").locator(".state")).to_have_text(words)
        yard = page.get_by_role("article", name="Camera yard")
        expect(yard).to_contain_text("refused the password. Trying again by itself.")
        gate = page.get_by_role("article", name="Camera gate")
        expect(gate.get_by_role("img", name="Live picture of gate")).to_be_visible()
        gate.get_by_text("More about gate").click()
        expect(gate).to_contain_text("2 hours learned; more after the next hour.")
        expect(gate).to_contain_text("First day: at most 1 false alert an hour")
        # What the server says next is shown without a new request by anybody.
        site.document = status(camera("gate", state="overloaded"))
        expect(page.get_by_role("heading", level=1)).to_have_text("gate: not keeping up")
        expect(page.locator(".tile")).to_have_count(1)


WATCHED = [
    ({}, "All is well: gate is watching", "ok"),
    ({"state": "overloaded"}, "gate: not keeping up", "warn"),
    ({"foreign": "calibrated on UCSD Ped2"}, "gate: watching with doubt", "warn"),
    ({"excess": "12 alerts in the last hour"}, "gate: more alerts than expected", "warn"),
    ({"quality": "dark"}, "Look at gate: picture faulty", "bad"),
    ({"recent": [(0.0, None)], "score": None}, "Nothing is being watched: warming up", "idle"),
    ({"state": "starting", "score": None}, "Nothing is being watched: connecting", "idle"),
    ({"state": "stale"}, "Look at gate: no picture", "bad"),
    ({"state": "failed", "message": "frames cannot be scored"}, "Look at gate: given up", "bad"),
    ({"state": "ended"}, "Nothing is being watched: ended", "idle"),
    ({"state": "stopped"}, "Nothing is being watched: stopped", "idle"),
    ({"is_active": False, "schedule": "not active until 06:00"}, "Nothing is being watched: off duty", "idle"),
]


def test_all_is_well_is_said_of_watched_cameras_alone(site: Site, browser: Browser) -> None:
    with opened(browser, site.url) as page:
        for changes, words, kind in WATCHED:
            site.document = status(camera("gate", **changes))
            expect(page.get_by_role("heading", level=1)).to_have_text(words)
            assert page.locator("#wall-title").get_attribute("data-kind") == kind


def test_events_are_grouped_filtered_and_marked(site: Site, browser: Browser) -> None:
    newest, first = site.events[-1], site.events[0]
    with opened(browser, site.url) as page:
        expect(page.get_by_label("5 events not reviewed")).to_be_visible()
        log_in(page, "otto")
        page.get_by_role("link", name="Review").click()
        cards = page.get_by_role("article")
        expect(cards).to_have_count(5)
        assert page.locator("#review h3").all_text_contents() == ["05:00", "04:00", "05:00", "04:00"]  # Europe/Berlin
        expect(cards.first).to_contain_text("05:00:00 gate")
        expect(cards.first).to_contain_text("Speed 3.2× the usual here")
        expect(cards.first).to_contain_text("at the bottom left of the picture")
        expect(cards.first).to_contain_text("clearly above the threshold")
        page.keyboard.press("j")
        expect(cards.first).to_be_focused()
        expect(cards.first.locator("video")).to_have_js_property("paused", False)
        page.keyboard.press(" ")
        expect(cards.first.locator("video")).to_have_count(0)
        page.keyboard.press("f")
        expect(cards.first.get_by_role("button", name="False alarm")).to_have_attribute("aria-pressed", "true")
        page.keyboard.press("u")
        expect(cards.first.get_by_role("button", name="False alarm")).to_have_attribute("aria-pressed", "false")
        page.keyboard.press("j")
        page.keyboard.press("r")
        expect(cards.nth(1).get_by_role("button", name="Reviewed")).to_have_attribute("aria-pressed", "true")
        expect(page.get_by_label("4 events not reviewed")).to_be_visible()
        page.locator(".filters [name=mark]").select_option("Not yet")
        expect(cards).to_have_count(4)
        page.locator(".filters [name=camera]").select_option("gate")
        expect(cards).to_have_count(3)
        page.locator(".filters [name=day]").fill("2026-03-01")
        expect(cards).to_have_count(2)
        page.locator(".filters [name=severity]").select_option("Critical")
        expect(page.get_by_text("No event fits this filter.")).to_be_visible()
        page.go_back()
        expect(cards).to_have_count(2)
        page.locator("#review-title").click()
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.get_by_label("Note").fill("a branch in the wind")
        page.get_by_role("dialog").get_by_role("button", name="False alarm").click()
        expect(page.get_by_role("dialog")).to_contain_text("False alarm by otto")
        expect(page.get_by_role("dialog")).to_contain_text("a branch in the wind")
        expect(page.get_by_role("img", name="Score during the clip")).to_be_visible()
    verdicts = [(mark.verdict, mark.by) for mark in read_marks(site.store.path, newest.id)]
    assert verdicts == [("false_alarm", "otto"), ("none", "otto")]
    assert [mark.note for mark in read_marks(site.store.path, site.events[1].id)] == ["a branch in the wind"]
    assert not read_marks(site.store.path, first.id)
    assert {entry.who for entry in read_audit(site.store.path)[0]} == {"otto"}


def test_another_viewer_sees_marks_and_new_events_at_once(site: Site, browser: Browser) -> None:
    with (
        opened(browser, f"{site.url}/#/review") as seen,
        opened(browser, f"{site.url}/#/review") as page,
    ):
        log_in(page, "otto")
        expect(seen.get_by_role("article")).to_have_count(5)
        page.get_by_role("article").first.get_by_role("button", name="Reviewed").click()
        pressed = seen.get_by_role("article").first.get_by_role("button", name="Reviewed")
        expect(pressed).to_have_attribute("aria-pressed", "true")
        new = make_event(camera="gate")
        site.store.save(new)
        site.app.state.feed.publish("event", {"kind": "opened", "event": new.to_dict()})
        expect(seen.get_by_role("article")).to_have_count(6)


def test_who_may_not_mark_is_told_why(site: Site, browser: Browser) -> None:
    with opened(browser, f"{site.url}/#/review") as page:
        page.get_by_role("article").first.get_by_role("button", name="Reviewed").click()
        expect(page.get_by_text("To mark events, log in with the role operator.")).to_be_visible()
        log_in(page, "vera")
        page.get_by_role("article").first.get_by_role("button", name="Reviewed").click()
        expect(page.get_by_text("To mark events, log in with the role operator.")).to_be_visible()
    assert not read_marks(site.store.path, site.events[-1].id)


def test_a_click_before_the_server_said_who_is_logged_in_waits_for_it(site: Site, browser: Browser) -> None:
    with opened(browser, f"{site.url}/#/review") as page:
        held: list[Route] = []
        page.route("**/api/v1/me", lambda route: held.append(route))
        page.reload()
        page.get_by_role("article").first.get_by_role("button", name="Reviewed").click()
        page.wait_for_timeout(500)
        expect(page.get_by_text("Marking needs a login")).to_have_count(0)
        while held:
            held.pop().continue_()
        expect(page.get_by_text("To mark events, log in with the role operator.")).to_be_visible()


def test_a_list_that_is_read_again_keeps_what_somebody_does_with_it(site: Site, browser: Browser) -> None:
    with opened(browser, f"{site.url}/#/review") as page:
        cards = page.get_by_role("article")
        cards.first.get_by_role("button", name="Reviewed").click()
        cards.nth(3).focus()
        expect(page.get_by_text("To mark events, log in with the role operator.")).to_be_visible()
        page.evaluate(
            "document.querySelectorAll('#review article').forEach((node) => { node.dataset.was = node.dataset.id })"
        )
        missed = make_event(camera="gate")
        site.error = OutputError("gone")
        expect(page.get_by_role("alert").filter(has_text="No connection since")).to_be_visible(timeout=30_000)
        site.store.save(missed)
        site.error = None
        expect(cards).to_have_count(6, timeout=30_000)
        expect(page.locator("article[data-was]")).to_have_count(5)
        expect(cards.nth(4)).to_be_focused()
        expect(page.get_by_text("To mark events, log in with the role operator.")).to_be_visible()
        log_in(page, "otto")
        expect(page.get_by_text("To mark events, log in with the role operator.")).to_be_hidden()


def test_a_failing_server_is_said_plainly_and_recovered_from(site: Site, browser: Browser) -> None:
    with opened(browser, site.url) as page:
        expect(page.locator(".tile")).to_have_count(4)
        site.error = OutputError("gone")
        expect(page.get_by_role("alert").filter(has_text="No connection since")).to_be_visible(timeout=30_000)
        expect(page).to_have_title("✕ No connection · streamad")
        site.error = None
        expect(page.get_by_role("alert").filter(has_text="No connection since")).to_be_hidden(timeout=30_000)


def test_faults_of_outputs_are_shown(site: Site, browser: Browser) -> None:
    site.document["events"]["error"] = "database or disk is full"
    with opened(browser, site.url) as page:
        expect(page.get_by_role("alert").filter(has_text="kept in memory: database or disk is full")).to_be_visible()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_and_nothing_overflows(site: Site, browser: Browser, size: dict[str, Any]) -> None:
    with opened(browser, site.url, **size) as page:
        log_in(page, "anna")
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            for view in ("Wall", "Review", "Set up"):
                page.get_by_role("link", name=view, exact=view != "Review").click()
                page.wait_for_timeout(700)
                assert accessibility_issues(page) == [], (scheme, view)
                assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), view
            page.get_by_role("link", name="Review").click()
            page.get_by_role("button", name="Details of").first.click()
            expect(page.get_by_role("img", name="Score during the clip")).to_be_visible()
            assert accessibility_issues(page) == [], scheme
            page.keyboard.press("Escape")
            page.keyboard.press("?")
            assert accessibility_issues(page) == [], scheme
            page.keyboard.press("Escape")


def test_the_theme_can_be_switched_and_is_kept(site: Site, browser: Browser) -> None:
    with opened(browser, site.url, color_scheme="light") as page:
        page.get_by_role("button", name="Switch between dark and light").click()
        page.reload()
        assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"


def test_devices_without_svg_have_icons(site: Site) -> None:
    page = httpx.get(site.url).text
    manifest_at = urljoin(site.url, page.split('rel="manifest" href="')[1].split('"')[0])
    apple = page.split('rel="apple-touch-icon" href="')[1].split('"')[0]
    listed = {icon["src"]: (icon["sizes"], icon.get("purpose")) for icon in httpx.get(manifest_at).json()["icons"]}
    assert listed == {
        "icon.svg": ("any", None), "icon-192.png": ("192x192", None), "icon-512.png": ("512x512", None),
        "icon-maskable-512.png": ("512x512", "maskable"),
    }  # fmt: skip
    drawn, clear = (16, 22, 29, 255), (0, 0, 0, 0)
    corners = {"icon-192.png": clear, "icon-512.png": clear, "icon-maskable-512.png": drawn, apple: drawn}
    for name, corner in corners.items():
        answer = httpx.get(urljoin(manifest_at, name))
        assert answer.headers["content-type"] == "image/png"
        image = Image.open(io.BytesIO(answer.content)).convert("RGBA")
        wanted = 180 if name == apple else int(listed[name][0].split("x")[0])
        assert (image.size, image.getpixel((0, 0))) == ((wanted, wanted), corner), name


def test_the_first_paint_on_a_phone_is_reported(
    site: Site, browser: Browser, record_property: Callable[[str, object], None]
) -> None:
    """With a quarter of the processor and a mobile network, as in the phone profile of Lighthouse."""
    with opened(browser, site.url, **PHONE) as page:
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.send("Network.clearBrowserCache")
        session.send("Emulation.setCPUThrottlingRate", {"rate": 4})
        mobile = {"offline": False, "latency": 150, "downloadThroughput": 200_000, "uploadThroughput": 94_000}
        session.send("Network.emulateNetworkConditions", mobile)
        page.goto(site.url)
        page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
        milliseconds = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        bytes_ = page.evaluate("performance.getEntriesByType('resource').reduce((sum, e) => sum + e.transferSize, 0)")
        record_property("first_contentful_paint_ms", round(milliseconds))
        print(f"first contentful paint after {milliseconds:.0f} ms, {bytes_ / 1000:.0f} kB loaded")
        expect(page.locator(".tile .state").first).to_be_visible()


SECOND = {"state": "backoff", "reason": "unreachable", "message": "no route to the host", "down_seconds": 45.0}


def test_the_second_stream_is_told_of_and_is_a_doubt_once_it_is_down_for_long(site: Site, browser: Browser) -> None:
    site.document = status(camera("gate", evidence_source=SECOND))
    with opened(browser, site.url) as page:
        gate = page.get_by_role("article", name="Camera gate")
        expect(gate.locator(".state")).to_have_text("Watching")
        gate.get_by_text("More about gate").click()
        down = (
            "The second stream, which clips are kept of, has been down for {}: no route to the host. "
            "Until it is back, clips are of the stream that is watched."
        )
        expect(gate).to_contain_text(down.format("45 seconds"))
        site.document = status(camera("gate", evidence_source={**SECOND, "down_seconds": 1200.0}))
        expect(page.get_by_role("heading", level=1)).to_have_text("gate: watching with doubt")
        expect(gate.locator(".why")).to_have_text(down.format("20 minutes"))
        up = {"state": "up", "reason": None, "message": None, "down_seconds": None}
        site.document = status(camera("gate", evidence_source=up))
        expect(gate.locator(".state")).to_have_text("Watching")
        expect(gate).to_contain_text("Kept of the second stream, which is connected.")
        site.document = status(camera("gate", evidence_source=None))
        expect(gate.get_by_text("second stream")).to_have_count(0)


def addresses() -> list[str]:
    """Another loopback address, and one of this machine that is none, over which pages are no secure context."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            own = probe.getsockname()[0]
        except OSError:
            own = "127.0.0.1"
    return ["127.0.0.2"] if own.startswith("127.") else ["127.0.0.2", own]


@pytest.mark.parametrize("host", addresses())
def test_nothing_is_shown_before_a_login_from_another_address(host: str, tmp_path: Path, browser: Browser) -> None:
    site = Site(tmp_path, host=host, anonymous="nowhere")
    try:
        with opened(browser, f"{site.url}/#/review?camera=gate", **PHONE) as page:
            dialog = page.get_by_role("dialog", name="Log in")
            expect(dialog.get_by_label("Name")).to_be_focused()
            expect(page.locator("#cameras .tile")).to_have_count(0)
            expect(page.get_by_role("article")).to_have_count(0)
            page.wait_for_timeout(1500)  # in which a page that goes on asking would show what it was refused
            expect(page.get_by_role("alert").filter(visible=True)).to_have_count(0)
            assert accessibility_issues(page) == []

            page.keyboard.type("otto")
            page.keyboard.press("Tab")
            page.keyboard.type("wrong")
            page.keyboard.press("Enter")
            expect(dialog.get_by_role("alert")).to_have_text("Name or password is wrong.")
            expect(dialog.get_by_label("Password")).to_be_focused()
            page.keyboard.type(PASSWORD)
            page.keyboard.press("Enter")
            expect(dialog).to_have_count(0)
            expect(page.get_by_role("button", name="Account of otto")).to_be_visible()
            cards = page.get_by_role("article")
            expect(cards).to_have_count(3)  # the address is kept
            cards.first.get_by_role("button", name="Reviewed").click()
            expect(cards.first.get_by_role("button", name="Reviewed")).to_have_attribute("aria-pressed", "true")
            expect(page.get_by_label("4 events not reviewed")).to_be_visible()
            expect(cards.first.locator("img")).to_have_js_property("naturalWidth", 320)
            page.get_by_role("link", name="Wall").click()
            expect(
                page.get_by_role("article", name="Camera gate").get_by_role("img", name="Live picture")
            ).to_be_visible()
            page.get_by_role("link", name="Set up").click()
            expect(page.get_by_role("heading", name="What it knows")).to_be_visible()
            assert accessibility_issues(page) == []

            page.reload()  # the session is kept
            expect(page.get_by_role("heading", name="What it knows")).to_be_visible()
            page.get_by_role("button", name="Account of otto").click()
            page.get_by_role("button", name="Log out").click()
            expect(page.get_by_role("dialog", name="Log in")).to_be_visible()
            expect(page.get_by_role("heading", name="What it knows")).to_have_count(0)
    finally:
        site.close()


def test_a_login_that_ends_while_somebody_looks_is_asked_for_again(tmp_path: Path, browser: Browser) -> None:
    site = Site(tmp_path, host="127.0.0.2", anonymous="nowhere")
    try:
        with opened(browser, site.url) as page:
            fields = page.get_by_role("dialog", name="Log in")

            def enter(name: str) -> None:
                fields.get_by_label("Name").fill(name)
                fields.get_by_label("Password").fill(PASSWORD)
                fields.get_by_role("button", name="Log in").click()

            enter("vera")
            expect(page.locator(".tile")).to_have_count(4)
            with changed_accounts(tmp_path / "users.json") as states:
                left = tuple(user for user in states[-1].users if user.name != "vera")
                states.append(states[-1].model_copy(update={"users": left}))
            expect(fields).to_be_visible(timeout=30_000)
            expect(page).to_have_title("Log in · streamad")
            expect(page.locator("#wall-title")).to_have_text("Log in to see the cameras")
            expect(page.locator(".tile")).to_have_count(0)
            enter("otto")
            expect(page.locator(".tile")).to_have_count(4)
            expect(page.get_by_role("heading", level=1)).to_have_text(f"Something unusual: {HOSTILE}")
    finally:
        site.close()
