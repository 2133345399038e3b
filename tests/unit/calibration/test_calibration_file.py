import dataclasses
import json

import numpy as np
import pytest

from streamad.calibration import AlertPolicySpec, Calibration, calibrate
from streamad.errors import CalibrationError, OutputError, UsageError

SHA = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def calibration():
    scores = np.random.default_rng(0).standard_normal(2000)
    return calibrate([scores[:900], scores[900:]], fps=10, model="m", model_sha256=SHA, source="two clips")


@pytest.fixture
def document(calibration):
    return calibration.to_json()


def test_round_trip_through_a_file_is_exact(calibration, tmp_path):
    path = tmp_path / "model" / "calibration.json"
    calibration.save(path)
    assert Calibration.load(path) == calibration
    written = json.loads(path.read_text())
    assert written["format"] == "streamad-calibration"
    assert written["version"] == 1


def test_missing_file(tmp_path):
    with pytest.raises(CalibrationError, match=r"none\.json: No such file") as caught:
        Calibration.load(tmp_path / "none.json")
    assert caught.value.exit_code == 4
    assert "streamad calibrate" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00"])
def test_not_json(tmp_path, content):
    path = tmp_path / "c.json"
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match=r"c\.json is not a JSON document"):
        Calibration.load(path)


@pytest.mark.parametrize("content", ["[]", "null", "{}", '{"format": "other"}'])
def test_json_of_another_kind(tmp_path, content):
    path = tmp_path / "c.json"
    path.write_text(content)
    with pytest.raises(CalibrationError, match=r"c\.json is not a calibration: key 'format'"):
        Calibration.load(path)


@pytest.mark.parametrize(
    ("version", "hint"), [(2, "update streamad"), (0, "calibrate again"), ("1", "again"), (None, "again")]
)
def test_another_version(document, version, hint):
    with pytest.raises(CalibrationError, match=r"f\.json: key 'version'") as caught:
        Calibration.from_json({**document, "version": version}, name="f.json")
    assert hint in caught.value.hint


def test_every_missing_key_is_named(document):
    for key in document.keys() - {
        *("format", "version", "vouched_alerts_per_day", "fast_duration_seconds", "fast_margin")
    }:
        rest = {k: v for k, v in document.items() if k != key}
        with pytest.raises(CalibrationError, match=rf"f\.json: key '{key}'"):
            Calibration.from_json(rest, name="f.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threshold", float("nan")),
        ("threshold", None),
        ("threshold", "3"),
        ("frames", 1.5),
        ("fps", 0.0),
        ("hysteresis", 2.0),
        ("critical", -1e9),
        ("model_sha256", "abc"),
        ("warnings", "no list"),
    ],
)
def test_wrong_values_are_refused(document, key, value):
    with pytest.raises(CalibrationError, match=r"f\.json: key") as caught:
        Calibration.from_json({**document, key: value}, name="f.json")
    assert key in str(caught.value)


def test_a_file_of_one_budget_keeps_its_threshold(calibration, document):
    """Files of streamad 0.2 have no vouched budget: their threshold is for the requested one, and the only one."""
    curve = calibration.alert_curve
    far = curve.threshold(curve.expected(1.0))
    new = ("vouched_alerts_per_day", "fast_duration_seconds", "fast_margin")
    old = {key: value for key, value in document.items() if key not in new}
    read = Calibration.from_json({**old, "threshold": far, "threshold_high": far + 1, "critical": far + 1})
    assert read.vouched_alerts_per_day == read.alerts_per_day == 1.0
    assert read.threshold == far > calibration.threshold
    assert read.budget == "1 false alert a day"
    assert not read.rules.has_fast_way
    assert AlertPolicySpec().of_calibration(read).fast_threshold is None
    assert read.with_budget(1.0).threshold == calibration.threshold


def test_nan_in_a_file_is_refused(document, tmp_path):
    path = tmp_path / "c.json"
    path.write_text(json.dumps({**document, "median": float("nan")}))
    with pytest.raises(CalibrationError, match=r"c\.json: key 'median'"):
        Calibration.load(path)


def test_nested_and_unknown_keys_are_named(document):
    broken = {**document, "distribution": {**document["distribution"], "tail_scale": -1.0}}
    with pytest.raises(CalibrationError, match=r"key 'distribution'.*tail_scale"):
        Calibration.from_json(broken)
    with pytest.raises(CalibrationError, match="key 'thresold'"):
        Calibration.from_json({**document, "thresold": 1.0})


def test_hash_of_the_model(calibration):
    calibration.require_model(SHA)
    calibration.require_model(SHA.upper())
    with pytest.raises(CalibrationError, match="belongs to model 'm'"):
        calibration.require_model("f" * 64)


def test_where_nothing_can_be_written(calibration, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        calibration.save(tmp_path / "file" / "calibration.json")


def test_with_budget_is_calibrating_with_that_budget(calibration):
    scores = np.random.default_rng(0).standard_normal(2000)
    other = calibrate(
        [scores[:900], scores[900:]],
        fps=10,
        model="m",
        model_sha256=SHA,
        source="two clips",
        alerts_per_day=50.0,
    )
    assert dataclasses.replace(calibration.with_budget(50.0), created=other.created) == other


def test_with_budget_after_a_round_trip(calibration, document):
    read = Calibration.from_json(document)
    assert read.with_budget(24.0) == calibration.with_budget(24.0)
    assert read.with_budget(240.0).threshold < read.with_budget(24.0).threshold
    # Two hundred seconds support no lower budget.
    assert read.with_budget(24.0).threshold == calibration.threshold == read.with_budget(0.1).threshold


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_budget(calibration, budget):
    with pytest.raises(UsageError, match="alerts_per_day"):
        calibration.with_budget(budget)
