"""Who is told of what, and when: cameras, severities, quiet hours, the rate limit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError
from receiver_support import Clock
from unit.alerts.alert_events import make_event, make_health_event

from streamad.alerts import Event
from streamad.alerts.sinks.routing import QuietHours, Router, Routing

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def escalated(event: Event) -> Event:
    return replace(event, severity="critical", reason="escalated")


def closed(event: Event) -> Event:
    return replace(event, state="closed", ended_at=event.updated_at, ended_pts_seconds=2.0)


def life(router: Router, event: Event) -> list[str]:
    """Pass an event's opening, reopening, escalation and end; return the kinds that are sent."""
    changes: list[tuple[Event, Any]] = [
        (event, "opened"),
        (replace(event, reason="reopened"), "updated"),
        (escalated(event), "updated"),
        (closed(escalated(event)), "closed"),
    ]
    return [kind for change, kind in changes if router.route(change, kind) is not None]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["opened", "updated", "updated", "closed"]),
        ({"changes": "open_close"}, ["opened", "updated", "closed"]),
        ({"changes": "opened"}, ["opened", "updated"]),
        ({"severities": ["critical"]}, ["updated", "closed"]),
        ({"severities": ["critical"], "changes": "opened"}, ["updated"]),
        ({"cameras": ["gate", "yard"]}, ["opened", "updated", "updated", "closed"]),
        ({"cameras": ["yard"]}, []),
        ({"types": ["health"]}, []),
    ],
)
def test_cameras_severities_types_and_changes(settings: dict[str, Any], expected: list[str]) -> None:
    assert life(Router(Routing.model_validate(settings)), make_event()) == expected


def test_health_events_have_no_severity_and_are_told_unless_left_out() -> None:
    event = make_health_event()
    assert Router(Routing(severities=("critical",))).route(event, "opened") is not None
    assert Router(Routing(types=("anomaly",))).route(event, "opened") is None


def test_the_end_is_told_to_whom_the_start_was_told() -> None:
    router = Router(Routing())
    assert router.route(closed(make_event()), "closed") is None
    interrupted = replace(closed(make_event()), state="interrupted", reason="process_died")
    assert router.route(interrupted, "closed") is not None  # an earlier process may have told of its start


def hours(start: str = "22:00", end: str = "06:00", **more: Any) -> QuietHours:
    return QuietHours.model_validate({"start": start, "end": end, **more})


def covered(quiet: QuietHours, zone: str, *moments: str) -> list[bool]:
    return [quiet.covers(datetime.fromisoformat(moment), ZoneInfo(zone)) for moment in moments]


def test_quiet_hours_go_across_midnight() -> None:
    moments = [
        "2026-03-02T21:59:59Z",
        "2026-03-02T22:00Z",
        "2026-03-03T00:30Z",
        "2026-03-03T05:59:59Z",
        "2026-03-03T06:00Z",
    ]
    assert covered(hours(), "UTC", *moments) == [False, True, True, True, False]
    assert covered(hours("12:00", "13:00"), "UTC", "2026-03-02T12:30Z", "2026-03-02T13:00Z") == [True, False]


def test_quiet_hours_follow_the_local_clock_when_it_is_set_forward_or_back() -> None:
    # Berlin, 29 March 2026: 01:00 UTC is 02:00 CET = 03:00 CEST. 06:00 local is 05:00 UTC before, 04:00 UTC after.
    spring = [
        "2026-03-28T04:59:59Z",
        "2026-03-28T05:00Z",
        "2026-03-29T01:30Z",
        "2026-03-29T03:59:59Z",
        "2026-03-29T04:00Z",
    ]
    assert covered(hours(), "Europe/Berlin", *spring) == [True, False, True, True, False]
    # 25 October 2026: 01:00 UTC is 03:00 CEST = 02:00 CET. 02:30 is at 00:30 UTC and again at 01:30 UTC.
    autumn = ["2026-10-25T00:29:59Z", "2026-10-25T00:30Z", "2026-10-25T01:15Z", "2026-10-25T05:00Z"]
    assert covered(hours(end="02:30"), "Europe/Berlin", *autumn) == [True, False, False, False]
    assert covered(hours(), "Europe/Berlin", *autumn) == [True, True, True, False]


def test_quiet_hours_begin_on_their_days() -> None:
    weekend = hours("00:00", "00:00", days=["sat", "sun"])  # 2026-03-07 is a Saturday
    moments = ["2026-03-06T23:59Z", "2026-03-07T00:00Z", "2026-03-08T23:59Z", "2026-03-09T00:00Z"]
    assert covered(weekend, "UTC", *moments) == [False, True, True, False]
    friday_night = hours(days=["fri"])
    assert covered(friday_night, "UTC", "2026-03-07T05:00Z", "2026-03-07T23:00Z") == [True, False]


def test_in_quiet_hours_only_critical_alerts_are_sent_and_a_summary_follows() -> None:
    clock, suppressed = Clock(datetime(2026, 3, 2, 23, 0, tzinfo=UTC)), list[str]()
    router = Router(
        Routing(quiet_hours=(hours(),), time_zone="UTC"),
        on_suppressed=suppressed.append,
        clock=clock,
        wall_clock=clock.wall,
    )
    first = replace(make_event(), started_at=clock.wall())
    assert life(router, first) == ["updated", "closed"]  # it becomes critical
    second, third = make_event(1, "yard"), make_health_event(2)
    assert router.route(second, "opened") is None
    assert router.route(third, "opened") is None
    assert router.route(replace(second, reason="reopened"), "updated") is None
    assert router.summary() is None
    clock.seconds = 7 * 3600 - 1
    assert router.summary() is None
    clock.seconds = 7 * 3600
    found = router.summary()
    assert found is not None
    assert found.text == "and 3 more events since 23:00:00 (quiet hours) – gate: 2, yard: 1"
    assert router.summary() is None
    assert router.route(closed(second), "closed") is None
    assert suppressed == ["quiet hours"] * 3


def test_an_event_of_before_the_quiet_hours_is_followed_to_its_end() -> None:
    clock = Clock(datetime(2026, 3, 2, 21, 59, tzinfo=UTC))
    router = Router(Routing(quiet_hours=(hours(),), time_zone="UTC"), clock=clock, wall_clock=clock.wall)
    event = make_event()
    assert router.route(event, "opened") is not None
    clock.seconds = 120
    assert router.route(closed(event), "closed") is not None


def test_the_rate_limit_counts_events_and_a_summary_stands_for_the_rest() -> None:
    clock, suppressed = Clock(NOON), list[str]()
    limit = {"rate_limit": {"events": 2, "seconds": 60}, "time_zone": "UTC"}
    router = Router(Routing.model_validate(limit), on_suppressed=suppressed.append, clock=clock, wall_clock=clock.wall)
    events = [replace(make_event(n), started_at=clock.wall()) for n in range(14)]
    assert [router.route(event, "opened") is not None for event in events] == [True, True] + [False] * 12
    assert router.summary() is None
    assert router.route(closed(events[0]), "closed") is not None
    assert router.route(closed(events[5]), "closed") is None
    clock.seconds = 60
    found = router.summary()
    assert found is not None
    assert found.subject == "and 12 more events since 12:00:00 (rate limit)"
    # The summary counts as one.
    assert [router.route(make_event(n), "opened") is not None for n in (20, 21)] == [True, False]
    assert suppressed == ["rate limit"] * 13
    at_end = router.summary(at_end=True)
    assert at_end is not None
    assert "and 1 more event since" in at_end.subject


@pytest.mark.parametrize(
    "settings",
    [
        {"time_zone": "Mars/Olympus"},
        {"time_zone": "../../etc/passwd"},
        {"quiet_hours": [{"start": "25:00", "end": "06:00"}]},
        {"quiet_hours": [{"start": "22:00", "end": "06:00+02:00"}]},
        {"quiet_hours": [{"start": "22:00"}]},
        {"severities": []},
        {"rate_limit": {"events": 0}},
        {"camera": "gate"},
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Routing.model_validate(settings)


def test_times_may_be_written_without_quotes() -> None:
    import yaml

    quiet = QuietHours.model_validate(yaml.safe_load("{start: 22:30, end: 06:00}"))
    assert (quiet.start.isoformat(), quiet.end.isoformat()) == ("22:30:00", "06:00:00")
