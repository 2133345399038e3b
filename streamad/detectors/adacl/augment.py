"""Synthetic anomalies: what ADACL learns to separate from normal patches.

The four spatial kinds are the paper's; parameters that it does not state are chosen here. The temporal kinds are an
extension: they need the patch's history as channels and, like the spatial ones, are made from normal video only.

All functions take and return (n, channels, side, side) float32; channel 0 is the newest frame.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import permutations

import cv2
import numpy as np
import numpy.typing as npt

from streamad.errors import UsageError

Patches = npt.NDArray[np.float32]
Rng = np.random.Generator
Interval = tuple[float, float]
Augmentation = Callable[[Patches, Rng], Patches]

AREA: Interval = (0.02, 0.15)
SHARE: Interval = (0.3, 0.7)

_SHUFFLES = np.array([p for p in permutations(range(4)) if p != (0, 1, 2, 3)])


def cut_paste(patches: Patches, rng: Rng, area: Interval = AREA) -> Patches:
    """Copy a random rectangle of each patch to another place in it.

    Source: paper. Not stated there: the area as a share of the patch, by default U(.02, .15), and the aspect,
    log-U(.3, 3.3).
    """
    least, most = area
    side = patches.shape[-1]
    out = patches.copy()
    for k in range(len(patches)):
        size = rng.uniform(least, most) * side * side
        aspect = np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
        height = int(np.clip(round((size * aspect) ** 0.5), 2, side - 1))
        width = int(np.clip(round((size / aspect) ** 0.5), 2, side - 1))
        y0, y1 = rng.integers(0, side - height + 1, 2)
        x0, x1 = rng.integers(0, side - width + 1, 2)
        if (y0, x0) == (y1, x1):  # it must be another place
            places = side - width + 1  # at least 2
            x1 = (x1 + 1 + (max(1, width // 2) - 1) % (places - 1)) % places
        out[k, :, y1 : y1 + height, x1 : x1 + width] = patches[k, :, y0 : y0 + height, x0 : x0 + width]
    return out


def puzzle(patches: Patches, rng: Rng) -> Patches:
    """Shuffle the four quarters of each patch, never leaving them all in place.

    Source: paper. Not stated there: the identity is excluded, and odd sides are reflect-padded.
    """
    side = patches.shape[-1]
    padded = np.pad(patches, ((0, 0), (0, 0), (0, side % 2), (0, side % 2)), mode="reflect")
    half = padded.shape[-1] // 2
    corners = ((0, 0), (0, half), (half, 0), (half, half))
    quarters = np.stack([padded[..., y : y + half, x : x + half] for y, x in corners])  # (4, n, c, h, h)
    order = _SHUFFLES[rng.integers(len(_SHUFFLES), size=len(patches))]  # (n, 4)
    out = np.empty_like(padded)
    rows = np.arange(len(patches))
    for place, (y, x) in enumerate(corners):
        out[..., y : y + half, x : x + half] = quarters[order[:, place], rows]
    return np.ascontiguousarray(out[..., :side, :side])


def rotate(patches: Patches, rng: Rng) -> Patches:
    """Rotate each patch by 90° or 270° (source: paper)."""
    quarter = np.rot90(patches, 1, axes=(-2, -1))
    three = np.rot90(patches, 3, axes=(-2, -1))
    return np.where(rng.random(len(patches))[:, None, None, None] < 0.5, quarter, three)


def mix_up(patches: Patches, rng: Rng, share: Interval = SHARE) -> Patches:
    """Return a·patch + (1 − a)·rotated patch (source: paper); by default a ~ U(.3, .7), which it does not state."""
    a = rng.uniform(*share, len(patches)).astype(np.float32)[:, None, None, None]
    return a * patches + (1 - a) * rotate(patches, rng)


def mirror(patches: Patches, rng: Rng) -> Patches:
    """Mirror each patch left to right: an extension, for objects whose left and right differ, such as characters."""
    del rng
    return patches[..., ::-1]


def upside_down(patches: Patches, rng: Rng) -> Patches:
    """Mirror each patch top to bottom: an extension, for objects that stand upright."""
    del rng
    return patches[..., ::-1, :]


def stretch(patches: Patches, rng: Rng) -> Patches:
    """Stretch each patch along one axis by a factor of 1.35 to 2, or shrink it by as much, about its center.

    An extension, for objects with fixed proportions. The background is continued from the edge.
    """
    side = patches.shape[-1]
    middle = (side - 1) / 2
    factors = np.exp(rng.uniform(np.log(1.35), np.log(2.0), len(patches)) * rng.choice([-1, 1], len(patches)))
    along = rng.integers(2, size=len(patches))
    out = np.empty_like(patches)
    for k, (factor, axis) in enumerate(zip(factors, along, strict=True)):
        x, y = (1 / factor, 1.0) if axis == 0 else (1.0, 1 / factor)
        back = np.array([[x, 0, middle * (1 - x)], [0, y, middle * (1 - y)]])
        for channel, picture in enumerate(patches[k]):
            out[k, channel] = cv2.warpAffine(
                np.ascontiguousarray(picture),
                back,
                (side, side),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
    return out


SPATIAL: dict[str, Augmentation] = {
    "cut_paste": cut_paste,
    "puzzle": puzzle,
    "rotate": rotate,
    "mix_up": mix_up,
}
"""The paper's four kinds."""

MIRRORED: dict[str, Augmentation] = {"mirror": mirror, "upside_down": upside_down, "stretch": stretch}
"""Further kinds for single pictures, not in the paper."""

PICTURES = {**SPATIAL, **MIRRORED}
"""All kinds that need no history."""

WHOLE = ("rotate", "mirror", "upside_down", "stretch")
"""Kinds that move every pixel and leave the picture whole: they turn a symmetric object into another normal one."""

TEMPORAL = ("speed", "reverse", "freeze")
"""Kinds for patches with a history, not in the paper. `speed`: the same place at 1.5 or 2 times the speed (channels
taken further apart). `reverse`: the history backwards, which is movement against the flow if the flow has one
direction. `freeze`: the newest frame in all channels, which is something that appeared and stands still."""

SPEED_FACTORS = (1.5, 2.0)
"""Speed-up of a patch by `speed`: a runner or a slow bicycle among walkers, and twice walking speed."""


REFERENCES, QUERIES = 1000, 200
"""Number of pictures that `distinct_kinds` compares with, and of those that it compares."""

TRIES = 6
"""Draws of a synthetic anomaly before one that changes little is accepted."""


def lags_needed(lags: tuple[int, ...], kinds: tuple[str, ...]) -> tuple[int, ...]:
    """Return all ages, in frames, that training needs of a patch so that every kind can be made from it."""
    wanted = set(lags)
    if "speed" in kinds:
        for factor in SPEED_FACTORS:
            wanted |= {round(lag * factor) for lag in lags}
    return tuple(sorted(wanted))


def distinct_kinds(pictures: npt.NDArray[np.uint8], kinds: tuple[str, ...], least: float, rng: Rng) -> tuple[str, ...]:
    """Drop the kinds of `WHOLE` whose anomalies are as close to normal pictures as normal pictures are to each other.

    For each kind: the median distance from an altered picture to its nearest among `REFERENCES` normal ones, relative
    to the same for unaltered pictures. An eight upside down is an eight (1.2), a seven is not (1.6). Only normal data
    are used.

    Args:
        pictures: (n, channels, side, side) uint8, normal.
        kinds: Names to choose from.
        least: Ratio from which a kind is kept; 0 keeps all.
        rng: Draws the pictures that are compared.

    Returns:
        The remaining kinds in their order; all if none would remain or if there are fewer than 40 pictures.
    """
    if least <= 0 or len(pictures) < 40:
        return kinds
    drawn = pictures[rng.permutation(len(pictures))[: REFERENCES + QUERIES]].astype(np.float32)
    queries = drawn[: min(QUERIES, len(drawn) // 2)]
    normal = drawn[len(queries) :].reshape(len(drawn) - len(queries), -1)

    def nearest(spoiled: Patches) -> float:
        flat = spoiled.reshape(len(spoiled), -1)
        squares = (flat**2).sum(axis=1)[:, None] + (normal**2).sum(axis=1)[None] - 2 * flat @ normal.T
        return float(np.median(np.sqrt(np.maximum(squares.min(axis=1), 0))))

    unspoiled = nearest(queries)

    def stays(kind: str) -> bool:
        spoiled = PICTURES[kind](queries, rng)
        return kind not in WHOLE or nearest(np.ascontiguousarray(spoiled)) >= least * unspoiled

    left = tuple(kind for kind in kinds if stays(kind))
    return left or kinds


def create_anomalies(
    stacks: npt.NDArray[np.uint8],
    lags: tuple[int, ...],
    stack_lags: tuple[int, ...],
    kinds: tuple[str, ...],
    rng: Rng,
    noise: float,
    least_change: float = 0.0,
    twice: float = 0.0,
    area: Interval = AREA,
    share: Interval = SHARE,
) -> Patches:
    """Make one synthetic anomaly for every normal patch, of a kind drawn uniformly from `kinds`.

    Args:
        stacks: (n, len(stack_lags), side, side) uint8 history of each patch.
        lags: Ages of the network's channels, in frames.
        stack_lags: Ages of the stacks' channels, in frames; see `lags_needed`.
        kinds: Names from `SPATIAL`, `MIRRORED` and `TEMPORAL`.
        rng: Source of all randomness.
        noise: Standard deviation of the sensor noise added to each channel, in gray levels. Without it, `freeze` could
            be recognized by its identical channels.
        least_change: An anomaly whose mean squared difference from its patch is below this share of the patch's
            variance is drawn again, up to `TRIES` times.
        twice: Share of anomalies that are altered a second time, by a kind that needs no history.
        area: Share of the patch for `cut_paste`.
        share: Share of the patch in `mix_up`.

    Returns:
        (n, len(lags), side, side) float32, gray levels.
    """
    where = {lag: k for k, lag in enumerate(stack_lags)}
    pictures: dict[str, Augmentation] = {
        **PICTURES, "cut_paste": partial(cut_paste, area=area), "mix_up": partial(mix_up, share=share)
    }  # fmt: skip
    again_by = [pictures[kind] for kind in kinds if kind in pictures]
    newest = stacks[:, [where[lag] for lag in lags]].astype(np.float32)
    out = newest.copy()
    rows = np.arange(len(stacks))
    for _ in range(TRIES if least_change > 0 else 1):
        created = _create(stacks[rows], newest[rows], lags, where, kinds, pictures, rng)
        if twice > 0 and again_by:
            again = np.flatnonzero(rng.random(len(rows)) < twice)
            created[again] = _spoil(created[again], again_by, rng)
        out[rows] = created
        if least_change > 0:
            change = np.square(out[rows] - newest[rows]).mean(axis=(1, 2, 3))
            rows = rows[change < least_change * newest[rows].var(axis=(1, 2, 3))]
        if not len(rows):
            break
    return add_noise(out, rng, noise)


def _create(
    stacks: npt.NDArray[np.uint8],
    newest: Patches,
    lags: tuple[int, ...],
    where: dict[int, int],
    kinds: tuple[str, ...],
    pictures: dict[str, Augmentation],
    rng: Rng,
) -> Patches:
    out = newest.copy()
    drawn = rng.integers(len(kinds), size=len(stacks))
    for number, kind in enumerate(kinds):
        rows = np.flatnonzero(drawn == number)
        if not len(rows):
            continue
        if kind in pictures:
            out[rows] = pictures[kind](out[rows], rng)
        elif kind == "reverse":
            out[rows] = out[rows][:, ::-1]
        elif kind == "freeze":
            out[rows] = out[rows][:, :1]
        elif kind == "speed":
            factors = rng.integers(len(SPEED_FACTORS), size=len(rows))
            for f, factor in enumerate(SPEED_FACTORS):
                chosen = rows[factors == f]
                out[chosen] = stacks[chosen][:, [where[round(lag * factor)] for lag in lags]]
        else:
            raise UsageError(
                f"there is no kind of synthetic anomaly {kind!r}",
                hint=f"known: {', '.join((*SPATIAL, *MIRRORED, *TEMPORAL))}",
            )
    return out


def _spoil(patches: Patches, changes: list[Augmentation], rng: Rng) -> Patches:
    """Apply one of the changes, drawn for each patch."""
    out = patches.copy()
    drawn = rng.integers(len(changes), size=len(patches)) if len(changes) > 1 else np.zeros(len(patches), int)
    for number, change in enumerate(changes):
        rows = np.flatnonzero(drawn == number)
        out[rows] = change(patches[rows], rng)
    return out


def add_noise(patches: Patches, rng: Rng, noise: float) -> Patches:
    """Add Gaussian noise of `noise` gray levels to every channel."""
    if noise > 0:
        patches = patches + noise * rng.standard_normal(patches.shape, dtype=np.float32)
    return patches
