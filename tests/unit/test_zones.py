"""Zones: which polygons are accepted, and which places of a picture they hold."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Polygon
from pydantic import TypeAdapter, ValidationError

from streamad.config import parse_config
from streamad.detectors.motion.descriptors import cell_boxes
from streamad.errors import ConfigError
from streamad.frame import LocationBoxes
from streamad.preprocessing.grid import PatchGrid
from streamad.zones import ZoneList, Zones, ZoneSpec, newly_watched, zones_json

LEFT = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
ZONES = TypeAdapter(ZoneList)
GRIDS = [cell_boxes((240, 320), (15, 20)), PatchGrid(250, 370).boxes, PatchGrid(240, 360).boxes.scaled((480, 720))]


def zone(polygon: object, **more: object) -> ZoneSpec:
    return ZoneSpec.model_validate({"name": "z", "polygon": polygon, **more})


@st.composite
def stars(draw: st.DrawFn) -> list[tuple[float, float]]:
    """Polygons whose corners are seen from one point in order, so that no sides cross; many are not convex."""
    corners = draw(st.lists(st.floats(0.15, 0.49), min_size=3, max_size=12))
    return [
        (0.5 + r * math.cos(2 * math.pi * k / len(corners)), 0.5 + r * math.sin(2 * math.pi * k / len(corners)))
        for k, r in enumerate(corners)
    ]


@settings(deadline=None, max_examples=60)
@given(stars(), st.sampled_from(GRIDS))
def test_a_place_is_in_a_zone_if_its_center_is(polygon: list[tuple[float, float]], boxes: LocationBoxes) -> None:
    (height, width), outline = boxes.shape, Polygon([*polygon, polygon[0]], closed=True)
    places = Zones([zone(polygon)]).places(boxes)
    for row, (top, bottom) in enumerate(boxes.rows):
        for col, (left, right) in enumerate(boxes.cols):
            center = ((left + right) / 2 / width, (top + bottom) / 2 / height)
            if outline.contains_point(center, radius=1e-9) == outline.contains_point(center, radius=-1e-9):
                assert (places.zone[row, col] == 0) == outline.contains_point(center)
                assert places.is_hidden[row, col] == (places.zone[row, col] < 0)


def test_a_large_polygon_covers_what_opencv_fills() -> None:
    polygon = [[0.1, 0.1], [0.9, 0.3], [0.6, 0.5], [0.8, 0.95], [0.2, 0.8]]
    filled = np.zeros((1200, 1600), np.uint8)
    cv2.fillPoly(filled, [np.round(np.array(polygon) * (1600, 1200)).astype(np.int32)], 1)
    boxes = cell_boxes((1200, 1600), (75, 100))
    share = filled.reshape(75, 16, 100, 16).mean(axis=(1, 3))
    is_in = Zones([zone(polygon)]).places(boxes).zone == 0
    assert is_in[share == 1].all()
    assert not is_in[share == 0].any()


@pytest.mark.parametrize(
    ("polygon", "message"),
    [
        ([[0, 0], [1, 1], [1, 0], [0, 1]], "its sides cross: the one from corner 1 and the one from corner 3"),
        ([[0, 0], [0.4, 0], [0.4, 0.4], [0.2, 0], [0, 0.4]], "its sides cross"),  # touches itself
        ([[0, 0], [0.5, 0], [0.2, 0]], "its sides cross"),  # goes back over itself
        ([[0, 0], [0.5, 0]], "3"),
        ([[0, 0], [0.3, 0.3], [0.3, 0.3], [0, 0.5]], "two corners are the same point"),
        ([[0, 0], [640, 0], [640, 480]], "0 to 1 (not pixels), got 640"),
        ([[0, 0], [0.5, 0], [0.2, -0.1]], "got -0.1"),
        ([[0, 0], [0.5, 0], [0.2, math.nan]], "got nan"),
        ([[0, 0], [0.001, 0], [0, 0.001]], "covers less than 0.01% of the picture"),
    ],
)
def test_what_is_no_area_is_refused(polygon: object, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        zone(polygon)
    assert message in str(caught.value)


def test_a_closed_ring_is_the_same_polygon() -> None:
    assert zone([*LEFT, LEFT[0]]) == zone(LEFT)


@pytest.mark.parametrize(
    ("zones", "message"),
    [
        ([{"name": "a", "type": "exclude", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]}], "leave nothing"),
        ([{"name": "a", "polygon": LEFT}, {"name": "b", "type": "exclude", "polygon": LEFT}], "leave nothing"),
        ([{"name": "a", "polygon": LEFT}, {"name": "b", "polygon": LEFT}], "zone 'b' covers nothing"),
        ([{"name": "a", "polygon": LEFT}, {"name": "a", "polygon": LEFT}], "two zones are named 'a'"),
        ([{"name": "a", "type": "exclude", "polygon": LEFT, "min_size": 0.1}], "only a zone of type include"),
        ([{"name": "a", "polygon": LEFT, "min_size": 1}], "less than 1"),
        ([{"name": "a", "polygon": LEFT, "min_size": float("nan")}], "less than 1"),
        ([{"name": "a", "polygon": LEFT, "min_duration_seconds": 601}], "expected 0 to 600 seconds, got 601"),
    ],
)
def test_zones_that_make_no_sense_together_are_refused(zones: object, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ZONES.validate_python(zones)
    assert message in str(caught.value)


def test_the_error_names_the_line_of_the_polygon() -> None:
    text = """\
model: any
cameras:
  - id: gate
    source: {type: file, path: a.mp4}
    zones:
      - name: street
        type: exclude
        polygon: [[0, 0], [1, 1], [1, 0], [0, 1]]
"""
    with pytest.raises(ConfigError) as caught:
        parse_config(text, name="camera.yaml")
    assert "camera.yaml:8: cameras.0.zones.0.polygon: its sides cross" in str(caught.value)


def test_only_things_of_the_wanted_size_count() -> None:
    boxes = cell_boxes((240, 320), (15, 20))
    zones = Zones([zone(LEFT, min_size=3 / 300)])
    moving = np.array([(1, 1), (2, 2), (3, 3), (8, 1), (8, 2), (9, 9), (9, 10), (9, 11)])
    # Three that touch at corners; two; and three of which two are outside the zone.
    assert zones.keep(boxes, moving).tolist() == [True] * 3 + [False] * 5


def test_what_stands_has_the_size_of_all_that_stands_with_it() -> None:
    boxes = cell_boxes((240, 320), (15, 20))
    zones = Zones([zone(LEFT, min_size=3 / 300)])
    locations = np.array([(1, 1), (1, 1), (8, 2), (9, 12)])
    settled = np.array([False, True, True, True])
    standing = np.zeros((15, 20), np.float32)
    standing[1, 1:4] = standing[8, 2] = standing[9, 12:16] = 30.0
    kept = zones.keep(boxes, locations, settled=settled, standing=standing)
    assert kept.tolist() == [False, True, False, False]  # one that moves; three, one, and four outside the zone


def test_exclude_wins_and_the_first_zone_names_the_place() -> None:
    boxes = cell_boxes((240, 320), (15, 20))
    zones = Zones(
        [
            zone([[0, 0], [0.2, 0], [0.2, 1], [0, 1]], type="exclude"),
            zone(LEFT).model_copy(update={"name": "left"}),
            zone([[0.3, 0], [0.7, 0], [0.7, 1], [0.3, 1]]).model_copy(update={"name": "middle"}),
        ]
    )
    assert [zones.name_at(boxes, (7, col)) for col in (1, 5, 8, 12, 17)] == [None, "left", "left", "middle", None]
    assert zones.places(boxes).is_hidden[7, [1, 5, 8, 12, 17]].tolist() == [True, False, False, False, True]


def test_a_zone_between_the_centers_is_reported() -> None:
    boxes = cell_boxes((240, 320), (15, 20))
    thin = zone([[0.5, 0], [0.51, 0], [0.51, 1], [0.5, 1]], type="exclude")
    assert "zone z holds the center of none of the 15×20 places of the picture" in str(Zones([thin]).problem(boxes))
    only = thin.model_copy(update={"type": "include"})
    assert "nothing can raise an alert" in str(Zones([only]).problem(boxes))
    assert Zones([zone(LEFT)]).problem(boxes) is None


def test_less_that_counts_is_no_news() -> None:
    left, right = zone(LEFT, type="exclude"), zone([[0.5, 0], [1, 0], [1, 1], [0.5, 1]])
    assert newly_watched([], [left]) == 0
    assert newly_watched([left], []) == pytest.approx(0.5)
    assert newly_watched([left], [right]) == 0  # the same in other words
    assert newly_watched([right], [right.model_copy(update={"min_size": 0.1})]) == 0
    assert newly_watched([right.model_copy(update={"min_duration_seconds": 2}), left], [right]) == pytest.approx(0.5)


def test_json_gives_the_zones_back() -> None:
    zones = (zone(LEFT, min_size=0.1), zone(LEFT, type="exclude"))
    assert tuple(ZoneSpec.model_validate(one) for one in zones_json(zones)) == zones
