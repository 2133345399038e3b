"""ADACL's frame score in plain loops, written only from the definitions: the reference for the real implementation."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnxruntime as ort

from streamad.bundle import Manifest


def reference_scores(
    pictures: Iterable[np.ndarray], manifest: Manifest, onnx: Path
) -> tuple[list[float], list[np.ndarray | None]]:
    """Compute scores and anomaly maps of a clip without gaps; NaN and None during the warm-up.

    Runs one patch at a time through ONNX Runtime, with pixels as Python integers, without batches or padding.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    tiling = manifest.tiling
    background: np.ndarray | None = None
    seen = 0
    past: list[np.ndarray] = []
    recent: list[float] = []
    scores: list[float] = []
    anomaly_maps: list[np.ndarray | None] = []
    for picture in pictures:
        now = picture.astype(int)
        height, width = now.shape
        past.append(now)
        seen += 1
        if background is None:
            background, difference = now.copy(), np.zeros_like(now)
        else:
            shift = int(np.median((now - background)[::8, ::8]))
            if abs(shift) > 2:
                background = np.clip(background + shift, 0, 255)
            difference = np.abs(now - background)
            warm = seen > tiling.background_warmup
            step = 1 if warm else max(1, 32 * tiling.background_warmup // (seen**2 + tiling.background_warmup))
            if not warm or seen % tiling.background_period == 0:
                background = background + np.clip(now - background, -step, step)
        if len(past) <= tiling.lags[-1] or seen <= tiling.background_warmup:
            scores.append(math.nan)
            anomaly_maps.append(None)
            continue
        anomaly_map = np.full((math.ceil(height / 30), math.ceil(width / 30)), np.nan)
        for row in range(anomaly_map.shape[0]):
            for col in range(anomaly_map.shape[1]):
                y, x = min(30 * row, height - 30), min(30 * col, width - 30)
                changed = (difference[y : y + 30, x : x + 30] > tiling.motion_level).sum()
                if changed < tiling.motion_share * 900:
                    continue
                stack = np.stack([past[-1 - lag][y : y + 30, x : x + 30] for lag in tiling.lags])
                tile = (stack / manifest.input.scale + manifest.input.offset).astype(np.float32)
                anomaly_map[row, col] = session.run(None, {name: tile[None]})[0][0]
        # Use as many of the highest patches as the bundle specifies. One that does not move counts as `still`.
        moving = sorted((float(v) for v in anomaly_map[~np.isnan(anomaly_map)]), reverse=True)[: manifest.score.cells]
        moving += [manifest.score.still] * (manifest.score.cells - len(moving))
        recent.append(sum(moving) / len(moving))
        scores.append(float(np.median(recent[-manifest.score.median_frames :])))
        anomaly_maps.append(anomaly_map)
    return scores, anomaly_maps
