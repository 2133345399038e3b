"""Hours of the day by the clock of a zone, at the changes of daylight-saving time too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from streamad.config import CameraSpec
from streamad.hours import Hours, covered, next_change
from streamad.live.schedule import CameraSchedule

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = Hours.model_validate({"start": "22:00", "end": "06:00"})
WEEKEND = Hours.model_validate({"start": "00:00", "end": "00:00", "days": ["sat", "sun"]})


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


def test_a_night_ends_on_the_next_day() -> None:
    moments = ["2026-01-05 21:59", "2026-01-05 22:00", "2026-01-06 05:59", "2026-01-06 06:00"]
    assert [NIGHT.covers(berlin(m), BERLIN) for m in moments] == [False, True, True, False]


def test_equal_times_are_a_whole_day() -> None:
    moments = ["2026-01-02 23:59", "2026-01-03 00:00", "2026-01-04 23:59", "2026-01-05 00:00"]
    assert [WEEKEND.covers(berlin(m), BERLIN) for m in moments] == [False, True, True, False]


@pytest.mark.parametrize(
    ("now", "change"),
    [
        ("2026-01-06 12:00", "2026-01-06T21:00"),  # winter: 22:00 is 21:00 UTC
        ("2026-01-06 23:00", "2026-01-07T05:00"),
        ("2026-03-28 23:00", "2026-03-29T04:00"),  # the night in which the clock is set forward
        ("2026-03-29 12:00", "2026-03-29T20:00"),  # summer
        ("2026-10-24 23:00", "2026-10-25T05:00"),  # the night in which it is set back
    ],
)
def test_the_next_change_is_the_first_moment_that_differs(now: str, change: str) -> None:
    found = next_change([NIGHT], berlin(now), BERLIN)
    assert found == datetime.fromisoformat(change).replace(tzinfo=UTC)
    before = covered([NIGHT], berlin(now), BERLIN)
    moment = berlin(now).astimezone(UTC)
    while moment < found:  # by the minute: nothing changes earlier
        assert covered([NIGHT], moment, BERLIN) == before
        moment += timedelta(minutes=1)
    assert covered([NIGHT], found, BERLIN) != before


def test_hours_that_join_have_no_change_between_them() -> None:
    day = Hours.model_validate({"start": "06:00", "end": "22:00"})
    assert next_change([NIGHT, day], berlin("2026-01-06 12:00"), BERLIN) is None


def test_the_state_of_a_camera_in_words() -> None:
    spec = CameraSpec.model_validate({
        "id": "gate", "source": {"type": "file", "path": "a.mp4"}, "model": "m", "time_zone": "Europe/Berlin",
        "active": [{"start": "22:00", "end": "06:00"}],
        "profiles": [
            {"name": "late", "hours": [{"start": "23:00", "end": "06:00"}], "calibration": "late.json"},
            {"name": "night", "hours": [{"start": "20:00", "end": "06:00"}], "calibration": "night.json"},
        ],
    })  # fmt: skip
    schedule = CameraSchedule(spec)
    assert schedule.text(berlin("2026-01-06 12:00")) == "not active until 22:00"
    assert schedule.text(berlin("2026-01-06 22:00")) is None
    times = ["12:00", "20:00", "23:00"]
    assert [schedule.profile(berlin(f"2026-01-06 {t}")) for t in times] == [None, "night", "late"]
