"""Drift: the stated rate of false warnings holds for correlated scores, and changes are found."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import lfilter
from scipy.stats import t as student

from streamad.calibration import Calibration, calibrate
from streamad.calibration.drift import EXPECTED, DriftMonitor, DriftSpec, _t_limit, block_means, judge

FPS = 2


def scores(
    seconds: float, forget_seconds: float, rng: np.random.Generator, shift: float = 0.0
) -> npt.NDArray[np.float64]:
    """Gaussian scores whose correlation falls by e in `forget_seconds`."""
    keep = math.exp(-1 / (forget_seconds * FPS))
    noise = rng.normal(size=int(seconds * FPS) + 2000) * math.sqrt(1 - keep**2)
    return np.asarray(lfilter([1], [1, -keep], noise)[2000:] + shift, dtype=np.float64)


def blocks(values: npt.NDArray[np.float64], known: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    p = 1 - (np.searchsorted(known, values) + 0.5) / (len(known) + 1)
    return np.stack([block_means(part) for part in p.reshape(-1, 60 * FPS)])


@pytest.mark.parametrize("forget_seconds", [1.0, 10.0, 30.0])
def test_false_warnings_are_no_more_than_stated(forget_seconds: float) -> None:
    rng, spec = np.random.default_rng(5), DriftSpec(false_warnings_per_year=0.1 * 365.25 * 24)  # one window in ten
    warned = 0
    for number in range(150):
        if number % 3 == 0:
            known = np.sort(scores(3600, forget_seconds, rng))
        report = judge(blocks(scores(3600, forget_seconds, rng), known), known_blocks=60, spec=spec)
        warned += report.has_drifted
    # 0.1 of 150 windows, and three standard deviations.
    assert warned <= 15 + 3 * math.sqrt(15)


@pytest.mark.parametrize("shift", [-1.0, 1.0])
def test_a_shift_is_found_and_its_direction_told(shift: float) -> None:
    rng, found = np.random.default_rng(6), 0
    for _ in range(20):
        known = np.sort(scores(6 * 3600, 10, rng))
        report = judge(blocks(scores(3600, 10, rng, shift), known), known_blocks=360, spec=DriftSpec())
        found += report.has_drifted
        assert ("higher" in str(report)) == (shift > 0)
    assert found >= 18


def test_a_short_calibration_is_not_trusted_to_the_last_digit() -> None:
    rng = np.random.default_rng(7)
    window = blocks(scores(3600, 5, rng, 0.8), np.sort(scores(6 * 3600, 5, rng)))
    spec = DriftSpec()
    long, short = (judge(window, known_blocks=known, spec=spec) for known in (360, 2))
    assert long.statistic > 3 * short.statistic
    assert long.has_drifted
    assert not short.has_drifted


def test_a_small_change_is_no_warning_however_certain() -> None:
    rng = np.random.default_rng(8)
    window = EXPECTED * np.array([0.94, 1.15, 1.15]) + rng.normal(0, 1e-4, (60, 3))
    report = judge(window, known_blocks=1e6, spec=DriftSpec())
    assert report.statistic > 10 * report.limit
    assert not report.has_drifted


@pytest.mark.parametrize(("degrees", "within"), [(9, 0.02), (19, 0.0015), (59, 1e-4)])
@pytest.mark.parametrize("level", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5])
def test_the_limit_is_students(degrees: int, within: float, level: float) -> None:
    assert _t_limit(level, degrees) == pytest.approx(student.isf(level / 2, degrees), rel=within)


def calibration(rng: np.random.Generator) -> Calibration:
    return calibrate(
        [scores(3600, 1, rng)], fps=FPS, model="m", model_sha256="0" * 64, source="simulated", alerts_per_day=24
    )


def test_the_monitor_feeds_windows_and_running_shares() -> None:
    rng = np.random.default_rng(9)
    monitor = DriftMonitor(calibration(rng), DriftSpec(window_minutes=30, block_seconds=30))
    assert math.isnan(monitor.ratio)
    reports = []
    for number, value in enumerate([*scores(3700, 1, rng), *scores(3700, 1, rng, 1.5)]):
        reports.append(monitor.update(number / FPS, float(value)))
        if number == 3000:
            assert monitor.ratio == pytest.approx(1.0, abs=0.3)
            assert monitor.shares[0.5] == pytest.approx(0.5, abs=0.1)
    full = [report for report in reports if report is not None]
    assert [report.has_drifted for report in full] == [False, False, True, True]
    assert monitor.ratio > 3


def test_holes_and_frames_without_a_score_are_passed_over() -> None:
    rng = np.random.default_rng(10)
    monitor = DriftMonitor(calibration(rng), DriftSpec(window_minutes=1, block_seconds=2))
    assert monitor.spec.blocks == 60
    full = 0
    for number in range(800):
        pts = number / FPS + (1000 if number > 400 else 0)
        full += monitor.update(pts, math.nan if number % 7 == 0 else 0.1) is not None
    assert full == 3
