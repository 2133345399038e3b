"""When to connect anew: exponential backoff with jitter."""

from __future__ import annotations

from random import Random

from streamad.sources.failures import FailureReason
from streamad.sources.spec import ReconnectSpec

_SLOW = frozenset({FailureReason.AUTH, FailureReason.NOT_FOUND})
"""Mended by people, not by time; and cameras lock an account after a few wrong passwords."""


class Backoff:
    """The waits between attempts to connect to one camera. Pure: it neither sleeps nor reads a clock.

    The n-th wait in a row is `initial × multiplier^(n-1)`, at most `max`, of which the share `jitter` is
    drawn by chance, so that cameras behind one switch do not return at once. After `auth` and `not_found` it
    is `max` at once.

    Args:
        spec: the figures.
        rng: draws the jitter.
    """

    def __init__(self, spec: ReconnectSpec, rng: Random) -> None:
        self._spec = spec
        self._rng = rng
        self._failures = 0

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._failures

    def fail(self, reason: FailureReason, *, healthy_seconds: float = 0.0) -> float | None:
        """Note a failure.

        Args:
            reason: what failed.
            healthy_seconds: for how long frames had come before it.

        Returns:
            Seconds to wait before the next attempt, None where no attempt is left.
        """
        spec = self._spec
        # A connection that never gave a frame is no healthy one, even where healthy_seconds is 0.
        if 0 < healthy_seconds >= spec.healthy_seconds:
            self._failures = 0
        self._failures += 1
        if spec.max_attempts is not None and self._failures >= spec.max_attempts:
            return None
        wait = spec.max_seconds
        if reason not in _SLOW:
            # Capped before the power is taken: it overflows after some thousand failures.
            exponent = min(self._failures - 1, 64)
            wait = min(spec.max_seconds, spec.initial_seconds * spec.multiplier**exponent)
        return wait * (1.0 - spec.jitter * self._rng.random())
