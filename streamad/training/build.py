"""From clips of normal video to a trained, exported bundle with its parity measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.torch import save_file

from streamad.bundle import (
    CARD,
    FORMAT_VERSION,
    ONNX,
    WEIGHTS,
    Bundle,
    InputSpec,
    Manifest,
    ScoreSpec,
    TilingSpec,
    TrainingRecord,
    write_manifest,
)
from streamad.detectors.adacl.augment import SPATIAL, lags_needed
from streamad.detectors.adacl.step import OFFSET, SCALE, AdaclOptions, AdaclTask
from streamad.engines import BATCH_SIZES
from streamad.engines.export import export_onnx, measure_parity
from streamad.engines.openvino_engine import OpenVinoEngine
from streamad.errors import OutputError, UsageError
from streamad.files import write_atomic
from streamad.frame import Frame
from streamad.tiling import CELL
from streamad.training.card import card
from streamad.training.feeding import FLOW_CONSISTENT, CellCollector
from streamad.training.loop import EpochReport, LoopResult, run_loop
from streamad.training.working_size import object_height, working_height

_MEASURED_CLIPS = 4

OpenClip = Callable[[], Iterable[Frame]]

LAG_SECONDS = 0.2
"""Age of the second channel; the third is twice as old. In 0.2 s a walker moves about a quarter of a body width: enough
to see, little enough to stay in a cell (our choice)."""

STANDING_NOISE = 2.0
"""Noise added to inputs where "stands still" is among the created anomalies, grey levels (our choice: about that of a
camera by day): without it a frozen cell would be told by its channels' being equal."""

TOP_CELLS = 3
"""Cells that make a frame's score (our choice; see `AdaclScorer`)."""

MEDIAN_SECONDS = 0.5
"""Span of the causal median over frame scores (our choice; it delays an alarm by half of it)."""


@dataclass(frozen=True)
class TrainingPlan:
    """What to train.

    Attributes:
        name: of the bundle.
        data: name of the training data, for the record.
        licence: terms of that data, for the record.
        fps: frames a second of the clips.
        temporal: cells carry a history (our extension); False is the paper's single picture.
        standing: count "appeared and stands still" among the created anomalies. Right where nobody usually stands.
        epochs: most epochs.
        patience: epochs without improvement.
        seed: of everything.
        max_cells: most training cells.
        max_height: taller frames are shrunk to this, pixels; None measures how large moving things are and chooses.
        validation_share: share of the clips (the last ones) held out for early stopping and for calibration.
    """

    name: str
    data: str
    licence: str
    fps: float
    temporal: bool = True
    standing: bool = False
    epochs: int = 30
    patience: int = 5
    seed: int = 17
    max_cells: int = 40_000
    max_height: int | None = None
    validation_share: float = 0.25
    options: dict[str, str] = field(default_factory=dict)

    @property
    def lags(self) -> tuple[int, ...]:
        """Ages of the channels, frames."""
        if not self.temporal:
            return (0,)
        lag = max(1, round(LAG_SECONDS * self.fps))
        return (0, lag, 2 * lag)


def split_clips(count: int, share: float) -> tuple[list[int], list[int]]:
    """Numbers of the clips to train on and of the held-out ones: the last ones, at least one of each.

    Raises:
        UsageError: fewer than two clips.
    """
    if count < 2:
        raise UsageError(
            f"training needs at least two clips of normal video, got {count}: one is held out to stop and to calibrate",
            hint="split the recording into several files",
        )
    held = min(count - 1, max(1, math.ceil(count * share)))
    return list(range(count - held)), list(range(count - held, count))


def train_bundle(
    plan: TrainingPlan,
    clips: Sequence[OpenClip],
    out: Path,
    *,
    progress: Callable[[EpochReport], None] | None = None,
    step_progress: Callable[[int, int], None] | None = None,
    feed_progress: Callable[[int, int], None] | None = None,
) -> Bundle:
    """Train ADACL on clips of one camera's normal video and write a bundle.

    Args:
        plan: what to train.
        clips: each opens one clip; the last `validation_share` are never trained on.
        out: folder of the bundle; the checkpoint lies in `out`/training and is resumed from.
        progress: called after each epoch.
        step_progress: called after each step with (done, in all).
        feed_progress: called after each clip is read with (done, in all).

    Returns:
        The bundle, without a calibration (see `streamad.pipeline.calibrate_model`).

    Raises:
        UsageError: too few clips, or nothing moves in them.
        OutputError: `out` cannot be written to.
    """
    try:
        (out / "training").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror}", hint="give another --out") from error
    train, held = split_clips(len(clips), plan.validation_share)
    height = plan.max_height or _measured_height([clips[number] for number in train])
    plan = replace(plan, max_height=height)
    wanted = tuple(SPATIAL) + (("speed",) if plan.temporal else ())
    stack_lags = lags_needed(plan.lags, wanted)
    done = 0

    def collect(numbers: list[int], most: int) -> CellCollector:
        nonlocal done
        collector = CellCollector(stack_lags, max_cells=most, seed=plan.seed, max_height=plan.max_height)
        for number in numbers:
            collector.feed(clips[number]())
            done += 1
            if feed_progress is not None:
                feed_progress(done, len(clips))
        return collector

    collected, held_out = collect(train, plan.max_cells), collect(held, plan.max_cells // 4)
    one_way = plan.temporal and collected.flow_consistency >= FLOW_CONSISTENT
    kinds = wanted + (("reverse",) if one_way else ()) + (("freeze",) if plan.temporal and plan.standing else ())
    options = AdaclOptions(
        lags=plan.lags, kinds=kinds, flip=not one_way, noise=STANDING_NOISE if plan.standing else 0.0
    )
    task = AdaclTask(collected.stacks(), held_out.stacks(), stack_lags, options, plan.seed)
    result = run_loop(
        task,
        samples=len(task.stacks),
        epochs=plan.epochs,
        patience=plan.patience,
        seed=plan.seed,
        folder=out / "training",
        progress=progress,
        step_progress=step_progress,
    )
    manifest = _manifest(plan, task, collected, result)
    return _write(out, manifest, task, held_out.stacks())


def _measured_height(clips: Sequence[OpenClip]) -> int:
    """Working height for the camera, measured on up to `_MEASURED_CLIPS` clips spread over the recording."""
    step = max(1, len(clips) // _MEASURED_CLIPS)
    heights, things = [], []
    for clip in clips[::step]:
        frames = iter(clip())
        first = next(frames, None)
        if first is None:
            continue
        heights.append(first.shape[0])
        found = object_height(chain([first], frames))
        if found is not None:
            things.append(found)
    if not heights:
        raise UsageError("the clips hold no frame", hint="give normal video")
    return working_height(heights[0], float(np.median(things)) if things else None)


def _manifest(plan: TrainingPlan, task: AdaclTask, collected: CellCollector, result: LoopResult) -> Manifest:
    frames = max(1, round(MEDIAN_SECONDS * plan.fps)) if plan.temporal else 1
    return Manifest(
        format_version=FORMAT_VERSION,
        name=plan.name,
        detector="adacl",
        description=f"ADACL on moving cells {'with history' if plan.temporal else 'of single frames'}, {plan.data}",
        input=InputSpec(
            channels=len(plan.lags),
            height=CELL,
            width=CELL,
            scale=SCALE,
            offset=OFFSET,
            max_height=plan.max_height,
        ),
        tiling=TilingSpec(kind="cells", lags=plan.lags),
        score=ScoreSpec(
            kind="top_cells",
            cells=TOP_CELLS if plan.temporal else 1,
            still=task.lowest_normal(),
            median_frames=frames,
        ),
        training=TrainingRecord(
            data=plan.data,
            licence=plan.licence,
            frames=collected.frames,
            fps=plan.fps,
            seed=plan.seed,
            epochs=result.epochs_run,
            checkpoint=(
                f"epoch {result.best_epoch}: best AUROC ({result.best_validation:.4f}) of held-out normal cells "
                "against anomalies created from them; no real anomaly was used"
            ),
            options={
                "cells": len(task.stacks),
                "cells_seen": collected.seen,
                "flow_consistency": round(collected.flow_consistency, 3),
                **task.description(),
                **plan.options,
            },
        ),
        parameters=sum(p.numel() for p in task.network.parameters()),
        files={},
    )


def _write(out: Path, manifest: Manifest, task: AdaclTask, stacks: npt.NDArray[np.uint8]) -> Bundle:
    channels = [task.stack_lags.index(lag) for lag in task.options.lags]
    tiles = (stacks[:256, channels].astype(np.float32) / np.float32(SCALE) + np.float32(OFFSET)).astype(np.float32)
    save_file({name: value.contiguous() for name, value in task.network.state_dict().items()}, out / WEIGHTS)
    export_onnx(task.network, tiles.shape[1:], out / ONNX)
    engine = OpenVinoEngine(out / ONNX, batch_sizes=BATCH_SIZES)
    try:
        parity = measure_parity(engine, task.network, tiles)
    finally:
        engine.close()
    manifest = manifest.model_copy(update={"parity": (parity,)})
    write_atomic(out / CARD, card(manifest))
    return write_manifest(out, manifest)
