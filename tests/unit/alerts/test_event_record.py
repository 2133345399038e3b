"""Events as records: identity, JSON, refusal of what JSON cannot say."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from unit.alerts.alert_events import make_event

from streamad.alerts import Event, new_event_id


def test_ids_sort_by_time_and_are_unique() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ids = [new_event_id(start + timedelta(milliseconds=i)) for i in range(1000)]
    assert ids == sorted(ids)
    assert len({new_event_id(start) for _ in range(1000)}) == 1000
    assert all(len(name) == 26 and name.isalnum() for name in ids)
    # The ULID specification's layout: the first ten characters are the Unix time in milliseconds, base 32.
    digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    milliseconds = 0
    for letter in ids[0][:10]:
        milliseconds = milliseconds * 32 + digits.index(letter)
    assert milliseconds == start.timestamp() * 1000


def test_json_is_one_line_with_every_key_in_order() -> None:
    event = replace(make_event(camera='gate\n"north" ✓'), cell=(3, 4), box=(1, 2, 3, 4))
    text = event.to_json()
    assert "\n" not in text
    assert list(json.loads(text)) == [item.name for item in fields(Event)]
    assert Event.from_json(text) == event


def test_times_are_written_in_utc_so_that_texts_sort() -> None:
    east = datetime(2026, 1, 1, 1, 0, tzinfo=timezone(timedelta(hours=2)))
    assert replace(make_event(), started_at=east).to_dict()["started_at"] == "2025-12-31T23:00:00.000000+00:00"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_cannot_say_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="peak_score must be finite"):
        replace(make_event(), peak_score=value)


def test_times_without_a_zone_are_refused() -> None:
    with pytest.raises(ValueError, match="started_at must be a timezone-aware datetime"):
        replace(make_event(), started_at=datetime(2026, 1, 1))


@pytest.mark.parametrize("text", ["[]", "{}", '{"id": 1}', "nonsense"])
def test_text_that_is_no_event_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Event.from_json(text)


def test_the_duration_runs_to_the_end_or_to_what_is_known() -> None:
    event = make_event()
    assert event.duration_seconds == pytest.approx(0.5)
    assert replace(event, ended_pts_seconds=7.0).duration_seconds == pytest.approx(6.0)
