"""Bodies: limbs keep their length, feet stay on the ground and do not slide."""

from __future__ import annotations

import math

import numpy as np
import pytest

from streamad.synthetic_scene import body
from streamad.synthetic_scene.body import Gait, carried, dress, riding, stride_length
from streamad.synthetic_scene.vehicles import make_cart, make_cyclist, make_suitcase

PHASES = np.linspace(0, 2 * math.pi, 48, endpoint=False)


def _person() -> body.Person:
    return dress(np.random.default_rng(4))


@pytest.mark.parametrize("running", [0.0, 1.0])
def test_limbs_keep_their_length(running: float) -> None:
    person = _person()
    stride = stride_length(person, 3.3 if running else 1.3, running)
    for phase in PHASES:
        points = carried(person, Gait(float(phase), stride, running))
        for hip, knee, ankle in ((body.HIP_L, body.KNEE_L, body.ANKLE_L), (body.HIP_R, body.KNEE_R, body.ANKLE_R)):
            # The feet are set a little closer together than the hips; that is all the slack there is.
            assert np.linalg.norm(points[hip] - points[knee]) == pytest.approx(body.THIGH * person.height, rel=0.01)
            assert np.linalg.norm(points[knee] - points[ankle]) == pytest.approx(body.SHIN * person.height, rel=0.01)


def test_a_walker_always_has_a_foot_on_the_ground_and_none_below_it() -> None:
    person = _person()
    stride = stride_length(person, 1.3, 0.0)
    for phase in PHASES:
        points = carried(person, Gait(float(phase), stride))
        soles = np.concatenate(
            [
                points[[body.ANKLE_L, body.ANKLE_R], 2] - body.ANKLE * person.height,
                points[[body.TOE_L, body.TOE_R], 2] - 0.012 * person.height,
            ]
        )
        assert soles.min() == pytest.approx(0.0, abs=1e-9)


def test_the_standing_foot_stays_where_it_is() -> None:
    person = _person()
    stride = stride_length(person, 1.3, 0.0)
    # While the left thigh swings back (phase pi/2 .. 3 pi/2) the left foot carries the body.
    phases = np.linspace(0.6 * math.pi, 1.35 * math.pi, 30)
    ahead = np.array([carried(person, Gait(float(p), stride))[body.ANKLE_L, 0] for p in phases])
    body_moved = (phases - phases[0]) / (2 * math.pi) * stride
    on_ground = ahead + body_moved
    assert np.ptp(on_ground) < 0.3 * body_moved[-1]


def test_runner_swings_more_and_leans_more_than_a_walker() -> None:
    person = _person()

    def spread_and_lean(speed: float, running: float) -> tuple[float, float]:
        poses = [carried(person, Gait(float(p), stride_length(person, speed, running), running)) for p in PHASES]
        feet = max(abs(p[body.ANKLE_L, 0] - p[body.ANKLE_R, 0]) for p in poses)
        lean = float(np.mean([p[body.NECK, 0] - p[body.PELVIS, 0] for p in poses]))
        return float(feet), lean

    walk, run = spread_and_lean(1.3, 0.0), spread_and_lean(3.3, 1.0)
    assert run[0] > 1.15 * walk[0]
    assert run[1] > 2 * walk[1]


def test_bending_brings_the_hands_down() -> None:
    person = _person()
    upright, bent = (carried(person, Gait(0.0, 0.0, bend=bend)) for bend in (0.0, 1.0))
    assert upright[body.CROWN, 2] > 0.9 * person.height
    assert bent[body.HAND_R, 2] < 0.6 * upright[body.HAND_R, 2]
    assert bent[body.CROWN, 2] < 0.75 * upright[body.CROWN, 2]


def test_rider_sits_holds_the_bar_and_pedals() -> None:
    person = _person()
    saddle, bottom = (-0.24, 0.0, 0.95), (-0.06, 0.0, 0.28)
    grips = ((0.42, 0.24, 1.04), (0.42, -0.24, 1.04))
    toes = []
    for crank in PHASES:
        points = riding(person, float(crank), saddle, bottom, grips)
        np.testing.assert_allclose(points[body.HAND_L], grips[0])
        np.testing.assert_allclose(points[body.HAND_R], grips[1])
        toes.append(points[body.TOE_L, [0, 2]])
    center = np.mean(toes, axis=0)
    # The foot goes round a circle of the crank's length.
    np.testing.assert_allclose(np.linalg.norm(np.array(toes) - center, axis=1), 0.17, atol=1e-6)


def test_vehicles_have_the_size_they_say() -> None:
    rng = np.random.default_rng(0)
    cart, case, cyclist = make_cart(rng), make_suitcase(rng, (150, 150, 150)), make_cyclist(rng)
    assert np.ptp(cart.body[:, 0]) == pytest.approx(2.4, abs=0.1)
    assert np.ptp(cart.body[:, 1]) == pytest.approx(1.2, abs=0.1)
    assert 1.8 < cart.body[:, 2].max() < 1.95
    assert np.ptp(case.body[:, 0]) == pytest.approx(0.6)
    points = cyclist.points(0.0)
    assert points[:, 2].min() == pytest.approx(0.02, abs=0.02)
    assert len(points) > max(index for part in cyclist.recipe.parts for index in part.points)
