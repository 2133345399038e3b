"""Plans of events and the people who act them out, without rendering."""

from __future__ import annotations

import numpy as np
import pytest

from streamad.errors import UsageError
from streamad.synthetic_scene.anomalies import ANOMALY_KINDS, AnomalyKind, Director, Planned, check_kinds, plan
from streamad.synthetic_scene.crowd import Crowd
from streamad.synthetic_scene.layout import sample_layout

DT = 0.08


def test_events_come_one_at_a_time_with_normal_gaps_of_varied_length() -> None:
    for seed in range(20):
        layout = sample_layout(seed, (640, 360))
        events = plan(layout, ANOMALY_KINDS, 90.0, np.random.default_rng(seed))
        assert sorted(event.kind for event in events) == sorted(ANOMALY_KINDS)
        edges = [0.0, *(t for e in events for t in (e.start, e.start + e.duration)), 90.0]
        gaps = np.diff(edges)[::2]
        assert gaps[0] >= 3.0
        assert (gaps[1:] >= 2.0 - 1e-9).all()
        assert np.ptp(gaps) > 0.2
        assert all(event.duration >= 3.0 for event in events)


def test_every_seed_has_room_for_all_events_in_75_seconds() -> None:
    for seed in range(60):
        layout = sample_layout(seed, (640, 360))
        assert len(plan(layout, ANOMALY_KINDS, 75.0, np.random.default_rng(seed))) == 5


def test_too_many_events_are_refused_with_the_time_they_need() -> None:
    layout = sample_layout(0, (640, 360))
    with pytest.raises(UsageError, match=r"do not fit into 20 s .* need (\d+) s") as refused:
        plan(layout, ANOMALY_KINDS, 20.0, np.random.default_rng(0))
    needed = int(str(refused.value).split("need ")[1].split()[0])
    assert len(plan(layout, ANOMALY_KINDS, needed, np.random.default_rng(0))) == 5


def test_all_go_at_the_pace_that_is_asked_for_and_otherwise_as_before() -> None:
    layout = sample_layout(3, (640, 360))
    usual = plan(layout, ANOMALY_KINDS, 140.0, np.random.default_rng(1))
    slow = plan(layout, ANOMALY_KINDS, 140.0, np.random.default_rng(1), (0.9, 1.2))
    assert [event.kind for event in slow] == [event.kind for event in usual]
    for event in slow:
        assert 0.9 <= event.pace / layout.pace <= 1.2
    assert max(event.pace for event in usual) > 2 * layout.pace


def test_unknown_kinds_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="'skater'"):
        check_kinds(["cart", "skater"])


@pytest.mark.parametrize("kind", ["cyclist", "cart", "runner", "against_flow"])
def test_a_passage_enters_view_at_its_time_and_keeps_its_speed(kind: AnomalyKind) -> None:
    layout = sample_layout(3, (640, 360))
    crowd = Crowd(layout, np.random.default_rng(1))
    pace = 1.4 if kind == "against_flow" else 3.5
    director = Director(layout, crowd, [Planned(kind, 15.0, 8.0, pace)], np.random.default_rng(2))
    first, last = layout.walkway.reach
    track = []
    for step in range(round(40 / DT)):
        director.step(step * DT)
        crowd.step(DT)
        for _, mover in director.subjects():
            track.append((step * DT, mover.s))
    times, places = np.array(track).T
    inside = times[(places > first) & (places < last)]
    assert inside[0] == pytest.approx(15.0, abs=0.2)
    speeds = np.diff(places) / np.diff(times)
    np.testing.assert_allclose(speeds, -pace if kind == "against_flow" else pace, rtol=1e-6)


def test_a_suitcase_is_anomalous_from_when_it_is_alone_until_it_is_fetched() -> None:
    layout = sample_layout(3, (640, 360))
    crowd = Crowd(layout, np.random.default_rng(1))
    director = Director(layout, crowd, [Planned("object_left", 15.0, 8.0, 1.3)], np.random.default_rng(2))
    alone, carried_by = [], []
    for step in range(round(-20 / DT), round(45 / DT)):
        director.step(step * DT)
        crowd.step(DT)
        carriers = [m for m in crowd.movers if m.luggage is not None]
        lying = [m for m in crowd.movers if m.role == "suitcase"]
        # It is in a hand or on the ground, never both and never doubled.
        assert len(carriers) + len(lying) <= 1
        carried_by += [m.identity for m in carriers]
        if director.subjects():
            alone.append(step * DT)
            assert len(lying) == 1
    assert alone[0] == pytest.approx(15.0, abs=1.0)
    assert alone[-1] - alone[0] == pytest.approx(8.0, abs=1.5)
    assert len(set(carried_by)) == 2, "the owner brings it, somebody else takes it"


def test_a_suitcase_that_nobody_fetches_stays() -> None:
    layout = sample_layout(3, (640, 360))
    crowd = Crowd(layout, np.random.default_rng(1))
    event = Planned("object_left", 10.0, 5.0, 1.3, removed=False)
    director = Director(layout, crowd, [event], np.random.default_rng(2))
    for step in range(round(-20 / DT), round(60 / DT)):
        director.step(step * DT)
        crowd.step(DT)
    assert [mover.role for _, mover in director.subjects()] == ["suitcase"]


def test_the_crowd_goes_one_way_on_the_walkway_at_walking_speed() -> None:
    for seed in (1, 8):
        layout = sample_layout(seed, (640, 360))
        crowd = Crowd(layout, np.random.default_rng(seed))
        speeds, present = [], []
        for step in range(round(100 / DT)):
            crowd.step(DT)
            if step * DT > 30:
                speeds += [m.speed for m in crowd.movers]
                first, last = layout.walkway.visible
                present.append(sum(first <= m.s <= last for m in crowd.movers))
                assert all(m.direction == 1 for m in crowd.movers)
                assert all(abs(m.v) <= layout.walkway.half_width for m in crowd.movers)
        assert np.mean(speeds) == pytest.approx(layout.pace, rel=0.25)
        assert max(speeds) < 1.75
        assert np.mean(present) == pytest.approx(layout.walkers, rel=0.6)
