"""A real browser for tests of the page: Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

DESKTOP = {"viewport": {"width": 1280, "height": 860}}
OTHER_HOST = "watch.example"
"""A name for this machine that is not a loopback name, so that browsers trust it over HTTPS alone."""
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}

expect.set_options(timeout=20_000)  # of a busy machine


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; without one, the test is skipped."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    flags = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update",
             f"--host-resolver-rules=MAP {OTHER_HOST} 127.0.0.1"]  # fmt: skip
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, url: str, **context: Any) -> Iterator[Page]:
    """A page in a profile of its own. At its end, the test fails for errors of scripts and of the content policy, and
    for requests to anywhere else.
    """
    faults: list[str] = []
    origin = url.partition("/#")[0]
    place = browser.new_context(**{**DESKTOP, "locale": "en-GB", "timezone_id": "Europe/Berlin", **context})
    place.set_default_timeout(20_000)
    page = place.new_page()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda m: faults.append(m.text) if "Content Security Policy" in m.text else None)
    page.on("request", lambda r: faults.append(r.url) if not r.url.startswith((origin, "blob:", "data:")) else None)
    page.goto(url)
    yield page
    place.close()
    assert not faults, faults


def accessibility_issues(page: Page) -> list[str]:
    """What axe finds wrong with the page as it is now, by the rules of WCAG 2.2 AA and best practice."""
    found = Axe().run(page).response["violations"]
    return [f"{issue['id']}: {node['html'][:200]}" for issue in found for node in issue["nodes"]]
