"""Three short baselines of the camera panel, fixed before any of its watched video was scored, and never tuned.

- `diff`: difference of frames 0.1 s apart, in cells of 16 pixels, relative to the cell's own 99 % quantile in normal video.
- `knn`: optical flow of a cell (four directions, length), distance to the nearest normal example of the 3×3 cells around it.
- `glob`: 95 % quantile of the flow of all moving pixels; learns nothing.

A frame's score is the mean of its five highest cells, averaged over 0.3 s. The threshold is the highest level that a quarter
of the normal video holds for half a second when the other three quarters were learned. Change nothing here: old and new
results of streamad are compared with the same figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import cv2
import numpy as np
import numpy.typing as npt

HEIGHT, CELL = 240, 16
"""Height of the pictures that are compared, and side of a cell, pixels."""
LAG_SECONDS, SMOOTH_SECONDS, HOLD_SECONDS = 0.1, 0.3, 0.5
MAX_FRAMES = 40_000
"""Number of normal frames to learn from, divided evenly among the videos."""
PARTS = 4

Floats = npt.NDArray[np.floating]


class Features(NamedTuple):
    """Features of T frames; NaN for frames without enough earlier ones."""

    energy: Floats
    """(T, rows, columns) mean difference of gray values, 0..255."""
    flow: Floats
    """(T, rows, columns, 5) mean flow to the right, down, left, up, and its length; pixels per second."""
    fastest: Floats
    """(T,) 95 % quantile of the flow's length over moving pixels, pixels per second."""

    def part(self, start: int, stop: int) -> Features:
        return Features(*(values[start:stop] for values in self))


class Baseline(Protocol):
    def fit(self, clips: Sequence[Features]) -> Self: ...

    def score(self, clip: Features) -> Floats:
        """Return the (T,) scores of a clip before smoothing; NaN: no score."""
        ...


class FrameDifference:
    def fit(self, clips: Sequence[Features]) -> Self:
        energy = np.concatenate([clip.energy for clip in clips])
        energy = energy[~np.isnan(energy[:, 0, 0])]
        high = np.quantile(energy, 0.99, axis=0)
        self.scale = np.maximum(high, np.quantile(high, 0.5)) + 1
        return self

    def score(self, clip: Features) -> Floats:
        return np.array([np.nan if np.isnan(e[0, 0]) else _highest(e / self.scale) for e in clip.energy])


class NearestFlow:
    def fit(self, clips: Sequence[Features]) -> Self:
        random, flow = np.random.default_rng(0), np.concatenate([clip.flow for clip in clips])
        flow = flow[~np.isnan(flow[:, 0, 0, 0])]
        self.spread = flow.reshape(-1, 5).std(0) + 1e-6
        flow = flow[np.sort(random.permutation(len(flow))[:800])] / self.spread
        _, rows, columns, _ = flow.shape
        padded = np.pad(flow, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        self.bank = {}
        for i, j in np.ndindex(rows, columns):
            near = padded[:, i : i + 3, j : j + 3].reshape(-1, 5)
            near = near[near[:, 4] > 0.05]
            kept = near[random.permutation(len(near))[:1500]]
            self.bank[i, j] = np.vstack([kept, np.zeros((1, 5))]).astype(np.float32)
        return self

    def score(self, clip: Features) -> Floats:
        return np.array([np.nan if np.isnan(flow[0, 0, 0]) else self._score(flow) for flow in clip.flow])

    def _score(self, flow: Floats) -> float:
        scaled = (flow / self.spread).astype(np.float32)
        far = np.zeros(scaled.shape[:2])
        for i, j in zip(*np.nonzero(scaled[..., 4] > 0.05), strict=True):
            far[i, j] = np.sqrt(((self.bank[i, j] - scaled[i, j]) ** 2).sum(1).min())
        return _highest(far)


class FastestFlow:
    def fit(self, clips: Sequence[Features]) -> Self:
        return self

    def score(self, clip: Features) -> Floats:
        return clip.fastest


BASELINES: dict[str, type[Baseline]] = {"diff": FrameDifference, "knn": NearestFlow, "glob": FastestFlow}


def baseline_scores(
    normal: Sequence[Path], watched: Sequence[Path], fps: float, kept: Path
) -> dict[str, tuple[float, list[Floats]]]:
    """Return each baseline's threshold and its (T,) scores of every watched video.

    Args:
        normal: Videos to learn from.
        watched: Videos to score.
        fps: Frames per second of all of them.
        kept: An .npz file that caches the result, valid as long as the videos' names and sizes are unchanged.
    """
    videos = np.array([f"{path.name} {path.stat().st_size}" for path in (*normal, *watched)] + [f"{fps:g}"])
    if kept.exists():
        with np.load(kept) as file:
            if np.array_equal(file["videos"], videos):
                return {
                    name: (float(file[f"{name}_threshold"]), [file[f"{name}_{i}"] for i in range(len(watched))])
                    for name in BASELINES
                }
    learned = [features(path, fps, MAX_FRAMES // len(normal)) for path in normal]
    thresholds = {name: _threshold(kind, learned, fps) for name, kind in BASELINES.items()}
    models = {name: kind().fit(learned) for name, kind in BASELINES.items()}
    scores: dict[str, list[Floats]] = {name: [] for name in BASELINES}
    for path in watched:  # one at a time: the features of a day do not fit into memory
        clip = features(path, fps)
        for name, model in models.items():
            scores[name].append(smooth(model.score(clip), fps))
    kept.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"{name}_{i}": values for name, found in scores.items() for i, values in enumerate(found)}
    np.savez_compressed(
        kept, videos=videos, **arrays, **{f"{name}_threshold": np.array(t) for name, t in thresholds.items()}
    )
    return {name: (thresholds[name], scores[name]) for name in BASELINES}


def features(path: Path, fps: float, max_frames: int | None = None) -> Features:
    """Compute the features of a video's frames."""
    lag = max(1, round(LAG_SECONDS * fps))
    flow_of = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    past: list[npt.NDArray[np.uint8]] = []
    energies, flows, fastest = [], [], []
    for gray in _gray_frames(path, max_frames):
        past = [*past, gray][-lag - 1 :]
        rows, columns = gray.shape[0] // CELL, gray.shape[1] // CELL
        if len(past) <= lag:
            energies.append(np.full((rows, columns), np.nan, np.float32))
            flows.append(np.full((rows, columns, 5), np.nan, np.float32))
            fastest.append(np.nan)
            continue
        change = np.abs(gray.astype(np.float32) - past[0])
        change[change < 10] = 0
        flow = flow_of.calc(past[0], gray, None) / lag * fps
        length, moving = np.hypot(flow[..., 0], flow[..., 1]), change > 0
        parts = np.dstack([np.maximum(flow, 0), np.maximum(-flow, 0), length]).astype(np.float32)
        parts = parts * moving[..., None].astype(np.float32)
        energies.append(_pool(change, rows, columns))
        flows.append(np.dstack([_pool(parts[..., :4], rows, columns), _pool(parts[..., 4], rows, columns)]))
        fastest.append(float(np.quantile(length[moving], 0.95)) if moving.sum() > 50 else 0.0)
    return Features(np.stack(energies), np.stack(flows), np.array(fastest))


def smooth(values: Floats, fps: float) -> Floats:
    """Exponential average over `SMOOTH_SECONDS`; NaN is skipped and stays NaN."""
    share, mean, out = 1 - np.exp(-1 / (fps * SMOOTH_SECONDS)), None, np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if not np.isnan(value):
            mean = value if mean is None else mean + share * (value - mean)
            out[i] = mean
    return out


def sustained(scores: Floats, fps: float) -> float:
    """Return the highest level that scores hold for `HOLD_SECONDS`, −∞ if they are shorter than that."""
    length, scored = max(1, round(HOLD_SECONDS * fps)), scores[~np.isnan(scores)]
    return float(max((scored[i : i + length].min() for i in range(len(scored) - length + 1)), default=-np.inf))


def baseline_alerts(scores: Floats, threshold: float, fps: float) -> npt.NDArray[np.bool_]:
    """Return (T,) whether the threshold has been exceeded for the last `HOLD_SECONDS`."""
    length, run, out = max(1, round(HOLD_SECONDS * fps)), 0, np.zeros(len(scores), bool)
    for i, score in enumerate(scores):
        run = run + 1 if not np.isnan(score) and score > threshold else 0
        out[i] = run >= length
    return out


def _threshold(kind: type[Baseline], clips: Sequence[Features], fps: float) -> float:
    parts, threshold = _quarters(clips), -np.inf
    for number, part in enumerate(parts):
        others = [clip for other, those in enumerate(parts) if other != number for clip in those]
        model = kind().fit([clip for clip in others if not np.isnan(clip.fastest).all()])
        for clip in part:
            threshold = max(threshold, sustained(smooth(model.score(clip), fps), fps))
    return threshold


def _quarters(clips: Sequence[Features]) -> list[list[Features]]:
    """Cut the clips, one after the other, into contiguous quarters."""
    total, parts, n = sum(len(clip.fastest) for clip in clips), [[] for _ in range(PARTS)], 0
    for clip in clips:
        at = 0
        while at < len(clip.fastest):
            part = min(PARTS - 1, n * PARTS // total)
            take = min(len(clip.fastest) - at, (part + 1) * total // PARTS - n + 1)
            parts[part].append(clip.part(at, at + take))
            at, n = at + take, n + take
    return parts


def _gray_frames(path: Path, max_frames: int | None) -> Iterator[npt.NDArray[np.uint8]]:
    video, count = cv2.VideoCapture(str(path)), 0
    while max_frames is None or count < max_frames:
        read, frame = video.read()
        if not read:
            break
        gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        if gray.shape[0] != HEIGHT:
            width = round(gray.shape[1] * HEIGHT / gray.shape[0])
            gray = cv2.resize(gray, (width, HEIGHT), interpolation=cv2.INTER_AREA)
        count += 1
        yield gray
    video.release()


def _pool(values: Floats, rows: int, columns: int) -> Floats:
    return cv2.resize(np.ascontiguousarray(values), (columns, rows), interpolation=cv2.INTER_AREA)


def _highest(cells: Floats) -> float:
    return float(np.sort(cells.ravel())[-5:].mean())
