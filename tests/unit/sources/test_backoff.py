"""Backoff, without sleeping."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamad.sources import Backoff, FailureReason, ReconnectSpec

PLAIN = ReconnectSpec(initial_seconds=1, max_seconds=60, multiplier=2, jitter=0)


def waits(backoff: Backoff, *reasons: FailureReason) -> list[float | None]:
    return [backoff.fail(reason) for reason in reasons]


def test_waits_double_up_to_the_limit() -> None:
    assert waits(Backoff(PLAIN, Random(0)), *[FailureReason.REFUSED] * 8) == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize("reason", [FailureReason.AUTH, FailureReason.NOT_FOUND])
def test_what_people_must_mend_waits_longest(reason: FailureReason) -> None:
    assert waits(Backoff(PLAIN, Random(0)), reason, FailureReason.TIMEOUT) == [60, 2]


def test_health_begins_anew() -> None:
    backoff = Backoff(PLAIN, Random(0))
    waits(backoff, *[FailureReason.TIMEOUT] * 5)
    assert backoff.fail(FailureReason.ENDED, healthy_seconds=29.9) == 32
    assert backoff.fail(FailureReason.ENDED, healthy_seconds=30.0) == 1
    assert backoff.failures == 1


def test_attempts_run_out() -> None:
    backoff = Backoff(PLAIN.model_copy(update={"max_attempts": 3}), Random(0))
    assert waits(backoff, *[FailureReason.REFUSED] * 3) == [1, 2, None]


@given(seed=st.integers(0, 1000), jitter=st.floats(0, 1), failures=st.integers(1, 5000))
def test_jitter_stays_in_its_share(seed: int, jitter: float, failures: int) -> None:
    spec = ReconnectSpec(initial_seconds=1, max_seconds=60, multiplier=2, jitter=jitter)
    backoff = Backoff(spec, Random(seed))
    wait = [backoff.fail(FailureReason.TIMEOUT) for _ in range(failures)][-1]
    assert wait is not None
    full = min(60.0, 2.0 ** min(failures - 1, 64))
    assert full * (1 - jitter) <= wait <= full


def test_cameras_do_not_return_at_once() -> None:
    rng = Random(1)
    spec = ReconnectSpec()
    assert len({Backoff(spec, rng).fail(FailureReason.ENDED) for _ in range(16)}) == 16
