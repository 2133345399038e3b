"""The state machine opens alerts where the simulation of calibration counts them."""

from __future__ import annotations

import numpy as np
import pytest

from streamad.alerts import AlertStateMachine
from streamad.calibration import AlertPolicy, budget


def policy_of(threshold: float, release: float, seconds: float, margin: float | None = None) -> AlertPolicy:
    return AlertPolicy(
        threshold=threshold,
        release=release,
        baseline=0.0,
        min_duration_seconds=seconds,
        fast_margin=margin,
        fast_duration_seconds=0.1,
        cooldown_seconds=3.0,
    )


def opened(scores: np.ndarray, fps: float, policy: AlertPolicy) -> list[int]:
    machine = AlertStateMachine(policy, "gate")
    changes = [machine.update(i, i / fps, float(score)) for i, score in enumerate(scores)]
    return [c.index for c in changes if c is not None and c.kind == "opened"]


def noise(seed: int, size: int) -> np.ndarray:
    """Noise with a memory, as scores of neighboring frames have."""
    white = np.random.default_rng(seed).normal(size=size)
    return np.convolve(white, np.exp(-np.arange(80) / 20), mode="same")


@pytest.mark.parametrize("fps", [10.0, 25.0, 29.97])
@pytest.mark.parametrize("margin", [None, 1.0, 1.4])
@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.48, 0.5])
def test_the_rule_opens_as_often_as_calibration_counts(fps: float, seconds: float, margin: float | None) -> None:
    total = 0
    for seed in range(4):
        scores = noise(seed, 4000)
        for quantile in (0.7, 0.8, 0.95):
            threshold = float(np.quantile(scores, quantile))
            policy = policy_of(threshold, threshold - 0.2 * (threshold - float(np.median(scores))), seconds, margin)
            level = budget.alert_level(scores, policy, fps=fps)
            peaks = budget.alert_peaks([(scores, level)], policy, fps=fps)
            found = opened(scores, fps, policy)
            assert len(found) == len(peaks)
            total += len(found)
    assert total > 60


def test_the_first_alert_is_at_the_same_frame_with_frames_that_have_no_score() -> None:
    fps, seconds, found = 25.0, 0.5, 0
    for seed in range(40):
        scores = noise(seed, 600)
        random = np.random.default_rng(seed + 100)
        scores[random.random(600) < 0.1] = np.nan
        hole = int(random.integers(50, 400))
        scores[hole : hole + 60] = np.nan
        threshold = float(np.nanquantile(scores, 0.8))
        policy = policy_of(threshold, threshold, seconds, 1.5)
        expected = np.flatnonzero(budget.alert_level(scores, policy, fps=fps) >= threshold)[:1].tolist()
        assert opened(scores, fps, policy)[:1] == expected
        found += len(expected)
    assert found > 20
