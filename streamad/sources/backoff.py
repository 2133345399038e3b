"""Reconnection timing: exponential backoff with jitter."""

from __future__ import annotations

from random import Random

from streamad.sources.failures import FailureReason
from streamad.sources.spec import ReconnectSpec

_SLOW = frozenset({FailureReason.AUTH, FailureReason.NOT_FOUND})
"""These need a person to fix them, and cameras lock an account after a few wrong passwords."""


class Backoff:
    """Delays between attempts to connect to one camera. It neither sleeps nor reads a clock.

    The n-th consecutive delay is `initial × multiplier^(n-1)`, capped at `max`. A random share of up to `jitter` is
    subtracted so that cameras behind one switch do not reconnect at the same instant. After `auth` and `not_found`
    the delay is `max` from the first failure on.

    Args:
        spec: The reconnect settings.
        rng: Random generator for the jitter.
    """

    def __init__(self, spec: ReconnectSpec, rng: Random) -> None:
        self._spec = spec
        self._rng = rng
        self._failures = 0

    @property
    def failures(self) -> int:
        """Number of consecutive failures."""
        return self._failures

    def fail(self, reason: FailureReason, *, healthy_seconds: float = 0.0) -> float | None:
        """Record a failure.

        Args:
            reason: The kind of failure.
            healthy_seconds: How long frames had been arriving before it.

        Returns:
            Seconds to wait before the next attempt; None when no attempts remain.
        """
        spec = self._spec
        # A connection that never delivered a frame is not healthy, even if spec.healthy_seconds is 0.
        if 0 < healthy_seconds >= spec.healthy_seconds:
            self._failures = 0
        self._failures += 1
        if spec.max_attempts is not None and self._failures >= spec.max_attempts:
            return None
        wait = spec.max_seconds
        if reason not in _SLOW:
            # Cap the exponent first: the power overflows after about a thousand failures.
            exponent = min(self._failures - 1, 64)
            wait = min(spec.max_seconds, spec.initial_seconds * spec.multiplier**exponent)
        return wait * (1.0 - spec.jitter * self._rng.random())
