"""Other forms of the motion detector's distance, on the camera panel: by place, along the path, anywhere, over neighbors.

    python experiments/motion_forms.py [--only ped1 umn3] [--seeds 17 1 2] [--out runs/motion_forms]

Describes every video of the panel once (see benchmarks/panel.py), fits each form to the normal videos of every camera, with
the examples of other stretches of time for each stretch, and scores the watched videos. Prints the table of
docs/results/motion.md: the mean macro AUC, and the events found and false alerts with the alert policy of `streamad learn`.
What is random is which examples are kept: all figures are means over the seeds.
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from alert_ways import watch
from motion_study import spec_of
from panel import Camera, load_cameras

from streamad.calibration import AlertPolicySpec
from streamad.detectors.motion import fitting as motion_fitting
from streamad.detectors.motion.density import MotionModel, distances
from streamad.detectors.motion.descriptors import describe
from streamad.detectors.motion.fitting import BACKING, TOP_CELLS, choose_examples, learned, stretches
from streamad.detectors.motion.flow import FlowMeter, grid_shape
from streamad.detectors.motion.layout import CELL, CLOSEST, FAST, HEIGHT, MOVEMENT, PLACE, SHARE, SLOW, SPEED
from streamad.detectors.motion.sampler import PER_CELL, Moments
from streamad.detectors.motion.scorer import RunningMean, frame_scores
from streamad.detectors.motion.training import cross_fitted_scores
from streamad.sources import open_source

Floats = npt.NDArray[np.float32]
STEP_SECONDS = 0.1
"""Time between two places on a path."""


@dataclass(frozen=True)
class Described:
    """Descriptors of one video, or of several one after the other.

    Attributes:
        index: (frames,) number of each described frame in its video.
        seconds: (frames,) its time in the video.
        counts: (frames,) number of its moving cells.
        values: (n, length) descriptors.
        clips: (frames,) number of its video.
        grid: (rows, cols) of the grid.
    """

    index: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    values: Floats
    clips: npt.NDArray[np.int32]
    grid: tuple[int, int]

    @property
    def at(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Row and column of every descriptor's cell."""
        cells = (self.values[:, PLACE] / CELL).astype(np.intp)
        return cells[:, 0], cells[:, 1]


Form = Callable[["Fitting", Described, Floats], Floats]
"""From a fitting, descriptors and their distances as shipped to other distances."""


@dataclass(frozen=True)
class Fitting:
    """A model of one camera's normal video, whose usual movement is not yet scaled by surprise.

    Attributes:
        normal: The video.
        candidates: (c,) which of its descriptors could become examples.
        examples: (m,) which have become examples.
        stretch: (n,) number of the stretch of time of each descriptor.
        model: The model.
    """

    normal: Described
    candidates: npt.NDArray[np.intp]
    examples: npt.NDArray[np.intp]
    stretch: npt.NDArray[np.intp]
    model: MotionModel

    @cached_property
    def squares(self) -> npt.NDArray[np.float64]:
        """The squared distances of the normal video."""
        return self.distances(self.normal).astype(np.float64) ** 2

    def distances(self, video: Described, model: MotionModel | None = None) -> Floats:
        """Return the distances of a video; those of the normal video by examples of other stretches."""
        model = model or self.model
        own, of = (self.stretch, self.stretch[self.examples]) if video is self.normal else (None, None)
        return distances(model.points(video.values), model.examples, own, of)


def described(videos: Sequence[Path], out: Path) -> Described:
    """Describe videos, once; kept in `out`."""
    path = out / f"{videos[0].parent.parent.name}-{videos[0].parent.name}-{videos[0].stem}-{len(videos)}.npz"
    if not path.exists():
        rows: list[tuple[int, float, int, int]] = []
        values, grid = [], (0, 0)
        for clip, video in enumerate(videos):
            meter = FlowMeter(height=HEIGHT)
            with open_source(spec_of(video, 10.0), camera="panel") as source:
                for frame in source:
                    movement, grid = meter.push(frame), grid_shape(frame.shape, HEIGHT)
                    if not isinstance(movement, str):
                        found = describe(movement)
                        rows.append((frame.index, frame.pts_seconds, len(found.values), clip))
                        values.append(found.values)
        np.savez(path, rows=np.array(rows), values=np.concatenate(values), grid=np.array(grid))
    with np.load(path) as file:
        index, seconds, counts, clips = file["rows"].T
        return Described(
            index.astype(np.int64), seconds, counts.astype(np.int64), file["values"], clips.astype(np.int32),
            (int(file["grid"][0]), int(file["grid"][1])),
        )  # fmt: skip


def fitted(normal: Described, seed: int) -> Fitting:
    """Fit the model as `fitting.fit` does, with every descriptor in memory."""
    rng = np.random.default_rng(seed)
    cells = np.ravel_multi_index(normal.at, normal.grid)
    frame = np.repeat(np.arange(len(normal.counts)), normal.counts)
    order = rng.permutation(len(cells))
    order = order[np.argsort(cells[order], kind="stable")]
    first = np.flatnonzero(np.diff(cells[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(first, np.diff(first, append=len(order)))
    kept = np.sort(order[rank < PER_CELL])
    examples = kept[choose_examples(cells[kept], frame[kept], rng)]
    stretch = stretches(normal.clips, normal.seconds)[0][frame]
    moments = Moments(
        *(
            summed(normal, part.astype(np.float64))
            for part in (
                np.ones(len(cells)), normal.values[:, MOVEMENT] ** 2, normal.values[:, SHARE][:, 0],
                normal.values[:, SPEED],
            )
        )
    )  # fmt: skip
    return Fitting(normal, kept, examples, stretch, learned(moments, normal.values[examples]))


def summed(video: Described, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sum a number of every descriptor over each cell of the grid."""
    answer = np.zeros((*video.grid, *numbers.shape[1:]))
    np.add.at(answer, video.at, numbers)
    return answer


def by_surprise(fitting: Fitting, video: Described, away: Floats, *, power: float) -> Floats:
    """Scale the usual movement as `fitting.fit` does; for each stretch by the others."""
    normal, kept = fitting.normal, fitting.candidates
    cells = np.ravel_multi_index(normal.at, normal.grid)[kept]
    motion_fitting.SURPRISE_POWER = power

    def model(others: npt.NDArray[np.bool_]) -> MotionModel:
        return motion_fitting.scaled_by_surprise(
            fitting.model, cells[others], fitting.squares[kept][others], normal.values[fitting.examples]
        )

    if video is not normal:
        return fitting.distances(video, model(np.ones(len(kept), bool)))
    answer = np.empty_like(away)
    for number in np.unique(fitting.stretch):
        own = fitting.stretch == number
        other = model(fitting.stretch[kept] != number)
        answer[own] = distances(
            other.points(video.values[own]), other.examples, fitting.stretch[own], fitting.stretch[fitting.examples]
        )
    return answer


def by_place(fitting: Fitting, video: Described, away: Floats, *, power: float) -> Floats:
    """Divide by the usual distance around the place, to a power; for each stretch from the others."""
    normal, squares = fitting.normal, fitting.squares

    def usual(own: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        total, count = (
            motion_fitting.sum_around(summed(normal, numbers * ~own)) for numbers in (squares, np.ones(len(squares)))
        )
        mean = squares.mean()
        return np.asarray(((total + BACKING * mean) / (count + BACKING) / mean) ** (power / 2))

    if video is not normal:
        return np.asarray(away / usual(np.zeros(len(squares), bool))[video.at], np.float32)
    answer = np.empty_like(away)
    for number in np.unique(fitting.stretch):
        own = fitting.stretch == number
        answer[own] = (away / usual(own)[video.at])[own]
    return answer


def anywhere(fitting: Fitting, video: Described, away: Floats, *, price: float) -> Floats:
    """Let an example of any place count, at a price in units of distance."""
    blank = replace(fitting.model, nearness=np.zeros(1, np.float32))
    model = replace(blank, examples=blank.points(fitting.normal.values[fitting.examples]))
    return np.minimum(away, np.sqrt(fitting.distances(video, model) ** 2 + np.float32(price**2)))


def along_path(fitting: Fitting, video: Described, away: Floats, *, seconds: float, own: float) -> Floats:
    """Average the distance along the path of what moves, over a time constant, and with the distance itself."""
    grid, at = video.grid, video.at
    values, answer = video.values, np.empty_like(away)
    cols, rows = np.meshgrid(np.arange(grid[1], dtype=np.float32), np.arange(grid[0], dtype=np.float32))
    past: deque[tuple[float, Floats]] = deque()
    stop = 0
    for k, count in enumerate(video.counts):
        if k and (video.clips[k] != video.clips[k - 1] or video.seconds[k] < video.seconds[k - 1]):
            past.clear()
        now, cells = video.seconds[k], slice(stop, stop := stop + int(count))
        where = at[0][cells], at[1][cells]
        field = np.zeros((*grid, 4), np.float32)  # distance, whether something moves, and its velocity
        share = np.maximum(values[cells, SHARE][:, 0], 0.02)
        right, down, left, up = values[cells, SLOW][:, :4].T
        field[where] = np.column_stack([away[cells], np.ones(int(count)), (right - left) / share, (down - up) / share])
        trail = field[..., :2] * np.float32(1 - np.exp(-STEP_SECONDS / seconds))
        if past:
            then, before = min(past, key=lambda item: abs(now - item[0] - STEP_SECONDS))
            since = np.float32(now - then)
            come_from = (cols - field[..., 2] * since / CELL, rows - field[..., 3] * since / CELL)
            carried = cv2.remap(before, *come_from, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
            kept = np.float32(np.exp(-since / seconds))
            trail = (1 - kept) * field[..., :2] + kept * carried * field[..., 1:2]
        answer[cells] = (trail[..., 0] / np.maximum(trail[..., 1], 1e-6))[where]
        past.append((now, trail))
        while len(past) > 1 and now - past[1][0] >= STEP_SECONDS:
            past.popleft()
    return np.asarray(own * away + (1 - own) * answer, np.float32)


def compressed(fitting: Fitting, video: Described, away: Floats, *, power: float) -> Floats:
    """Raise the movement, in units of the usual one, to a power before it is compared."""

    def points(values: Floats) -> Floats:
        found = fitting.model.points(values)
        movement = slice(0, MOVEMENT.stop - MOVEMENT.start)
        found[:, movement] = found[:, movement] ** power
        return found

    own, of = (fitting.stretch, fitting.stretch[fitting.examples]) if video is fitting.normal else (None, None)
    return distances(points(video.values), points(fitting.normal.values[fitting.examples]), own, of)


def weighted(fitting: Fitting, video: Described, away: Floats, *, fast: float, slow: float) -> Floats:
    """Let one of the two times count less."""
    spread = fitting.model.spread.copy()
    spread[: FAST.stop - FAST.start] /= fast
    spread[FAST.stop - FAST.start :] /= slow
    blank = replace(fitting.model, spread=spread)
    model = replace(blank, examples=blank.points(fitting.normal.values[fitting.examples]))
    return fitting.distances(video, model)


FORMS: dict[str, Form | None] = {
    "as before": None,
    "**usual movement scaled by surprise, to the power of 0.5: as shipped**": partial(by_surprise, power=0.5),
    "usual movement scaled by surprise": partial(by_surprise, power=1.0),
    "distance ÷ usual distance of the place, to the power of 0.5": partial(by_place, power=0.5),
    "distance ÷ usual distance of the place": partial(by_place, power=1.0),
    "examples of any place, at a distance of 2": partial(anywhere, price=2.0),
    "averaged along the path over 0.3 s": partial(along_path, seconds=0.3, own=0.0),
    "mean of that over 0.7 s and the distance itself": partial(along_path, seconds=0.7, own=0.5),
    "movement to the power of 0.5": partial(compressed, power=0.5),
    "the longer time counts half": partial(weighted, fast=1.0, slow=0.5),
    "the shorter time counts half": partial(weighted, fast=0.5, slow=1.0),
}


def measured(camera: Camera, form: Form | None, seed: int, out: Path) -> tuple[float | None, int, int]:
    """Return a form's macro AUC, events found and false alerts on a camera."""
    fitting = fitted(described(camera.normal, out), seed)

    def scores(video: Described) -> Floats:
        away = fitting.distances(video)
        if form is not None:
            away = np.maximum(form(fitting, video, away), np.float32(CLOSEST))
        return frame_scores(away, video.counts, TOP_CELLS)

    normal = fitting.normal
    arrays: dict[str, npt.NDArray[Any]] = {"fps": np.array(camera.fps)}
    cross = cross_fitted_scores(normal.clips, normal.seconds, scores(normal), camera.fps)
    arrays |= {f"normal{k}": clip for k, clip in enumerate(cross)}
    for path in camera.watched:
        video, mean = described([path], out), RunningMean()
        rows = zip(video.index, video.seconds, scores(video), strict=True)
        arrays[f"watched {path.stem}"] = np.array([(i, t, mean.push(t, float(s))) for i, t, s in rows])
    result = watch(camera, arrays, AlertPolicySpec())
    return result["macro"], result["found"], result["wrong"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["umn3", "le2i", "ped1"], metavar="NAME", help="cameras")
    parser.add_argument("--seeds", nargs="+", type=int, default=[17, 1, 2], metavar="N")
    parser.add_argument("--out", type=Path, default=Path("runs/motion_forms"), metavar="DIR")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    cameras = load_cameras(options.only)
    print(f"| form | AUC | events found | false alerts | {' | '.join(c.name for c in cameras)} |")
    print("|---|---|---|---|" + "---|" * len(cameras))
    for name, form in FORMS.items():
        found = [[measured(camera, form, seed, options.out) for camera in cameras] for seed in options.seeds]
        table = np.array(found, float)  # (seeds, cameras, 3); NaN: no AUC
        each = np.nanmean(table[..., 0], axis=0)
        events, wrong = table[..., 1:].sum(axis=1).mean(axis=0)
        cells = [f"{np.nanmean(each):.4f}", f"{events:.1f}", f"{wrong:.1f}", *(f"{auc:.3f}" for auc in each)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
