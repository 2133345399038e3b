"""Camera and walkway geometry, and what every seed must provide."""

from __future__ import annotations

import numpy as np
import pytest

from streamad.synthetic_scene.layout import SUPERSAMPLING, sample_layout

SEEDS = range(40)


@pytest.mark.parametrize("seed", [0, 3, 7])
def test_ground_seen_at_a_pixel_projects_back_to_it(seed: int) -> None:
    camera = sample_layout(seed, (640, 360)).camera
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, camera.width, 200)
    y = rng.uniform(camera.height * 0.4, camera.height, 200)
    world_x, world_y, hits = camera.ground_of(x, y)
    assert hits.all()
    pixels, depth = camera.project(np.stack([world_x, world_y, np.zeros_like(world_x)], axis=1))
    assert (depth > 0).all()
    np.testing.assert_allclose(pixels, np.stack([x, y], axis=1), atol=1e-6)


def test_the_camera_looks_down_and_sees_near_things_lower_and_larger() -> None:
    camera = sample_layout(3, (640, 360)).camera
    points = np.array([[0, 10, 0], [0, 20, 0], [0, 10, 1.7], [0, 20, 1.7]], dtype=np.float64)
    (near, far, near_head, far_head), depth = camera.project(points)
    assert near[1] > far[1]
    assert near[1] - near_head[1] > far[1] - far_head[1] > 0
    assert depth[1] > depth[0] > 0


@pytest.mark.parametrize("seed", [0, 5])
def test_walkway_coordinates_invert_world(seed: int) -> None:
    walkway = sample_layout(seed, (640, 360)).walkway
    for s, v in [(0.0, 0.0), (4.5, -1.2), (-7.0, 2.0)]:
        x, y = walkway.world(s, v)
        back_s, back_v = walkway.coordinates(np.array(x), np.array(y))
        assert (float(back_s), float(back_v)) == pytest.approx((s, v))


@pytest.mark.parametrize("size", [(640, 360), (360, 240)])
def test_every_seed_gives_walkers_of_one_to_three_cells_and_a_walkway_across_the_picture(
    size: tuple[int, int],
) -> None:
    for seed in SEEDS:
        layout = sample_layout(seed, size)
        camera, walkway = layout.camera, layout.walkway
        assert (camera.width, camera.height) == (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING)
        first, last = walkway.visible
        assert 12 < last - first < 24
        for v in (-walkway.half_width, walkway.half_width):
            for s in np.linspace(first + 1, last - 1, 9):
                x, y = walkway.world(float(s), v)
                (foot, head), _ = camera.project(np.array([[x, y, 0.0], [x, y, 1.7]]))
                inside = 0 <= foot[0] < camera.width and 0 <= foot[1] < camera.height
                if inside:
                    tall = (foot[1] - head[1]) * 360 / camera.height
                    assert 20 < tall < 95, (seed, s, v)


def test_seeds_differ_in_geometry_flow_light_and_crowd() -> None:
    layouts = [sample_layout(seed, (640, 360)) for seed in SEEDS]
    assert len({layout.camera for layout in layouts}) == len(layouts)
    assert {layout.walkway.forward for layout in layouts} == {-1, 1}
    assert len({layout.light.kind for layout in layouts}) == 3
    assert len({layout.look.backdrop for layout in layouts}) == 4
    assert np.ptp([layout.walkers for layout in layouts]) > 3


def test_the_same_seed_gives_the_same_layout() -> None:
    assert sample_layout(11, (640, 360)) == sample_layout(11, (640, 360))
