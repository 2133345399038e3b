"""What a person reads, and the document that a program gets."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from unit.alerts.alert_events import make_event, make_health_event

from streamad.alerts.event import utc_text
from streamad.alerts.sinks.notification import Notification, notification_of_test, of_event, summary

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2026, 7, 1, 1, 12, 4, tzinfo=UTC)


def test_a_message_names_camera_time_and_reason() -> None:
    event = replace(
        make_event(), started_at=START, explanation="speed 3.2× the usual here", peak_score=5.1, threshold=3.4
    )
    assert of_event(event, "opened", START, BERLIN).text == (
        "gate: unusual movement since 03:12:04 – speed 3.2× the usual here (peak 5.1, threshold 3.4)"
    )
    at_the_door = of_event(replace(event, zone="door"), "opened", START, UTC)
    assert at_the_door.subject == "gate, door: unusual movement since 01:12:04"
    critical = of_event(replace(event, severity="critical", reason="escalated"), "updated", START, UTC)
    assert critical.subject == "gate: critical: unusual movement since 01:12:04"
    again = of_event(replace(event, reason="reopened", explanation=None), "updated", START, BERLIN)
    assert again.text == "gate: unusual movement again since 03:12:04 (peak 5.1, threshold 3.4)"
    ended = replace(event, state="closed", ended_at=START + timedelta(seconds=36), ended_pts_seconds=37.0)
    assert of_event(ended, "closed", START, BERLIN).subject == "gate: unusual movement ended at 03:12:40 after 36 s"
    died = replace(ended, state="interrupted", reason="process_died")
    assert "not followed to its end" in of_event(died, "closed", START, BERLIN).subject


def test_a_health_message_names_the_fault_and_what_to_do() -> None:
    event = replace(make_health_event(), started_at=START)
    opened = of_event(event, "opened", START, BERLIN)
    assert (
        opened.text == "gate: picture rejected (frozen) since 03:12:04 – The picture stands still. Restart the camera."
    )
    closed = replace(event, state="closed", ended_at=START + timedelta(hours=1), ended_pts_seconds=10.0)
    assert of_event(closed, "closed", START, BERLIN).text == "gate: picture rejected (frozen): over since 04:12:04"


def test_a_message_is_one_line_and_shows_no_password() -> None:
    message = "cannot open\nrtsp://admin:hunter2@10.0.0.7/stream?token=hunter2"
    notification = of_event(replace(make_health_event(), message=message), "opened", START, UTC)
    assert "hunter2" not in notification.text
    assert "10.0.0.7" in notification.text
    assert "\n" not in notification.text


@pytest.mark.parametrize("event", [make_event(), make_health_event()])
def test_what_the_outbox_reads_back_is_what_was_written(event: object) -> None:
    notification = of_event(event, "opened", START, UTC)  # type: ignore[arg-type]
    assert Notification.from_json(notification.to_json()) == notification
    for other in (notification_of_test("webhook"), summary({"gate": 2}, START, START, "quiet hours", UTC)):
        assert Notification.from_json(other.to_json()) == other


def test_the_document_has_the_event_and_the_same_keys_always() -> None:
    event = make_event()
    document = of_event(event, "opened", START, UTC).to_dict()
    assert document["event"] == event.to_dict()
    assert (document["kind"], document["type"]) == ("opened", "anomaly")
    assert document["created_at"] == utc_text(START)
    assert list(notification_of_test("x").to_dict()) == list(document)
    assert of_event(make_health_event(), "closed", START, UTC).to_dict()["type"] == "health"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"id":"1"}', "null", '{"event": 3, "type": "health"}'])
def test_other_documents_are_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        Notification.from_json(text)


def test_a_summary_counts_by_camera() -> None:
    notification = summary({"yard": 2, "gate": 10}, START, START, "rate limit", BERLIN)
    assert notification.text == "and 12 more events since 03:12:04 (rate limit) – gate: 10, yard: 2"
