"""Created anomalies: what ADACL learns to tell from normal cells.

The four spatial kinds are the paper's; their parameters are read where it is silent. The temporal kinds are ours:
they need the cell's history as channels and are made from normal video alone, as the spatial ones are.

All functions take and return (n, channels, side, side) float32; channel 0 is the newest frame.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import numpy.typing as npt

Cells = npt.NDArray[np.float32]
Rng = np.random.Generator
Augmentation = Callable[[Cells, Rng], Cells]

_SHUFFLES = np.array([p for p in permutations(range(4)) if p != (0, 1, 2, 3)])


def cut_paste(cells: Cells, rng: Rng) -> Cells:
    """Copy a random rectangle of each cell to another place of it.

    Source: paper; area U(.02, .15) of the cell, aspect log-U(.3, 3.3): our choice.
    """
    side = cells.shape[-1]
    out = cells.copy()
    for k in range(len(cells)):
        area = rng.uniform(0.02, 0.15) * side * side
        aspect = np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
        height = int(np.clip(round((area * aspect) ** 0.5), 2, side - 1))
        width = int(np.clip(round((area / aspect) ** 0.5), 2, side - 1))
        y0, y1 = rng.integers(0, side - height + 1, 2)
        x0, x1 = rng.integers(0, side - width + 1, 2)
        if (y0, x0) == (y1, x1):  # "another place" must be one
            places = side - width + 1  # at least 2
            x1 = (x1 + 1 + (max(1, width // 2) - 1) % (places - 1)) % places
        out[k, :, y1 : y1 + height, x1 : x1 + width] = cells[k, :, y0 : y0 + height, x0 : x0 + width]
    return out


def puzzle(cells: Cells, rng: Rng) -> Cells:
    """Shuffle the four quarters of each cell, never leaving them all in place.

    Source: paper; the identity is left out, odd sides are reflect-padded: our choice.
    """
    side = cells.shape[-1]
    padded = np.pad(cells, ((0, 0), (0, 0), (0, side % 2), (0, side % 2)), mode="reflect")
    half = padded.shape[-1] // 2
    corners = ((0, 0), (0, half), (half, 0), (half, half))
    quarters = np.stack([padded[..., y : y + half, x : x + half] for y, x in corners])  # (4, n, c, h, h)
    order = _SHUFFLES[rng.integers(len(_SHUFFLES), size=len(cells))]  # (n, 4)
    out = np.empty_like(padded)
    rows = np.arange(len(cells))
    for place, (y, x) in enumerate(corners):
        out[..., y : y + half, x : x + half] = quarters[order[:, place], rows]
    return np.ascontiguousarray(out[..., :side, :side])


def rotate(cells: Cells, rng: Rng) -> Cells:
    """Rotate each cell by 90° or 270° (source: paper)."""
    quarter = np.rot90(cells, 1, axes=(-2, -1))
    three = np.rot90(cells, 3, axes=(-2, -1))
    return np.where(rng.random(len(cells))[:, None, None, None] < 0.5, quarter, three)


def mix_up(cells: Cells, rng: Rng) -> Cells:
    """a·cell + (1 − a)·rotated cell (source: paper; a ~ U(.3, .7): our choice)."""
    a = rng.uniform(0.3, 0.7, len(cells)).astype(np.float32)[:, None, None, None]
    return a * cells + (1 - a) * rotate(cells, rng)


SPATIAL: dict[str, Augmentation] = {
    "cut_paste": cut_paste,
    "puzzle": puzzle,
    "rotate": rotate,
    "mix_up": mix_up,
}
"""The paper's four kinds."""

TEMPORAL = ("speed", "reverse", "freeze")
"""Our kinds, for cells with a history. `speed`: the same place at 1.5 or 2 times the pace (channels taken further
apart). `reverse`: the history backwards, which is movement against the flow where the flow has one direction.
`freeze`: the newest frame in all channels, which is something that appeared and stands still."""

SPEED_FACTORS = (1.5, 2.0)
"""How much faster `speed` plays a cell (our choice: a runner or a slow bicycle against walkers, and twice a walk)."""


def lags_needed(lags: tuple[int, ...], kinds: tuple[str, ...]) -> tuple[int, ...]:
    """All ages, frames, that training needs of a cell so that every kind can be made from it."""
    wanted = set(lags)
    if "speed" in kinds:
        for factor in SPEED_FACTORS:
            wanted |= {round(lag * factor) for lag in lags}
    return tuple(sorted(wanted))


def create_anomalies(
    stacks: npt.NDArray[np.uint8],
    lags: tuple[int, ...],
    stack_lags: tuple[int, ...],
    kinds: tuple[str, ...],
    rng: Rng,
    noise: float,
) -> Cells:
    """One created anomaly for every normal cell, of a kind drawn uniformly from `kinds`.

    Args:
        stacks: (n, len(stack_lags), side, side) uint8 history of each cell.
        lags: ages of the network's channels, frames.
        stack_lags: ages of the stacks' channels, frames; see `lags_needed`.
        kinds: names out of `SPATIAL` and `TEMPORAL`.
        rng: source of all randomness.
        noise: standard deviation of the sensor noise added to each channel, grey levels. It keeps `freeze` from being
            told by its channels' being equal to the last bit.

    Returns:
        (n, len(lags), side, side) float32, grey levels.
    """
    where = {lag: k for k, lag in enumerate(stack_lags)}
    out = stacks[:, [where[lag] for lag in lags]].astype(np.float32)
    drawn = rng.integers(len(kinds), size=len(stacks))
    for number, kind in enumerate(kinds):
        rows = np.flatnonzero(drawn == number)
        if not len(rows):
            continue
        if kind in SPATIAL:
            out[rows] = SPATIAL[kind](out[rows], rng)
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
            raise ValueError(f"unknown kind of anomaly {kind!r}; known: {', '.join((*SPATIAL, *TEMPORAL))}")
    return add_noise(out, rng, noise)


def add_noise(cells: Cells, rng: Rng, noise: float) -> Cells:
    """Add Gaussian noise of `noise` grey levels to every channel."""
    if noise > 0:
        cells = cells + noise * rng.standard_normal(cells.shape, dtype=np.float32)
    return cells
