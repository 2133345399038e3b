"""Liveness and readiness by an injected clock."""

from __future__ import annotations

import pytest

from streamad.observability import Health


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def make_health() -> tuple[Health, Clock]:
    clock = Clock()
    return Health(stall_seconds=10, startup_seconds=60, clock=clock), clock


def test_the_loop_is_alive_while_it_ticks() -> None:
    health, clock = make_health()
    health.tick()
    clock.now += 10
    assert health.live().ok
    clock.now += 0.1
    report = health.live()
    assert not report.ok
    assert report.reason == "no tick of the main loop for 10.1 s, at most 10 s is expected"
    health.tick()
    assert health.live().ok


def test_before_the_first_tick_there_is_time_to_start() -> None:
    health, clock = make_health()
    clock.now += 60
    assert health.live().ok
    clock.now += 1
    assert not health.live().ok


def test_ready_needs_every_condition_and_the_loop() -> None:
    health, clock = make_health()
    assert health.ready().reason == "config: not yet checked; model: not yet checked"
    health.set_ready("config")
    health.set_ready("model", False, reason="engine is being built")
    assert health.ready().reason == "model: engine is being built"
    health.set_ready("model")
    assert health.ready().reason == "main loop: not started"
    health.tick()
    assert health.ready().ok
    clock.now += 11
    assert not health.ready().ok
    health.tick()
    health.set_ready("model", False)
    assert health.ready().reason == "model: not ready"


def test_unknown_conditions_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown condition 'camera'"):
        make_health()[0].set_ready("camera")
