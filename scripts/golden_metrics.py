"""Write the stored scores, labels and metrics that the metrics of streamad are held against.

    python scripts/golden_metrics.py --write tests/unit/evaluation/golden_metrics.json

Scores, labels, anomaly maps and masks are drawn from a seed; nothing is from a data set. The metrics are computed here with
scikit-learn, SciPy and straight from their definitions: this script imports nothing of streamad, so that a change of a
metric there cannot change what it is compared with. Run it again only if the definition of a metric is meant to change,
and say so in the changelog.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.optimize import brentq
from sklearn.metrics import auc, average_precision_score, roc_auc_score, roc_curve

SEED = 20
THRESHOLDS = [round(2.4 - 0.1 * k, 1) for k in range(20)]
CELL, ROWS, COLS = 10, 5, 7
ALPHA = BETA = 0.1


def curves() -> tuple[dict[str, list[float | None]], dict[str, list[int]]]:
    """Four clips on levels of their own, with ties, frames without a score at the ends and inside, one clip of one
    class.
    """
    rng = np.random.default_rng(SEED)
    scores: dict[str, list[float | None]] = {}
    labels: dict[str, list[int]] = {}
    for name, frames, level, event in (
        ("a", 60, 0.0, (20, 35)),
        ("b", 45, 1.5, (0, 12)),
        ("c", 50, -1.0, (30, 50)),
        ("d", 25, 0.7, (0, 0)),
    ):
        truth = np.zeros(frames, int)
        truth[slice(*event)] = 1
        values: list[float | None] = [round(float(v), 1) for v in level + 1.2 * truth + rng.normal(0, 0.8, frames)]
        values[:3], values[-2:] = [None] * 3, [None] * 2
        if name == "c":
            values[10] = None
        scores[name], labels[name] = values, truth.tolist()
    return scores, labels


def normalized(values: np.ndarray, how: str) -> np.ndarray:
    """Min-max of the whole clip, of its past, or neither; NaN stays."""
    if how == "raw":
        return values
    if how == "per_video":
        return (values - np.nanmin(values)) / (np.nanmax(values) - np.nanmin(values))
    past = [values[: k + 1] for k in range(len(values))]
    with np.errstate(invalid="ignore", divide="ignore"):
        ranges = [(np.nanmin(p), np.nanmax(p)) if np.isfinite(p).any() else (np.nan, np.nan) for p in past]
        return np.array(
            [
                np.nan if np.isnan(v) else 0.0 if low == high else (v - low) / (high - low)
                for v, (low, high) in zip(values, ranges, strict=True)
            ]
        )


def equal_error_rate(truth: np.ndarray, values: np.ndarray) -> float:
    """Where the false-positive rate equals the miss rate, along the curve, by root finding."""
    fpr, tpr, _ = roc_curve(truth, values, drop_intermediate=False)
    place = np.arange(len(fpr))
    at = brentq(lambda p: np.interp(p, place, fpr) - 1 + np.interp(p, place, tpr), 0, len(fpr) - 1, xtol=1e-14)
    return float(np.interp(at, place, fpr))


def frame_level(scores: dict[str, list[float | None]], labels: dict[str, list[int]]) -> dict[str, dict[str, float]]:
    """Metrics under each protocol; "padded" gives the ends of a clip the nearest score, and a clip of one class a 0 and
    a 1.
    """
    found = {}
    for how in ("raw", "per_video", "running"):
        for rule in ("", " padded"):
            kept = []
            for name, given in scores.items():
                values = normalized(np.array(given, dtype=float), how)
                if rule:
                    known = np.flatnonzero(~np.isnan(values))
                    values[: known[0]], values[known[-1] + 1 :] = values[known[0]], values[known[-1]]
                there = ~np.isnan(values)
                kept.append((np.array(labels[name])[there], values[there]))
            each = []
            for truth, values in kept:
                if len(set(truth)) == 1:
                    if not rule:
                        continue
                    truth, values = np.append(truth, [0, 1]), np.append(values, [values.min(), values.max()])
                each.append(roc_auc_score(truth, values))
            truth, values = (np.concatenate(part) for part in zip(*kept, strict=True))
            found[how + rule] = {
                "auc_micro": float(roc_auc_score(truth, values)),
                "auc_macro": float(np.mean(each)),
                "eer": equal_error_rate(truth, values),
                "average_precision": float(average_precision_score(truth, values)),
                "base_rate": float(truth.mean()),
                "frames": len(truth),
            }
    return found


def located() -> tuple[list[list[list[float | None]]], list[list[list[int]]]]:
    """Anomaly maps of 30 frames, and the boxes of the true regions of each: [track, x0, y0, x1, y1]."""
    rng = np.random.default_rng(SEED + 1)
    maps, regions = [], []
    for frame in range(30):
        values = rng.normal(0, 0.45, (ROWS, COLS))
        here = []
        for track, (first, last, row, col) in enumerate(((3, 14, 1, 1), (8, 22, 3, 4), (20, 28, 0, 5))):
            if first <= frame < last:
                x0, y0 = col * CELL + (frame - first) // 2, row * CELL + 2
                here.append([track, x0, y0, x0 + 16, y0 + 11])
                values[row : row + 2, col : col + 2] += 1.1
        cells: list[list[float | None]] = [[round(float(v), 1) for v in line] for line in values]
        if frame == 5:
            cells[4][6] = None
        maps.append(cells)
        regions.append(here)
    return maps, regions


def mask_of(regions: list[list[int]]) -> np.ndarray:
    mask = np.zeros((ROWS * CELL, COLS * CELL), bool)
    for _, x0, y0, x1, y1 in regions:
        mask[y0:y1, x0:x1] = True
    return mask


def localization(maps: list[list[list[float | None]]], regions: list[list[list[int]]]) -> dict[str, float]:
    """RBDC and TBDC by their definition, with sets of pixels; pixel AUC over every single pixel."""
    grids = [np.array(cells, dtype=float) for cells in maps]

    def pixels(x0: int, y0: int, x1: int, y1: int) -> set[tuple[int, int]]:
        return {(x, y) for x in range(x0, x1) for y in range(y0, y1)}

    points = [(0.0, 0.0, 0.0)]
    tracks = sorted({region[0] for here in regions for region in here})
    for threshold in THRESHOLDS:
        false = 0
        hits: dict[int, list[bool]] = {track: [] for track in tracks}
        for grid, here in zip(grids, regions, strict=True):
            parts, count = ndimage.label(np.nan_to_num(grid, nan=-np.inf) >= threshold, np.ones((3, 3)))
            marked = []
            for rows, cols in ndimage.find_objects(parts, count):
                marked.append(pixels(cols.start * CELL, rows.start * CELL, cols.stop * CELL, rows.stop * CELL))
            true = [(track, pixels(*box)) for track, *box in here]
            overlaps = [[len(m & t) / len(m | t) >= BETA for _, t in true] for m in marked]
            false += sum(not any(row) for row in overlaps)
            for k, (track, _) in enumerate(true):
                hits[track].append(any(row[k] for row in overlaps))
        found = [hit for track in tracks for hit in hits[track]]
        points.append(
            (false / len(maps), float(np.mean(found)), float(np.mean([np.mean(hits[t]) >= ALPHA for t in tracks])))
        )
    points.sort(key=lambda point: point[0])
    x = np.array([point[0] for point in points])
    areas = []
    for column in (1, 2):
        y = np.array([point[column] for point in points])
        edge = np.interp(1.0, x, y) if x[-1] > 1 else y[x <= 1][-1]
        areas.append(float(auc(np.append(x[x <= 1], 1.0), np.append(y[x <= 1], edge))))
    values = [np.nan_to_num(np.kron(grid, np.ones((CELL, CELL))), nan=-99.0).ravel() for grid in grids]
    truth = [mask_of(here).ravel() for here in regions]
    return {
        "rbdc": areas[0],
        "tbdc": areas[1],
        "pixel_auc": float(roc_auc_score(np.concatenate(truth), np.concatenate(values))),
    }


def golden() -> dict[str, Any]:
    scores, labels = curves()
    maps, regions = located()
    return {
        "source": "python scripts/golden_metrics.py; drawn from a seed, computed without streamad",
        "scores": scores,
        "labels": labels,
        "frame_level": frame_level(scores, labels),
        "cell": CELL,
        "thresholds": THRESHOLDS,
        "maps": maps,
        "regions": regions,
        "localization": localization(maps, regions),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, default=Path("tests/unit/evaluation/golden_metrics.json"))
    options = parser.parse_args()
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in golden().items()]
    options.write.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
