"""Hours of the day and days of the week, by the clock of a time zone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from datetime import time as time_of_day
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_DAYS_AHEAD = 8
"""A change of hours that repeat every week comes within a week; one day more for changes of the clock."""


def _clock(value: object) -> object:
    # YAML reads 22:00 without quotes as 22·60 + 0 (base 60), and 06:00 as text.
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 24 * 60:
        return f"{value // 60:02}:{value % 60:02}"
    if isinstance(value, str):
        try:
            return time_of_day.fromisoformat(value)
        except ValueError:
            raise ValueError(f"expected a time of day such as 22:00, got {value!r}") from None
    return value


def _local(value: time_of_day) -> time_of_day:
    if value.tzinfo is not None:
        raise ValueError("expected a time of day such as 22:00; `time_zone` applies")
    return value


def _text(value: time_of_day) -> str:
    return value.isoformat("auto" if value.second or value.microsecond else "minutes")


def _some(days: tuple[Weekday, ...]) -> tuple[Weekday, ...]:
    if not days:
        raise ValueError("choose at least one day of the week")
    return days


# JSON Schema's format "time" has seconds and a zone.
ClockTime = Annotated[
    time_of_day,
    BeforeValidator(_clock),
    AfterValidator(_local),
    PlainSerializer(_text, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["22:00"]}),
]


def _known_zone(name: str | None) -> str | None:
    if name is not None:
        zone(name)
    return name


def zone(name: str | None) -> tzinfo | None:
    """Return the time zone of a name such as Europe/Berlin; None is the machine's.

    Raises:
        ValueError: This machine does not know the name.
    """
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (OSError, ValueError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise ValueError(f"not a time zone: {name!r}") from error
    except KeyError:
        raise ValueError(f"unknown time zone {name!r}; expected a name such as Europe/Berlin") from None


TimeZoneName = Annotated[str | None, AfterValidator(_known_zone)]


class Hours(BaseModel):
    """A time of the day, on some days of the week."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: ClockTime = Field(description="time of day at which they begin, such as 22:00")
    end: ClockTime = Field(description="time of day at which they end; on the next day if it is not after `start`")
    days: Annotated[tuple[Weekday, ...], AfterValidator(_some)] = Field(
        WEEKDAYS, description="days on which they begin", json_schema_extra={"minItems": 1}
    )

    def covers(self, now: datetime, zone: tzinfo | None) -> bool:
        """Whether a moment (timezone-aware) lies in these hours, by the clock of a zone (None: the machine's).

        When that clock is set back during the hours, they end at the first of the two times that it shows as `end`.
        """
        today = now.astimezone(zone).date()
        return any(
            start <= now.astimezone(UTC) < end
            for day in (today, today - timedelta(days=1))
            for start, end in self._on(day, zone)
        )

    def _on(self, day: date, zone: tzinfo | None) -> list[tuple[datetime, datetime]]:
        """Return the beginning and end, in UTC, of the hours that begin on a day."""
        if WEEKDAYS[day.weekday()] not in self.days:
            return []
        last = day if self.end > self.start else day + timedelta(days=1)
        start, end = (
            datetime.combine(d, t, tzinfo=zone).astimezone(UTC) for d, t in ((day, self.start), (last, self.end))
        )
        return [(start, end)]


def covered(hours: Sequence[Hours], now: datetime, zone: tzinfo | None) -> bool:
    """Whether a moment lies in any of these hours; see `Hours.covers`."""
    return any(part.covers(now, zone) for part in hours)


def next_change(hours: Sequence[Hours], now: datetime, zone: tzinfo | None) -> datetime | None:
    """Return when `covered` changes next, in UTC; None if it never does."""
    today = now.astimezone(zone).date()
    edges = {
        edge
        for part in hours
        for ahead in range(-1, _DAYS_AHEAD)
        for span in part._on(today + timedelta(days=ahead), zone)
        for edge in span
        if edge > now
    }
    is_covered = covered(hours, now, zone)
    return next((edge for edge in sorted(edges) if covered(hours, edge, zone) != is_covered), None)
