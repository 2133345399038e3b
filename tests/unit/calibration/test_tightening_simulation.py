"""Does a threshold that is set again and again on what it watched keep its budget? A process of known rate, the alert
machine itself, and the schedule of `streamad.workflows.tighten`; a night of it, in seconds."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from streamad.alerts import AlertStateMachine
from streamad.calibration import AlertPolicySpec, Calibration, calibrate

FPS = 5.0
BURSTS_AN_HOUR = 60.0
Treatment = Literal["cut off", "left out", "in full"]


def bursts(hours: float, rng: np.random.Generator, anomalies_a_day: float = 0.0) -> np.ndarray:
    """Low noise with bursts of one second of heights 1 + Exp(1), and true anomalies of 20 s, ten times as high."""
    n = int(hours * 3600 * FPS)
    scores = rng.uniform(0.0, 0.1, n)
    wait = 3600 / BURSTS_AN_HOUR - 12
    starts = np.cumsum(12 * FPS + rng.exponential(wait * FPS, int(2 * hours * BURSTS_AN_HOUR) + 9))
    for start in starts[starts < n - 10].astype(int):
        scores[start : start + 6] = 1.0 + rng.exponential()
    for _ in range(rng.poisson(anomalies_a_day * hours / 24)):
        start = int(rng.integers(0, n - 100))
        scores[start : start + 100] = 20.0
    return scores


def true_rate(threshold: float) -> float:
    """False alerts a day at a threshold above 1, by the formula of the process."""
    return 24 * BURSTS_AN_HOUR * float(np.exp(1.0 - threshold))


def under_alert(scores: np.ndarray, calibration: Calibration) -> np.ndarray:
    """Which frames belong to alerts, with the rises that led to them."""
    machine = AlertStateMachine(AlertPolicySpec().of_calibration(calibration), "gate")
    belongs = np.zeros(len(scores), dtype=bool)
    for i, score in enumerate(scores.tolist()):
        change = machine.update(i, i / FPS, score)
        if change is not None and change.reason in ("score", "reopened") and change.kind != "closed":
            belongs[change.started_index : i] = True
        belongs[i] = machine.state == "open"
    return belongs


def tightened(seed: int, treatment: Treatment, anomalies_a_day: float) -> Calibration:
    """Learn from ten minutes, then watch for eight hours: it is recalibrated at 20 minutes and each doubling."""
    rng = np.random.default_rng(seed)
    common = {"fps": FPS, "model": "m", "model_sha256": "0" * 64, "source": "s"}
    made = calibrate([bursts(1 / 6, rng)], **common)
    seen: list[np.ndarray] = []
    ceilings: list[np.ndarray] = []
    watched = 0.0
    for until in (1 / 3, 2 / 3, 4 / 3, 8 / 3, 16 / 3, 8.1):
        scores = bursts(until - watched, rng, anomalies_a_day)
        watched = until
        belongs = under_alert(scores, made)
        ceilings.append(np.where(belongs & (treatment == "cut off"), made.threshold, np.nan))
        if treatment == "left out":
            scores[belongs] = np.nan
        seen.append(scores)
        made = calibrate(seen, ceilings=ceilings, **common)
        if treatment == "cut off":
            assert made.vouched_alerts_per_day == pytest.approx(max(1.0, 8 / until), rel=0.02)
    assert made.seconds_to_budget == 0 or treatment == "left out"
    return made


@pytest.mark.parametrize("anomalies_a_day", [0, 6])
def test_a_stationary_camera_reaches_its_budget_and_keeps_it(anomalies_a_day: int) -> None:
    """One a day was asked for. True anomalies count as alerts, so they may raise the threshold, but by little."""
    rates = [true_rate(tightened(seed, "cut off", anomalies_a_day).threshold) for seed in range(6)]
    assert 1 / 2.5 < np.median(rates) < 2.5, rates
    assert all(1 / 5 < rate < 5 for rate in rates), rates


def test_why_alerts_are_neither_left_out_nor_taken_in_full() -> None:
    """Each threshold would leave out the highest of what the next is set on, or follow the anomalies upward."""
    assert np.median([true_rate(tightened(seed, "left out", 0).threshold) for seed in range(6)]) > 2.5
    assert np.median([true_rate(tightened(seed, "in full", 6).threshold) for seed in range(6)]) < 1 / 2.5
