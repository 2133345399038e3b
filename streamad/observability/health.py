"""Health: is the main loop alive, is the program ready. Cameras have no say in either."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

STALL_SECONDS = 10.0
"""Without a tick for longer than this the main loop counts as hung."""

STARTUP_SECONDS = 900.0
"""Grace before the first tick: loading a model may build an engine for minutes, and must not get the process
killed."""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The answer to one probe.

    Attributes:
        ok: the answer.
        reason: in words; where not ok, what is missing.
    """

    ok: bool
    reason: str


class Health:
    """Liveness by the main loop's ticks, readiness by named conditions.

    Liveness asks whether restarting the process would help: it knows the main loop alone, so a dead camera,
    which a restart would not cure, never touches it. Safe to use from several threads.

    Args:
        conditions: what must hold before the program is ready; each is unmet until `set_ready` says
            otherwise.
        stall_seconds: bound on the time since the last tick.
        startup_seconds: bound on the time until the first one.
        clock: monotonic seconds.
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
        """The main loop went round."""
        self._ticked = self._clock()

    def set_ready(self, condition: str, ready: bool = True, *, reason: str = "not ready") -> None:
        """State whether a condition holds; `reason` says why not.

        Raises:
            ValueError: the condition is none of those given at construction.
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
            waited, bound, what = self._clock() - self._ticked, self._stall_seconds, "main loop ticked before"
        if waited <= bound:
            return HealthReport(True, f"{what} {waited:.1f} s")
        return HealthReport(False, f"{what} {waited:.1f} s, at most {bound:g} s is expected")

    def ready(self) -> HealthReport:
        """The answer to `/readyz`: every condition holds and the main loop is alive."""
        with self._lock:
            unmet = dict(self._unmet)
        if unmet:
            return HealthReport(False, "; ".join(f"{name}: {why}" for name, why in unmet.items()))
        if self._ticked is None:
            return HealthReport(False, "main loop: not started")
        live = self.live()
        return HealthReport(live.ok, "ready" if live.ok else live.reason)
