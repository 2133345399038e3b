"""Health: whether the main loop is alive and the program is ready. Cameras affect neither."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

STALL_SECONDS = 10.0
"""The main loop counts as hung if it has not ticked for this long."""

STARTUP_SECONDS = 900.0
"""Time allowed before the first tick: loading a model may build an engine for minutes, which must not get the process
killed."""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The answer to a probe.

    Attributes:
        ok: Whether the check passed.
        reason: Explanation; if the check failed, what is missing.
    """

    ok: bool
    reason: str


class Health:
    """Liveness from the main loop's ticks, readiness from named conditions.

    Liveness answers whether restarting the process would help. It depends only on the main loop, because a restart
    would not repair a dead camera. Thread-safe.

    Args:
        conditions: What must hold before the program is ready; each condition is unmet until `set_ready` is called.
        stall_seconds: Maximum time since the last tick.
        startup_seconds: Maximum time until the first tick.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        *,
        conditions: Iterable[str] = ("config", "model"),
        stall_seconds: float = STALL_SECONDS,
        startup_seconds: float = STARTUP_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stall_seconds = stall_seconds
        self._startup_seconds = startup_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._created = clock()
        self._ticked: float | None = None
        self._unmet = dict.fromkeys(conditions, "not yet checked")
        self._known = frozenset(self._unmet)

    def tick(self) -> None:
        """Record an iteration of the main loop."""
        self._ticked = self._clock()

    def set_ready(self, condition: str, ready: bool = True, *, reason: str = "not ready") -> None:
        """Set whether a condition holds; `reason` says why not.

        Raises:
            ValueError: The condition is not one of those given at construction.
        """
        if condition not in self._known:
            raise ValueError(f"unknown condition {condition!r}, expected one of {sorted(self._known)}")
        with self._lock:
            if ready:
                self._unmet.pop(condition, None)
            else:
                self._unmet[condition] = reason

    def live(self) -> HealthReport:
        """The answer to `/healthz`."""
        if self._ticked is None:
            waited, bound, what = self._clock() - self._created, self._startup_seconds, "starting for"
        else:
            waited, bound, what = self._clock() - self._ticked, self._stall_seconds, "no tick of the main loop for"
        if waited <= bound:
            return HealthReport(True, f"{what} {waited:.1f} s")
        return HealthReport(False, f"{what} {waited:.1f} s, at most {bound:g} s is expected")

    def ready(self) -> HealthReport:
        """The answer to `/readyz`: whether every condition holds and the main loop is alive."""
        with self._lock:
            unmet = dict(self._unmet)
        if unmet:
            return HealthReport(False, "; ".join(f"{name}: {why}" for name, why in unmet.items()))
        if self._ticked is None:
            return HealthReport(False, "main loop: not started")
        live = self.live()
        return HealthReport(live.ok, "ready" if live.ok else live.reason)
