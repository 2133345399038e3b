"""Events for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from streamad.alerts import Event, HealthEvent, new_event_id

START = datetime(2026, 3, 1, 22, 15, tzinfo=UTC)


def make_event(number: int = 0, camera: str = "gate", state: str = "open") -> Event:
    """The event number `number`, which began that many minutes after `START`."""
    at = START + timedelta(minutes=number)
    is_open = state == "open"
    return Event(
        id=new_event_id(at),
        camera=camera,
        state="open" if is_open else "closed",
        severity="warning",
        started_index=10,
        started_pts_seconds=1.0,
        started_at=at,
        raised_index=15,
        raised_pts_seconds=1.5,
        updated_index=15,
        updated_pts_seconds=1.5,
        updated_at=at + timedelta(seconds=0.5),
        ended_index=None if is_open else 15,
        ended_pts_seconds=None if is_open else 1.5,
        ended_at=None if is_open else at + timedelta(seconds=0.5),
        peak_score=12.5,
        peak_index=13,
        peak_pts_seconds=1.3,
        threshold=10.0,
        model="ped2",
        model_sha256="0" * 64,
        reason="score",
    )


def make_health_event(number: int = 0, camera: str = "gate") -> HealthEvent:
    """A frozen picture that began `number` minutes after `START`."""
    at = START + timedelta(minutes=number)
    return HealthEvent(
        id=new_event_id(at),
        camera=camera,
        state="open",
        reason="frozen",
        reasons=("frozen",),
        message="The picture stands still. Restart the camera.",
        started_index=10,
        started_pts_seconds=1.0,
        started_at=at,
        updated_index=15,
        updated_pts_seconds=1.5,
        updated_at=at,
        frames=6,
    )
