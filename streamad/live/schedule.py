"""When a camera raises alerts, and which of its calibrations it is watched with."""

from __future__ import annotations

from datetime import datetime

from streamad.config import CameraSpec
from streamad.hours import covered, next_change, zone


class CameraSchedule:
    """The hours of one camera, by the clock of its time zone.

    Every answer follows from the time alone, so that a clock that is set, and the beginning and end of daylight-saving
    time, need no care.

    Args:
        spec: The camera.
    """

    def __init__(self, spec: CameraSpec) -> None:
        self._active = spec.active
        self._profiles = spec.profiles
        self._zone = zone(spec.time_zone)

    def local(self, now: datetime) -> datetime:
        """Return a time by the camera's clock."""
        return now.astimezone(self._zone)

    def is_active(self, now: datetime) -> bool:
        """Whether the camera raises alerts at a time (timezone-aware)."""
        return not self._active or covered(self._active, now, self._zone)

    def profile(self, now: datetime) -> str | None:
        """Return the name of the profile at a time; None outside the hours of all."""
        found = (profile.name for profile in self._profiles if covered(profile.hours, now, self._zone))
        return next(found, None)

    def next_change(self, now: datetime) -> datetime | None:
        """Return when the camera begins or ends to raise alerts, in UTC; None if it never does."""
        return next_change(self._active, now, self._zone)

    def text(self, now: datetime) -> str | None:
        """Return "not active until 06:00" if the camera raises no alerts at a time; None if it does."""
        if self.is_active(now):
            return None
        change = self.next_change(now)
        if change is None:
            return "not active"
        local, today = self.local(change), self.local(now).date()
        day = "" if (local.date() - today).days <= 1 else f"{local:%a} "
        return f"not active until {day}{local:%H:%M}"
