"""The model: how much each cell usually changes. It is fitted in closed form, and written as ONNX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from framediff.scorer import pair_of
from streamad import Progress
from streamad.bundle import (
    FORMAT_VERSION,
    Bundle,
    InputSpec,
    Manifest,
    ScoreSpec,
    TilingSpec,
    TrainingRecord,
    require_name,
)
from streamad.detectors import Fit
from streamad.errors import UsageError
from streamad.training.closed_form import make_folder, write_fitted_bundle
from streamad.training.plan import Clip, TrainingPlan, frames_of

Array = npt.NDArray[np.float32]

HEIGHT, WIDTH, CELL = 96, 128, 8
SCALE = 255.0
PARTS = 4
"""Parts of the video, each of which is scored by a model of the others."""

FLOOR = 0.002
"""Smallest standard deviation, as a share of full scale: half a gray level."""


@dataclass(frozen=True)
class Model:
    """Mean and standard deviation of every cell's change.

    Attributes:
        mean: (rows, cols).
        deviation: (rows, cols).
    """

    mean: Array
    deviation: Array

    @classmethod
    def of(cls, changes: Array) -> Model:
        """Fit to (frames, rows, cols) changes of normal video."""
        return cls(changes.mean(axis=0), np.maximum(changes.std(axis=0), np.float32(FLOOR)))

    def __call__(self, pairs: Array) -> Array:
        """Score (n, 2, height, width) pairs of frames: (n, 1 + cells), the highest cell and then each of them."""
        cells = ((changes_of(pairs) - self.mean) / self.deviation).reshape(len(pairs), -1)
        return np.concatenate([cells.max(axis=1, keepdims=True), cells], axis=1)


def changes_of(pairs: Array) -> Array:
    """Mean absolute difference of each cell: (n, rows, cols) of (n, 2, height, width)."""
    difference = np.abs(pairs[:, 0] - pairs[:, 1])
    cells = difference.reshape(len(pairs), HEIGHT // CELL, CELL, WIDTH // CELL, CELL)
    return np.asarray(cells.mean(axis=(2, 4)), np.float32)


def fit(
    plan: TrainingPlan, clips: Sequence[Clip], out: Path, progress: Progress, card: Callable[[Manifest], str]
) -> Fit:
    """Fit to normal video and write the bundle; see `FittedDetector.fit`."""
    require_name(plan.name)
    make_folder(out)
    changes, examples, frames = [], [], 0
    for number, clip in enumerate(clips):
        before = None
        for frame in frames_of(clip):
            frames += 1
            if before is not None and not frame.is_discontinuity and frame.shape == before.shape:
                pair = pair_of(frame, before, HEIGHT, WIDTH, SCALE)
                changes.append(changes_of(pair[None])[0])
                if len(changes) % 50 == 0:
                    examples.append(pair)
            before = frame
        progress("reading normal video", number + 1, len(clips))
    if len(changes) < 50 * PARTS:
        raise UsageError(
            f"there are {len(changes)} pairs of frames, at least {50 * PARTS} are needed", hint="give more normal video"
        )
    normal = np.stack(changes)
    bundle = export(Model.of(normal), plan, frames, np.stack(examples), out, card)
    return Fit(bundle, (scores_of_parts(normal),), plan.fps)


def scores_of_parts(changes: Array) -> npt.NDArray[np.float64]:
    """Score each part of the video by a model of the other parts: a model is less surprised by what it was fitted to."""
    scores = []
    for part in np.array_split(np.arange(len(changes)), PARTS):
        others = Model.of(np.delete(changes, part, axis=0))
        scores.append(((changes[part] - others.mean) / others.deviation).max(axis=(1, 2)))
    return np.concatenate(scores).astype(np.float64)


def export(
    model: Model, plan: TrainingPlan, frames: int, examples: Array, out: Path, card: Callable[[Manifest], str]
) -> Bundle:
    """Write the bundle, with the parity of its ONNX file measured."""
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name=plan.name,
        detector=plan.detector,
        description=f"change from frame to frame, {plan.data}",
        input=InputSpec(channels=2, height=HEIGHT, width=WIDTH, scale=SCALE, offset=0.0, resizer="linear"),
        tiling=TilingSpec(kind="clips", window=2),
        score=ScoreSpec(kind="map", heat_cell=CELL),
        training=TrainingRecord(
            data=plan.data,
            license=plan.license,
            frames=frames,
            fps=plan.fps,
            seed=plan.seed,
            epochs=0,
            checkpoint="fitted in closed form",
        ),
        parameters=model.mean.size + model.deviation.size,
        files={},
    )
    return write_fitted_bundle(
        out,
        manifest,
        weights={"mean": model.mean, "deviation": model.deviation},
        write_network=lambda path: write_onnx(model, path),
        reference=model,
        inputs=examples,
        card=card,
    )


def write_onnx(model: Model, path: Path) -> None:
    """Write the model as ONNX: input (n, 2, height, width), output (n, 1 + cells)."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    cells = model.mean.size
    constants: dict[str, npt.NDArray[np.generic]] = {
        "mean": model.mean[None, None],
        "deviation": model.deviation[None, None],
        "halves": np.array([1, 1], np.int64),
        "flat": np.array([-1, cells], np.int64),
        "axis": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Split", ["frames", "halves"], ["now", "before"], axis=1),
        helper.make_node("Sub", ["now", "before"], ["signed"]),
        helper.make_node("Abs", ["signed"], ["difference"]),
        helper.make_node("AveragePool", ["difference"], ["change"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
        helper.make_node("Sub", ["change", "mean"], ["excess"]),
        helper.make_node("Div", ["excess", "deviation"], ["map"]),
        helper.make_node("Reshape", ["map", "flat"], ["cells"]),
        helper.make_node("ReduceMax", ["cells", "axis"], ["highest"], keepdims=1),
        helper.make_node("Concat", ["highest", "cells"], ["scores"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "frame_difference",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, ["n", 2, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 1 + cells])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), str(path))
