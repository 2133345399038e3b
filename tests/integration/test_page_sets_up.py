"""Zones, hours and profiles set on the page of a real `streamad run`, and what is then in the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from browser_support import PHONE, accessibility_issues, chromium, opened
from bundle_support import moving_shapes, write_mp4
from cli_support import streamad
from playwright.sync_api import Browser, Page, expect
from run_support import Running, running

from streamad.bundle import load_bundle
from streamad.calibration import calibrate_bundle

pytestmark = [pytest.mark.timeout(300), pytest.mark.alone]

PASSWORD = "correct horse battery"
SITE = """\
model: {bundle}
web: {{port: 0, users: {folder}/users.json}}
evidence: {{enabled: false}}
events: {{path: {folder}/events.sqlite}}
history: {{folder: {folder}/scores, tighten: false}}
cameras:
  - id: gate           # the gate
    source: {{type: file, path: {folder}/busy.mp4, realtime: true, loop: true}}
    calibration: {folder}/day.json
    zones:
      # the way in
      - name: door
        polygon: [[0.2, 0.2], [0.8, 0.2], [0.8, 0.9], [0.2, 0.9]]    # measured
        min_size: 0.05
      - name: street
        type: exclude
        polygon: [[0, 0], [1, 0], [1, 0.1], [0, 0.1]]
    time_zone: Europe/Berlin   # as on the clock above the door
    active:
      # the office is empty
      - start: 18:00
        end: 07:00
    profiles:
      - name: night    # with the lamp
        hours:
          - {{start: 20:00, end: 06:00}}
        calibration: ${{CALIBRATIONS}}/night.json   # of last winter
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@contextmanager
def site(folder: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Running, Path]]:
    """A run of one camera with zones, hours and a profile, and an operator who can log in."""
    monkeypatch.setenv("CALIBRATIONS", str(folder))
    write_mp4(folder / "busy.mp4", moving_shapes(300, shapes=2), fps=10)
    scores = np.random.default_rng(1).uniform(-10, -6, 6000)
    for name in ("day", "night"):
        calibrate_bundle(load_bundle(bundle), [scores], fps=10, source=name).save(folder / f"{name}.json")
    config = folder / "site.yaml"
    config.write_text(SITE.format(bundle=bundle, folder=folder))
    (folder / "password").write_text(PASSWORD)
    arguments = ("users", "add", config, "otto", "--role", "operator", "--password-file", folder / "password")
    added = streamad(*arguments, cwd=folder)
    assert added.code == 0, added.err
    with running(config) as run:
        yield run, config


def log_in(page: Page) -> None:
    page.get_by_role("button", name="Log in").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("otto")
    dialog.get_by_label("Password").fill(PASSWORD)
    dialog.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("button", name="Account of otto")).to_be_visible()


def camera_of(config: Path) -> dict[str, Any]:
    camera = yaml.safe_load(config.read_text())["cameras"][0]
    assert isinstance(camera, dict)
    return camera


def save(page: Page, what: str) -> None:
    button = page.get_by_role("button", name=f"Save the {what}")
    button.click()
    expect(button).to_be_hidden(timeout=30_000)


def test_an_operator_sets_zones_hours_and_profiles(
    small_bundle: Path, tmp_path: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        site(tmp_path, small_bundle, monkeypatch) as (run, config),
        opened(browser, f"{run.url}/#/setup?camera=gate") as page,
    ):
        log_in(page)
        first = config.read_text()

        # A zone keeps its size when it is moved, and gets a duration; nothing else in the file changes.
        size = page.get_by_label("Smallest size, % of the picture")
        seconds = page.get_by_label("How long it must be unusual, seconds")
        expect(size).to_have_value("5")
        page.get_by_role("button", name="Corner 1 of door").press("ArrowRight")
        seconds.fill("2.5")
        seconds.press("Tab")
        expect(page.get_by_text("Corners as numbers")).to_be_focused()
        save(page, "zones")
        (door, street) = camera_of(config)["zones"]
        assert (door["min_size"], door["min_duration_seconds"], door["polygon"][0]) == (0.05, 2.5, [0.21, 0.2])
        assert street == yaml.safe_load(first)["cameras"][0]["zones"][1]
        changed = set(config.read_text().splitlines()) ^ set(first.splitlines())
        assert {line.split(":")[0].strip() for line in changed} == {"polygon", "min_duration_seconds"}

        # What is not valid is said beside its field, and changes nothing.
        before = config.read_text()
        size.fill("100")
        seconds.fill("900")
        page.get_by_role("button", name="Save the zones").click()
        expect(size).to_have_attribute("aria-invalid", "true", timeout=20_000)
        expect(size).to_be_focused()
        zones = page.get_by_role("region", name="Zones")
        expect(zones).to_contain_text("expected a share of the picture from 0 to less than 1 (100 %), got 1 (100 %)")
        expect(zones).to_contain_text("expected 0 to 600 seconds, got 900")
        assert accessibility_issues(page) == []
        assert config.read_text() == before
        page.get_by_role("button", name="Discard changes").click()
        expect(size).to_have_value("5")
        page.get_by_role("button", name="street").click()
        expect(size).to_be_hidden()
        page.get_by_label("What it does").select_option("Watch only here")
        size.fill("1.5")
        save(page, "zones")
        assert camera_of(config)["zones"][1]["min_size"] == 0.015

        # Hours: the days of the first, and more hours.
        hours = page.get_by_role("region", name="Hours")
        expect(hours).to_contain_text("Alerts are raised in these hours only.")
        expect(hours).to_contain_text("Calibration: ")
        expect(hours.get_by_label("Hours 1: from")).to_have_value("18:00")
        row = hours.get_by_role("group", name="Hours 1: days on which they begin")
        for day in ("Saturday", "Sunday"):
            row.get_by_role("button", name=day).press("Space")
        hours.get_by_role("button", name="Add hours").first.press("Enter")
        expect(hours.get_by_label("Hours 2: from")).to_be_focused()
        hours.get_by_label("Hours 2: from").fill("00:00")
        hours.get_by_label("Hours 2: to").fill("00:00")
        expect(hours).to_contain_text("24 hours, until the next day")
        others = hours.get_by_role("group", name="Hours 2: days on which they begin")
        for day in ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday"):
            others.get_by_role("button", name=day).click()
        hours.get_by_label("Hours of night 1: to").fill("05:30")
        save(page, "hours")
        camera = camera_of(config)
        assert camera["active"] == [
            {"start": "18:00", "end": "07:00", "days": ["mon", "tue", "wed", "thu", "fri"]},
            {"start": "00:00", "end": "00:00", "days": ["sat", "sun"]},
        ]
        night = {"name": "night", "hours": [{"start": "20:00", "end": "05:30"}]}
        assert camera["profiles"] == [{**night, "calibration": "${CALIBRATIONS}/night.json"}]
        comments = ["the gate", "the way in", "measured", "on the clock above the door", "with the lamp", "last winter"]
        assert all(comment in config.read_text() for comment in comments)
        settings = run.get("/api/v1/cameras/gate")
        assert [part["start"] for part in settings["active"]] == ["18:00", "00:00"]
        assert settings["profiles"][0]["hours"][0]["end"] == "05:30"
        facts = page.get_by_role("region", name="What it knows")
        expect(facts).to_contain_text(
            "Alerts are raised 18:00 to 07:00 from Monday to Friday and all day from 00:00 on Saturday and Sunday, by "
            "the clock of Europe/Berlin."
        )

        # No day, no time, no such zone: each beside its field.
        before = config.read_text()
        for day in ("Saturday", "Sunday"):
            others.get_by_role("button", name=day).click()
        hours.get_by_label("Hours 1: from").fill("")
        hours.get_by_label("Time zone of all hours").fill("Berlin")
        page.get_by_role("button", name="Save the hours").click()
        expect(hours).to_contain_text("choose at least one day of the week")
        expect(hours).to_contain_text("expected a time of day such as 22:00, got ''")
        expect(hours).to_contain_text("unknown time zone 'Berlin'; expected a name such as Europe/Berlin")
        assert accessibility_issues(page) == []
        assert config.read_text() == before
        page.get_by_role("button", name="Discard changes").click()
        expect(hours).not_to_contain_text("choose at least one day")

        # Without hours, it always raises alerts; the setting is gone from the file.
        for _ in range(2):
            hours.get_by_role("button", name="Remove hours 1").click()
        hours.get_by_label("Time zone of all hours").fill("")
        expect(hours).to_contain_text("by the clock of the machine that runs streamad")
        save(page, "hours")
        expect(hours).to_contain_text("Alerts are raised at every hour of every day.")
        assert {"active", "time_zone"}.isdisjoint(camera_of(config))
        trail = streamad("events", "audit", config, "--json", cwd=tmp_path).document()["entries"]
        assert [entry["action"] for entry in trail[:3]] == ["camera.settings", "camera.settings", "camera.zones"]
        assert trail[0]["detail"] == {"time_zone": None, "active": None}


def test_who_may_not_change_hours_sees_them_on_a_phone(
    small_bundle: Path, tmp_path: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        site(tmp_path, small_bundle, monkeypatch) as (run, config),
        opened(browser, f"{run.url}/#/setup?camera=gate", **PHONE) as page,
    ):
        hours = page.get_by_role("region", name="Hours")
        expect(hours).to_contain_text("Log in as an operator to change this.")
        expect(hours.get_by_label("Hours 1: from")).to_be_disabled()
        expect(hours.get_by_role("button", name="Add hours")).to_have_count(0)
        log_in(page)
        expect(hours.get_by_label("Hours 1: from")).to_be_enabled()
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            assert accessibility_issues(page) == [], scheme
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert config.read_text() == SITE.format(bundle=small_bundle, folder=tmp_path)
