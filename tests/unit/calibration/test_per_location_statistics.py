"""Local statistics against known distributions, a plain second derivation, and what their file promises."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from streamad.calibration import Calibration, PerLocationScore, PerLocationSpec, PerLocationStatistics, calibrate
from streamad.calibration.per_location import highest, pooled
from streamad.calibration.per_location_fit import CellSamples, fit_per_location, join_samples
from streamad.errors import CalibrationError
from streamad.formatting import span

SHA = "0123456789abcdef" * 4
OWN = PerLocationSpec(prior_samples=1e-12)


def filled(maps: np.ndarray, **options: int) -> CellSamples:
    samples = CellSamples(maps.shape[1:], **options)
    for anomaly_map in maps:
        samples.add(anomaly_map.astype(np.float32))
    return samples


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """4000 frames of 4×5 cells, exponential scores, each row with a scale of its own."""
    scales = np.array([1.0, 2.0, 4.0, 8.0])[:, None] * np.ones(5)
    return np.random.default_rng(1).exponential(scales, (4000, 4, 5))


def test_evidence_is_minus_log10_of_the_cells_own_tail(scene: np.ndarray) -> None:
    statistics = fit_per_location(filled(scene, size=4000), OWN)
    for p in (0.5, 0.1, 0.01, 1e-4):
        raw = -np.log(p) * np.array([1.0, 2.0, 4.0, 8.0])[:, None] * np.ones(5)
        np.testing.assert_allclose(statistics.evidence(raw.astype(np.float32)), -np.log10(p), rtol=0.2, atol=0.02)


def test_held_out_evidence_has_its_false_alarm_meaning(scene: np.ndarray) -> None:
    statistics = fit_per_location(filled(scene[:3000]), PerLocationSpec())
    evidence = np.stack([statistics.evidence(anomaly_map.astype(np.float32)) for anomaly_map in scene[3000:]])
    # Drawn to the picture, rows of small scores claim less than they could: that gives no false alarms.
    for level in (0.5, 1.0, 2.0):
        assert 0.6 * 10**-level < (evidence >= level).mean() < 1.2 * 10**-level


def test_a_cell_that_saw_little_claims_little() -> None:
    rng = np.random.default_rng(2)
    maps = rng.exponential(1.0, (1000, 3, 3))
    maps[:, 1, 1] = np.nan
    maps[:10, 1, 1] = 1e-3 * rng.random(10)  # ten frames of near nothing
    spec = PerLocationSpec(prior_samples=500)
    samples = filled(maps)
    assert samples.counts[1, 1] == 10
    statistics = fit_per_location(samples, spec)
    raw = np.full((3, 3), 3.0, np.float32)
    wide = fit_per_location(samples, dataclasses.replace(spec, prior_samples=1e9)).evidence(raw)[1, 1]
    own = np.log10((10 + 500) / 500)
    assert 0 <= statistics.evidence(raw)[1, 1] - wide < own + 3 * np.log10(1500 / 500)
    # Alone, those ten samples would call 3.0 astronomically rare.
    assert fit_per_location(samples, OWN).evidence(raw)[1, 1] > 50


def test_the_mixture_is_that_of_its_levels() -> None:
    """Second derivation at one cell: weights by hand, p of each level by counting, where counts are large."""
    rng = np.random.default_rng(3)
    maps = rng.normal(np.arange(3)[:, None] + np.array([0, 0.5, 1.0])[None], 1.0, (8000, 3, 3))
    m = 4000.0
    statistics = fit_per_location(filled(maps, size=8000), PerLocationSpec(prior_samples=m, neighbors=1))
    x = 3.2
    cell, row, picture = (float((part >= x).mean()) for part in (maps[:, 1, 2], maps[:, 1], maps))
    w = 8000 / (8000 + m)
    expected = w * cell + (1 - w) * (w * row + (1 - w) * picture)
    assert statistics.evidence(np.full((3, 3), x, np.float32))[1, 2] == pytest.approx(-np.log10(expected), abs=0.03)


def test_evidence_rises_without_bound_and_nan_stays() -> None:
    statistics = fit_per_location(filled(np.random.default_rng(4).normal(size=(500, 2, 3))), PerLocationSpec())
    steps = [statistics.evidence(np.full((2, 3), x, np.float32)) for x in np.linspace(-5, 400, 400)]
    assert (np.diff(steps, axis=0) >= 0).all()
    assert (steps[-1] > 20).all()
    assert (steps[0] == 0).all()
    anomaly_map = np.zeros((2, 3), np.float32)
    anomaly_map[0, 1] = np.nan
    assert np.isnan(statistics.evidence(anomaly_map)).tolist() == np.isnan(anomaly_map).tolist()


def test_a_heat_map_of_another_size_is_held_against_the_whole_picture() -> None:
    maps = np.random.default_rng(5).exponential(size=(2000, 3, 4))
    statistics = fit_per_location(filled(maps, size=2000), PerLocationSpec())
    got = statistics.evidence(np.full((7, 9), -np.log(0.01), np.float32))
    np.testing.assert_allclose(got, 2.0, atol=0.1)


def test_the_reservoir_is_a_fair_sample_in_bounded_memory() -> None:
    samples = filled(np.arange(20_000, dtype=np.float64)[:, None, None] * np.ones((1, 2, 2)), size=500)
    assert samples.values.shape == (500, 2, 2)
    assert (samples.counts == 20_000).all()
    # Mean of 500 draws of 0..19999: 10000 ± 4 · 5774/√500.
    np.testing.assert_allclose(samples.values.mean(axis=0), 10_000, atol=4 * 5774 / np.sqrt(500))
    assert len(np.unique(samples.values[:, 0, 0])) == 500


def test_pooling_is_the_mean_of_the_known_cells_around() -> None:
    anomaly_map = np.random.default_rng(6).normal(size=(5, 6)).astype(np.float32)
    anomaly_map[2, 3] = np.nan
    got = pooled(anomaly_map, 3)
    for row in range(5):
        for col in range(6):
            around = anomaly_map[max(0, row - 1) : row + 2, max(0, col - 1) : col + 2]
            wanted = np.nan if np.isnan(anomaly_map[row, col]) else np.nanmean(around)
            np.testing.assert_allclose(got[row, col], wanted, rtol=1e-4, atol=1e-6)


def test_the_score_is_the_mean_of_the_highest_then_a_causal_median() -> None:
    maps = np.random.default_rng(7).exponential(size=(60, 6, 10)).astype(np.float32)
    statistics = fit_per_location(filled(maps), PerLocationSpec(share=0.05, median_frames=3))
    state = PerLocationScore(statistics)
    got = [state.update(anomaly_map)[0] for anomaly_map in maps]
    single = [np.sort(statistics.evidence(anomaly_map).ravel())[-3:].mean() for anomaly_map in maps]
    np.testing.assert_allclose(got, [np.median(single[max(0, k - 2) : k + 1]) for k in range(60)], rtol=1e-5)
    assert highest(np.array([[np.nan, np.nan], [2.0, np.nan]], np.float32), 0.5) == 1.0
    assert highest(np.full((3, 3), np.nan, np.float32), 0.5) == 0.0


@pytest.fixture
def calibration() -> Calibration:
    rng = np.random.default_rng(8)
    statistics = fit_per_location(filled(rng.normal(size=(300, 2, 3))), PerLocationSpec())
    return calibrate([rng.normal(size=800)], fps=10, model="m", model_sha256=SHA, source="-", local=statistics)


def test_statistics_travel_beside_their_calibration(calibration: Calibration, tmp_path) -> None:
    path = tmp_path / "door.json"
    calibration.save(path)
    assert (tmp_path / "door.local.npz").is_file()
    read = Calibration.load(path)
    assert read.local is not None
    assert read.local.sha256 == calibration.local.sha256
    anomaly_map = np.random.default_rng(9).normal(size=(2, 3)).astype(np.float32)
    np.testing.assert_array_equal(read.local.evidence(anomaly_map), calibration.local.evidence(anomaly_map))
    assert read == calibration
    assert read != dataclasses.replace(calibration, local=None)
    assert read.with_budget(10).local is read.local


def test_a_calibration_without_statistics_is_as_it_was(calibration: Calibration, tmp_path) -> None:
    path = tmp_path / "door.json"
    calibration.save(path)
    plain = dataclasses.replace(calibration, local=None)
    plain.save(path)
    assert "local" not in path.read_text()
    assert not (tmp_path / "door.local.npz").exists()
    assert Calibration.load(path) == plain


def test_statistics_of_another_calibration_are_refused(calibration: Calibration, tmp_path) -> None:
    calibration.save(tmp_path / "door.json")
    other = fit_per_location(filled(np.random.default_rng(10).normal(size=(300, 2, 3))), PerLocationSpec())
    other.save(tmp_path / "door.local.npz")
    with pytest.raises(CalibrationError, match=r"does not belong to .*door\.json"):
        Calibration.load(tmp_path / "door.json")
    (tmp_path / "door.local.npz").unlink()
    with pytest.raises(CalibrationError, match="missing"):
        Calibration.load(tmp_path / "door.json")


def test_damaged_files_are_told_and_nothing_is_unpickled(calibration: Calibration, tmp_path) -> None:
    path = tmp_path / "x.npz"
    for content in (b"", b"PK\x03\x04 no zip", b"\x80\x04."):
        path.write_bytes(content)
        with pytest.raises(CalibrationError, match="contains no per-location statistics"):
            PerLocationStatistics.load(path)
    np.savez(path, header=np.array([{"format": "streamad-local"}], dtype=object))
    with pytest.raises(CalibrationError, match="contains no per-location statistics"):
        PerLocationStatistics.load(path)
    bad = calibration.local.curves.copy()
    bad[3, 0, 0] = np.nan
    with pytest.raises(CalibrationError, match="damaged"):
        dataclasses.replace(calibration.local, curves=bad)


def test_too_little_to_learn_from() -> None:
    for maps in (np.full((100, 2, 2), np.nan), np.ones((100, 2, 2)), np.random.default_rng(0).random((2, 2, 2))):
        with pytest.raises(CalibrationError, match="cannot calibrate per location"):
            fit_per_location(filled(maps), PerLocationSpec())
    with pytest.raises(CalibrationError, match="one grid"):
        join_samples([CellSamples((2, 2)), CellSamples((2, 3))])
    with pytest.raises(CalibrationError, match="3×3 cells"):
        CellSamples((2, 2)).add(np.zeros((3, 3), np.float32))


@pytest.mark.parametrize(
    "options", [{"pool": 2}, {"neighbors": 0}, {"prior_samples": 0}, {"tail_share": 0.6}, {"share": 0.0},
                {"median_frames": 0}]
)  # fmt: skip
def test_parameters_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(CalibrationError, match=next(iter(options))):
        PerLocationSpec(**options)


def test_recurrence_is_the_inverse_of_the_threshold(calibration: Calibration) -> None:
    for per_day in (0.1, 1.0, 50.0, 2000.0):
        threshold = calibration.alert_curve._threshold(
            calibration.alert_curve.expected(per_day),
            calibration.alert_curve.tail_scale,
            calibration.alert_curve.tail_shape,
        )
        if threshold <= calibration.alert_curve.levels[0]:
            continue
        known = calibration.return_period(threshold)
        assert known.not_seen == (threshold > calibration.alert_curve.highest_peak)
        if known.not_seen:
            assert known.seconds == calibration.alert_curve.exposure_seconds
        else:
            assert known.seconds == pytest.approx(
                min(86_400 / per_day, calibration.alert_curve.exposure_seconds), rel=1e-6
            )
    assert calibration.return_period(float("nan")) is None
    low = calibration.return_period(-100.0)
    assert low.at_most
    assert str(low).startswith("at least once in")
    far = calibration.return_period(calibration.critical + 5)
    assert far.not_seen
    assert str(far) == f"not seen in {span(calibration.alert_curve.exposure_seconds)}"


def test_recurrence_claims_no_more_than_was_watched(calibration: Calibration) -> None:
    """A heavy tail or a far score never makes "once in 2.39e+19 days" of a few minutes of video."""
    watched = calibration.alert_curve.exposure_seconds
    for score in np.linspace(calibration.median, calibration.critical + 1000, 200):
        known = calibration.return_period(float(score))
        assert known.seconds <= watched
        assert known.not_seen == (score > calibration.alert_curve.highest_peak)
        assert "e+" not in str(known)
