"""Configuration of the rule and of the event store."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from streamad.alerts import EventsSpec
from streamad.alerts.sinks import JsonlSinkSpec, LogSinkSpec, SinkSpec
from streamad.calibration import AlertPolicySpec


def test_release_and_critical_are_fractions_of_the_distance_to_normal() -> None:
    rule = AlertPolicySpec(hysteresis=0.25, critical_margin=0.5).at(-30.0, baseline=-34.0)
    assert (rule.threshold, rule.release, rule.critical_threshold) == (-30.0, -31.0, -28.0)


def test_the_calibration_says_what_is_critical_unless_a_margin_is_set() -> None:
    assert AlertPolicySpec().at(3.0, baseline=1.0, critical=4.0).critical_threshold == 4.0
    assert AlertPolicySpec().at(3.0, baseline=1.0).critical_threshold is None
    margin = AlertPolicySpec(critical_margin=2.0)
    assert margin.at(3.0, baseline=1.0, critical=4.0).critical_threshold == 7.0


def test_a_baseline_over_the_threshold_leaves_no_hysteresis() -> None:
    rule = AlertPolicySpec(critical_margin=1.0).at(3.0, baseline=5.0)
    assert (rule.release, rule.critical_threshold) == (3.0, None)


@pytest.mark.parametrize(
    "values",
    [
        {"hysteresis": 1.0},
        {"min_duration_seconds": -0.1},
        {"critical_margin": 0},
        {"unknown": 1},
        {"gap_seconds": 0},
    ],
)
def test_values_out_of_bounds_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        AlertPolicySpec.model_validate(values)


def test_sinks_are_told_apart_by_type() -> None:
    adapter: TypeAdapter[list[SinkSpec]] = TypeAdapter(list[SinkSpec])
    sinks = adapter.validate_python([{"type": "jsonl", "path": "a.jsonl"}, {"type": "log"}])
    assert [type(sink) for sink in sinks] == [JsonlSinkSpec, LogSinkSpec]
    with pytest.raises(ValidationError, match="'jsonl', 'log'"):
        adapter.validate_python([{"type": "pigeon"}])


@pytest.mark.parametrize("model", [AlertPolicySpec, EventsSpec, JsonlSinkSpec, LogSinkSpec])
def test_every_field_is_described(model: type[AlertPolicySpec]) -> None:
    assert all(field.description for field in model.model_fields.values())
