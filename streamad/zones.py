"""Zones: the parts of a camera's picture that count, and those that do not.

Coordinates are relative to the picture, so zones hold for every resolution of a camera. A place of the picture (a cell,
a patch, a position of an anomaly map) belongs to a zone if its center lies in the zone's polygon.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, pairwise
from typing import Annotated, Any, Literal, Self

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from streamad.frame import LocationBoxes

ZONE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"

FINE = 100
"""Rows and columns of the places on which zones are compared where no size of the picture is known."""

_MIN_AREA = 1e-4
"""Smallest area of a polygon, as a share of the picture: 1 % of its width by 1 % of its height."""
_MAX_SECONDS = 600
"""Longest `min_duration_seconds`."""


def _share(value: float) -> float:
    if not 0 <= value <= 1:  # also NaN
        raise ValueError(f"expected a share of the picture's width or height, 0 to 1 (not pixels), got {value:g}")
    return value


def _size(value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(
            f"expected a share of the picture from 0 to less than 1 (100 %), got {value:g} ({100 * value:g} %)"
        )
    return value


def _duration(value: float) -> float:
    if not 0 <= value <= _MAX_SECONDS:
        raise ValueError(f"expected 0 to {_MAX_SECONDS} seconds, got {value:g}")
    return value


Share = Annotated[float, AfterValidator(_share), Field(json_schema_extra={"minimum": 0, "maximum": 1})]
Point = tuple[Share, Share]


class ZoneSpec(BaseModel):
    """A part of the picture that counts, or one that does not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=ZONE_NAME, max_length=64, description="name of the zone, in events and on the page")
    type: Literal["include", "exclude"] = Field(
        "include",
        description="include: with one such zone or more, only places in them count; exclude: places in it never count",
    )
    polygon: tuple[Point, ...] = Field(
        min_length=3,
        max_length=64,
        description="its corners as [x, y] in shares of the picture's width and height, 0 to 1, from the left and the "
        "top; its sides must not cross",
    )
    min_size: Annotated[float, AfterValidator(_size)] = Field(
        0.0,
        json_schema_extra={"minimum": 0, "exclusiveMaximum": 1},
        description="share of the picture that something moving must cover to count; only for detectors of moving "
        "cells or patches",
    )
    min_duration_seconds: Annotated[float, AfterValidator(_duration)] = Field(
        0.0,
        json_schema_extra={"minimum": 0, "maximum": _MAX_SECONDS},
        description="how long something must have been unusual in the zone before it counts; that of `rules` follows",
    )

    @field_validator("polygon")
    @classmethod
    def _simple(cls, polygon: tuple[Point, ...]) -> tuple[Point, ...]:
        corners = polygon[:-1] if len(polygon) > 3 and polygon[0] == polygon[-1] else polygon  # closed, as in GeoJSON
        if len(set(corners)) < len(corners):
            raise ValueError("two corners are the same point")
        if (crossing := _crossing(corners)) is not None:
            first, second = crossing
            raise ValueError(
                f"its sides cross: the one from corner {first + 1} and the one from corner {second + 1}; give the "
                "corners in order around the zone"
            )
        if _area(corners) < _MIN_AREA:
            raise ValueError(f"it covers less than {_MIN_AREA:.2%} of the picture")
        return corners

    @field_validator("min_size", "min_duration_seconds")
    @classmethod
    def _of_included(cls, value: float, info: ValidationInfo) -> float:
        if value and info.data.get("type") == "exclude":
            raise ValueError("only a zone of type include has it")
        return value


def _usable(zones: tuple[ZoneSpec, ...]) -> tuple[ZoneSpec, ...]:
    """Check that zones have different names, and leave something of the picture."""
    names = [zone.name for zone in zones]
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two zones are named {doubled!r}")
    if zones:
        places = Zones(zones).places(_fine_boxes())
        if places.is_hidden.all():
            raise ValueError("the zones leave nothing of the picture: exclude zones cover all that counts")
        for number, zone in enumerate(zones):
            if zone.type == "include" and not (places.zone == number).any():
                raise ValueError(f"zone {zone.name!r} covers nothing that other zones leave to it")
    return zones


ZoneList = Annotated[tuple[ZoneSpec, ...], Field(max_length=32), AfterValidator(_usable)]
"""The zones of one camera."""


@dataclass(frozen=True, slots=True)
class Places:
    """What zones say of the places of one grid, all arrays (rows, cols).

    Attributes:
        is_hidden: Whether a place does not count.
        zone: Number of the include zone of a place, the first that holds it; -1 if there is none.
        min_size: See `ZoneSpec`.
        min_duration: See `ZoneSpec`, seconds.
    """

    is_hidden: npt.NDArray[np.bool_]
    zone: npt.NDArray[np.intp]
    min_size: npt.NDArray[np.float64]
    min_duration: npt.NDArray[np.float64]


class Zones:
    """The zones of one camera, applied to places of its picture.

    Args:
        specs: At least one zone.
    """

    def __init__(self, specs: Sequence[ZoneSpec]) -> None:
        self.specs = tuple(specs)
        self.has_sizes = any(zone.min_size for zone in specs)
        self.has_durations = any(zone.min_duration_seconds for zone in specs)

    @classmethod
    def of(cls, specs: Sequence[ZoneSpec]) -> Self | None:
        """Return the zones; None if there are none, so that everything counts."""
        return cls(specs) if specs else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Zones) and self.specs == other.specs

    def __hash__(self) -> int:
        return hash(self.specs)

    def places(self, boxes: LocationBoxes) -> Places:
        """Return what the zones say of the places of a grid."""
        return _places(self.specs, boxes)

    def keep(
        self,
        boxes: LocationBoxes,
        locations: npt.NDArray[np.intp],
        *,
        settled: npt.NDArray[np.bool_] | None = None,
        standing: npt.NDArray[np.float32] | None = None,
    ) -> npt.NDArray[np.bool_]:
        """Return which places count, (n,) bool.

        Places that touch, at corners too, are one thing; its size is the share of all places that it covers.

        Args:
            boxes: The grid's places on the frame.
            locations: (n, 2) row and column of each place in which something moves or stands.
            settled: (n,) which of them are of what stands. Default: none.
            standing: (rows, cols) more than 0 where something stands. Default: nowhere.
        """
        places = self.places(boxes)
        rows, cols = locations.T
        kept = ~places.is_hidden[rows, cols]
        if not self.has_sizes or not kept.any():
            return np.asarray(kept)
        least, moves = places.min_size[rows, cols], np.ones(len(kept), np.bool_) if settled is None else ~settled
        moving = np.zeros(boxes.grid, np.bool_)
        moving[rows[kept & moves], cols[kept & moves]] = True
        is_large = _sizes(moving)[rows, cols] >= least
        if standing is not None:
            is_large = np.where(moves, is_large, _sizes((standing > 0) & ~places.is_hidden)[rows, cols] >= least)
        return np.asarray(kept & is_large)

    def name_at(self, boxes: LocationBoxes, location: tuple[int, int]) -> str | None:
        """Return the name of the include zone of a place; None if there is none."""
        number = int(self.places(boxes).zone[location])
        return None if number < 0 else self.specs[number].name

    def problem(self, boxes: LocationBoxes) -> str | None:
        """Return why zones are useless on a grid, as a sentence; None if they are not."""
        rows, cols = boxes.grid
        centers = _centers(boxes)
        empty = [zone.name for zone in self.specs if not _inside(zone.polygon, *centers).any()]
        if self.places(boxes).is_hidden.all():
            return f"the zones leave none of the {rows}×{cols} places of the picture, so nothing can raise an alert"
        if not empty:
            return None
        return (
            f"zone {', '.join(empty)} holds the center of none of the {rows}×{cols} places of the picture: enlarge it"
        )


def _sizes(is_there: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return for each place the share of all places that the thing in it covers; 0 where nothing is."""
    _, thing = cv2.connectedComponents(is_there.astype(np.uint8), connectivity=8)
    share = np.bincount(thing.ravel()) / thing.size
    share[0] = 0.0
    return np.asarray(share[thing])


def zones_sha256(specs: Sequence[ZoneSpec]) -> str:
    """SHA-256 of zones, 64 hexadecimal digits."""
    text = json.dumps([zone.model_dump(mode="json") for zone in specs], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def newly_watched(before: Sequence[ZoneSpec], now: Sequence[ZoneSpec]) -> float:
    """Return the share of the picture in which `now` lets more count than `before` did, 0..1.

    A threshold that was set with the zones `before` holds with the zones `now` if this is 0: scores can only be lower.
    """
    boxes = _fine_boxes()
    old, new = _places(tuple(before), boxes), _places(tuple(now), boxes)
    is_more = ~new.is_hidden & (old.is_hidden | (old.min_size > new.min_size) | (old.min_duration > new.min_duration))
    return float(is_more.mean())


@lru_cache(maxsize=256)
def _places(specs: tuple[ZoneSpec, ...], boxes: LocationBoxes) -> Places:
    xs, ys = _centers(boxes)
    zone = np.full(boxes.grid, -1, np.intp)
    is_hidden = np.zeros(boxes.grid, np.bool_)
    size, duration = np.zeros(boxes.grid), np.zeros(boxes.grid)
    for number, spec in enumerate(specs):
        is_in = _inside(spec.polygon, xs, ys)
        if spec.type == "exclude":
            is_hidden |= is_in
            continue
        first = is_in & (zone < 0)
        zone[first], size[first], duration[first] = number, spec.min_size, spec.min_duration_seconds
    if any(spec.type == "include" for spec in specs):
        is_hidden |= zone < 0
    zone[is_hidden] = -1
    return Places(is_hidden, zone, size, duration)


def _centers(boxes: LocationBoxes) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return x and y of the center of each place, relative to the frame, (1, cols) and (rows, 1)."""
    height, width = boxes.shape
    xs = np.array([(left + right) / 2 / width for left, right in boxes.cols])
    ys = np.array([(top + bottom) / 2 / height for top, bottom in boxes.rows])
    return xs[None, :], ys[:, None]


def _inside(
    polygon: tuple[Point, ...], xs: npt.NDArray[np.float64], ys: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Return which points lie in a polygon: a ray from them to the right crosses its sides an odd number of times."""
    is_in = np.zeros(np.broadcast_shapes(xs.shape, ys.shape), np.bool_)
    for (x0, y0), (x1, y1) in pairwise((*polygon, polygon[0])):
        if y0 != y1:
            is_in ^= ((y0 > ys) != (y1 > ys)) & (xs < x0 + (ys - y0) * (x1 - x0) / (y1 - y0))
    return is_in


@lru_cache(maxsize=1)
def _fine_boxes() -> LocationBoxes:
    lines = range(FINE + 1)
    return LocationBoxes.between((FINE, FINE), lines, lines)


def _area(polygon: Sequence[Point]) -> float:
    return abs(math.fsum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise((*polygon, polygon[0])))) / 2


def _crossing(polygon: Sequence[Point]) -> tuple[int, int] | None:
    """Return the numbers of two sides that cross, touch or overlap without being neighbors; None if none do."""
    sides = list(pairwise((*polygon, polygon[0])))
    for (i, one), (j, other) in combinations(enumerate(sides), 2):
        if j == i + 1 or (i == 0 and j == len(sides) - 1):
            shared = one[1] if j == i + 1 else one[0]
            ends = (one[0], other[1]) if j == i + 1 else (one[1], other[0])
            if _turn(ends[0], shared, ends[1]) == 0 and _is_same_way(shared, *ends):
                return i, j  # goes back over itself
        elif _meet(*one, *other):
            return i, j
    return None


def _turn(a: Point, b: Point, c: Point) -> int:
    """Return 1, 0 or -1: on which side of the line from a to b c lies."""
    value = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return (value > 1e-12) - (value < -1e-12)


def _is_same_way(origin: Point, a: Point, b: Point) -> bool:
    return (a[0] - origin[0]) * (b[0] - origin[0]) + (a[1] - origin[1]) * (b[1] - origin[1]) > 0


def _meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the segments ab and cd have a point in common."""
    abc, abd, cda, cdb = _turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b)
    if abc != abd and cda != cdb:
        return True
    return any(
        turn == 0 and _is_between(p, q, r)
        for turn, p, q, r in ((abc, a, b, c), (abd, a, b, d), (cda, c, d, a), (cdb, c, d, b))
    )


def _is_between(a: Point, b: Point, c: Point) -> bool:
    """Whether c, on the line through a and b, lies between them."""
    return all(min(p, q) <= r <= max(p, q) for p, q, r in zip(a, b, c, strict=True))


def zones_json(specs: Sequence[ZoneSpec]) -> list[dict[str, Any]]:
    """Return zones as JSON types, in the form of the configuration, without defaults."""
    return [zone.model_dump(mode="json", exclude_defaults=True) | {"type": zone.type} for zone in specs]
