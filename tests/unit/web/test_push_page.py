"""Notifications on the page, in a real browser: the switch's words, the service worker, and what a click opens.

Chromium gives a subscription only where it reaches Google's push service, which tests do not. So nothing here is
subscribed: the switch is seen in every state but "on", and messages are handed to the service worker by the browser's
own developer tools, as its "Push" button does. What the server sends is tested with a push service of our own, in
tests/unit/alerts/test_webpush_sink.py and tests/unit/web/test_push.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser_support import DESKTOP, OTHER_HOST, PHONE, accessibility_issues, chromium, opened
from playwright.sync_api import Browser, CDPSession, Locator, Page, expect
from unit.web.test_page import Site, log_in

from streamad.alerts.sinks import Subscriptions
from streamad.alerts.sinks.notification import of_event
from streamad.alerts.sinks.webpush import SERVICES, _message

pytest.importorskip("py_vapid", reason="needs py-vapid (the extra `webpush`)")

ALLOWED = {"permissions": ["notifications"]}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, push=Subscriptions(tmp_path / "push.json", SERVICES, tmp_path / "users.json"))
    yield made
    made.close()


def account(page: Page, name: str = "vera") -> Locator:
    """Log in and open the account; returns the switch."""
    log_in(page, name)
    page.get_by_role("button", name=f"Account of {name}").click()
    return page.get_by_role("switch", name="Tell this device about alerts")


# ── The switch ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_is_off_until_somebody_turns_it_on(site: Site, browser: Browser) -> None:
    with opened(browser, site.url, **ALLOWED) as page:
        switch = account(page)
        expect(switch).to_have_attribute("aria-checked", "false")
        expect(switch).to_have_accessible_description("Off: alerts are shown on this page alone.")
        registered = page.evaluate("navigator.serviceWorker.getRegistrations().then((all) => all.length)")
        assert registered == 0, "nothing is installed before"


def test_a_browser_without_its_push_service_says_so(site: Site, browser: Browser) -> None:
    with opened(browser, site.url, **ALLOWED) as page:
        switch = account(page)
        switch.click()
        expect(page.locator("#push-words")).to_have_text(
            "Not turned on: this browser does not reach its push service (private windows have none).", timeout=40_000
        )
        expect(switch).to_have_attribute("aria-checked", "false")
        expect(switch).to_be_enabled()


def test_blocked_by_the_browser(site: Site, browser: Browser) -> None:
    with opened(browser, site.url) as page:
        switch = account(page)
        switch.click()  # asked, a headless browser says no
        expect(switch).to_be_disabled()
        expect(page.locator("#push-words")).to_have_text(
            "Blocked by the browser: allow notifications for this page in its settings."
        )


def test_it_needs_https(site: Site, browser: Browser) -> None:
    with opened(browser, site.url.replace("127.0.0.1", OTHER_HOST)) as page:
        page.get_by_label("Name").fill("vera")
        page.get_by_label("Password").fill("correct horse battery")
        page.get_by_role("dialog").get_by_role("button", name="Log in").click()
        page.get_by_role("button", name="Account of vera").click()
        expect(page.get_by_role("switch")).to_be_disabled()
        expect(page.locator("#push-words")).to_have_text(
            "Not possible: it needs https. Open this page by an address that begins with https."
        )


@pytest.mark.parametrize(
    ("lacks", "words"),
    [
        ("delete window.PushManager", "Not possible: this browser does not support it."),
        (
            "delete window.PushManager; navigator.standalone = false",  # Safari on an iPhone
            "Not possible yet: add this page to the home screen first, and open it from there.",
        ),
    ],
)
def test_a_browser_that_lacks_it(site: Site, browser: Browser, lacks: str, words: str) -> None:
    with opened(browser, site.url, **ALLOWED) as page:
        page.add_init_script(lacks)
        page.reload()
        switch = account(page)
        expect(switch).to_be_disabled()
        expect(page.locator("#push-words")).to_have_text(words)


def test_a_server_that_notifies_no_browsers_shows_no_switch(tmp_path: Path, browser: Browser) -> None:
    plain = Site(tmp_path)
    try:
        with opened(browser, plain.url, **ALLOWED) as page:
            with page.expect_response("**/api/v1/push") as answer:
                switch = account(page)
            assert answer.value.status == 404
            expect(switch).to_be_hidden()
    finally:
        plain.close()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing(site: Site, browser: Browser, size: dict[str, Any]) -> None:
    with opened(browser, site.url, **size, **ALLOWED) as page:
        switch = account(page)
        expect(switch).to_be_visible()
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            for is_on in ("false", "true"):
                switch.evaluate("(node, on) => node.setAttribute('aria-checked', on)", is_on)
                assert accessibility_issues(page) == [], (scheme, is_on)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


# ── The service worker ─────────────────────────────────────────────────────────────────────────────────────────────


class Worker:
    """The page's service worker, and the browser's developer tools, which hand it messages."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.evaluate("navigator.serviceWorker.register('/static/current/worker.js', { scope: '/' })")
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        self._tools: CDPSession = page.context.new_cdp_session(page)
        found: list[dict[str, Any]] = []
        self._tools.on("ServiceWorker.workerRegistrationUpdated", lambda event: found.extend(event["registrations"]))
        self._tools.send("ServiceWorker.enable")
        while not found:
            page.wait_for_timeout(50)
        self.registration = found[0]

    def push(self, data: str) -> None:
        origin = "/".join(self.page.url.split("/")[:3])
        to = {"origin": origin, "registrationId": self.registration["registrationId"]}
        self._tools.send("ServiceWorker.deliverPushMessage", {**to, "data": data})

    def shown(self, count: int) -> list[dict[str, Any]]:
        """The notifications that the browser shows now, once they are `count`."""
        names = ["title", "body", "tag", "icon", "data", "timestamp"]
        read = """([names, count]) => navigator.serviceWorker.ready.then((r) => r.getNotifications()).then((all) =>
            all.length === count && all.map((one) => Object.fromEntries(names.map((name) => [name, one[name]]))))"""
        found = self.page.wait_for_function(read, arg=[names, count]).json_value()
        assert isinstance(found, list)
        return found

    def click(self, number: int = 0) -> None:
        """Click a notification; a headless browser has no window system that would."""
        (worker,) = self.page.context.service_workers
        worker.evaluate(
            """async (number) => {
                const notification = (await self.registration.getNotifications())[number];
                self.dispatchEvent(new NotificationEvent("notificationclick", { notification }));
            }""",
            number,
        )


def test_the_worker_is_allowed_for_the_whole_page_and_is_never_stale(site: Site) -> None:
    answer = httpx.get(site.url + "/static/current/worker.js")
    assert answer.headers["service-worker-allowed"] == "/"
    assert answer.headers["cache-control"] == "no-cache"
    assert "worker-src 'self'" in httpx.get(site.url).headers["content-security-policy"]
    again = httpx.get(answer.url, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    for cache in ("caches", "fetch", "importScripts"):
        assert cache not in answer.text


def test_it_shows_what_the_server_sends_and_a_change_replaces_it(site: Site, browser: Browser) -> None:
    event, other = site.events[0], site.events[1]
    with opened(browser, site.url, **ALLOWED) as page:
        worker = Worker(page)
        assert worker.registration["scopeURL"] == site.url + "/"
        for kind in ("opened", "closed"):
            worker.push(_message(of_event(event, kind, event.started_at, None)).decode())  # type: ignore[arg-type]
        worker.push(_message(of_event(other, "opened", other.started_at, None)).decode())
        ended, opened_ = sorted(worker.shown(2), key=lambda one: one["tag"] != event.id)
        assert ended["title"].startswith("gate: unusual movement ended at")
        assert ended["body"] == "speed 3.2× the usual here (peak 12.5, threshold 10)"
        assert ended["timestamp"] == event.started_at.timestamp() * 1000
        assert opened_["tag"] == other.id
        icon = httpx.get(opened_["icon"])
        assert (icon.status_code, icon.headers["content-type"]) == (200, "image/png")


def test_a_click_opens_the_event_in_the_review(site: Site, browser: Browser) -> None:
    event = site.events[0]
    with opened(browser, site.url, **ALLOWED) as page:
        worker = Worker(page)
        log_in(page, "vera")
        page.get_by_role("button", name="Account of vera").click()
        worker.push(_message(of_event(event, "opened", event.started_at, None)).decode())
        worker.shown(1)
        worker.click()
        dialog = page.get_by_role("dialog", name="Event of gate")
        expect(dialog).to_contain_text("Speed 3.2× the usual here")
        assert worker.shown(0) == []
        expect(page.get_by_role("dialog")).to_have_count(1)
        page.keyboard.press("Escape")
        expect(page.locator(f"[data-id='{event.id}']")).to_be_focused()
        assert page.url == f"{site.url}/#/review"
        page.go_back()
        page.go_forward()
        expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_device_whose_login_has_ended_asks_for_it_and_then_opens_the_event(site: Site, browser: Browser) -> None:
    address = f"{site.url.replace('127.0.0.1', OTHER_HOST)}/#/review?event={site.events[0].id}"
    with opened(browser, address) as page:
        page.get_by_label("Name").fill("vera")
        page.get_by_label("Password").fill("correct horse battery")
        page.get_by_role("dialog").get_by_role("button", name="Log in").click()
        expect(page.get_by_role("dialog", name="Event of gate")).to_be_visible()


def test_an_event_that_is_no_longer_kept_is_said(site: Site, browser: Browser) -> None:
    with opened(browser, f"{site.url}/#/review?event=01GONE") as page:
        expect(page.get_by_role("dialog")).to_contain_text("It is no longer kept, or not yet.")


def test_a_subscription_that_the_browser_ended_is_said(site: Site, browser: Browser) -> None:
    with opened(browser, site.url, **ALLOWED) as page:
        worker = Worker(page)
        (running,) = page.context.service_workers
        running.evaluate("self.dispatchEvent(new ExtendableEvent('pushsubscriptionchange'))")
        (shown,) = worker.shown(1)
        assert shown["title"] == "This device is no longer told about alerts"


def test_a_message_that_is_none_shows_nothing_and_breaks_nothing(site: Site, browser: Browser) -> None:
    event = site.events[0]
    with opened(browser, site.url, **ALLOWED) as page:
        worker = Worker(page)
        worker.push("not JSON")
        worker.push(json.dumps({"title": "x", "body": "y", "tag": event.id, "open": "#/wall"}))
        assert [one["title"] for one in worker.shown(1)] == ["x"]
