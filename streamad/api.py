"""The front door: load, fit and evaluate. `streamad/__init__.py` offers them with the other public names."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Literal

from streamad.bundle import Bundle, load_bundle
from streamad.calibration import AlertPolicySpec
from streamad.detectors import find_detector
from streamad.engines import EngineSpec
from streamad.evaluation.datasets import Dataset, part_of
from streamad.evaluation.scores import Edge, SingleClass
from streamad.inference.model import Model, open_model
from streamad.protocols import Progress
from streamad.scoring import Normalization
from streamad.sources import find_clips
from streamad.sources.frame_rate import look_at_clips
from streamad.training.plan import TrainingPlan
from streamad.workflows.calibrate import save_into_bundle
from streamad.workflows.evaluate import EvaluationResult, evaluate_dataset, find_test_data
from streamad.workflows.fit import fit_model


def load(
    model: str | Path,
    *,
    engine: EngineSpec | None = None,
    hint: Literal["latency", "throughput"] = "throughput",
    **options: Any,
) -> Model:
    """Load a model and open its engine.

    Args:
        model: Name of a shipped model, or the folder of a bundle.
        engine: What runs the network. Default: TensorRT where a GPU is, else OpenVINO.
        hint: "throughput" for files, "latency" for cameras.
        **options: Fields of `EngineSpec` by name, instead of `engine`: `load(name, threads=2)`. The engine itself is
            `name`: `load("motion-ped2", name="onnx")`.

    Raises:
        BundleError: The model is missing or damaged.
        EngineError: The engine cannot run here.
    """
    return open_model(model, EngineSpec(**options) if options else engine, hint=hint)


def fit(
    detector: str,
    videos: Sequence[str | Path],
    *,
    name: str = "fitted",
    fps: float = 25.0,
    data: str = "own video",
    license: str = "not stated",
    alerts_per_day: float = 1.0,
    rules: AlertPolicySpec | None = None,
    seed: int = 17,
    progress: Progress | None = None,
    **options: Any,
) -> Model:
    """Learn one camera's normal video.

    "motion" is fitted in seconds with the base install; the other detectors are networks, whose training needs the
    extra `train`. The model is calibrated: its alerts keep the budget.

    Args:
        detector: Name of the detector.
        videos: Normal video, in order of time: files, folders of images, or folders of those.
        name: Name of the model: lower-case letters, digits, dots, dashes and underscores.
        fps: Frames per second of folders of images.
        data: Name of the video, for the model's record.
        license: Terms of the video, for the model's record.
        alerts_per_day: Budget of false alerts.
        rules: Durations, cooldown and hysteresis of the alerts.
        seed: Seed of everything random.
        progress: Called with a stage, the steps done, and their total.
        **options: Fields of `TrainingPlan` (`epochs=10`, `device="cuda"`), and options of the detector's own.

    Returns:
        The model, in a temporary folder until `Model.save` copies it.

    Raises:
        UsageError: Too little video, nothing moves in it, or an unknown option.
        SourceError: A video cannot be read.
        EngineError: Training needs a module that is missing.
    """
    method = find_detector(detector)
    clips = find_clips([Path(video) for video in videos], fps).readable()
    known = {field.name for field in fields(TrainingPlan)}
    planned = {key: options.pop(key) for key in list(options) if key in known}
    plan = TrainingPlan(
        name=name,
        data=data,
        license=license,
        detector=detector,
        seed=seed,
        fps=look_at_clips(clips.clips, fps, one_rate=method.one_rate).fps,
        options={**planned.pop("options", {}), **options},
        **planned,
    )
    with _temporary_folder() as (folder, keep_for):
        fitted = fit_model(
            plan, clips.specs, folder / name, alerts_per_day=alerts_per_day, rules=rules, progress=progress
        )
        model = open_model(save_into_bundle(fitted.bundle, fitted.calibration), hint="throughput")
        keep_for(model)
    return model


def evaluate(
    model: Model | Bundle | str | Path,
    dataset: Dataset | str,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    label_set: str | None = None,
    clips: Sequence[str] | None = None,
    normalization: Sequence[Normalization] | None = None,
    edge: Edge = "leave_out",
    single_class: SingleClass = "leave_out",
    threshold: float | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Evaluate a model on the test clips of a data set.

    Args:
        model: The model, its name or its folder.
        dataset: Name of a data set (avenue, ped1, ped2, shanghaitech), or the folder of one in the generic layout.
        data: Folder of a data set that is given by name. Default: looked for in $STREAMAD_DATA.
        out: Folder that keeps the scores of every clip, so that an interrupted run resumes. Default: a temporary one.
        label_set: Which labels, where a set has several.
        clips: Test clips to evaluate: names, numbers, and ranges such as "1..4". The result says that it is of a part.
            Default: all.
        normalization: Protocols of the figures. Default: all that are possible.
        edge: What frames at a clip's ends without a score count as; see `evaluate_scores`.
        single_class: What clips of one class count as in the macro AUC; see `evaluate_scores`.
        threshold: Raw score of an alert. Default: the calibration's.
        workers: Clips scored at a time. Default: one a processor.
        progress: Called with "scoring", the clips done, and their total.

    Raises:
        UsageError: A clip does not exist.
        DatasetError: Nothing can be evaluated.
        CalibrationError: "calibrated" is asked for, and the model has no calibration.
        EngineError: The engine cannot run here.
    """
    loaded = model.bundle if isinstance(model, Model) else model if isinstance(model, Bundle) else load_bundle(model)
    found = dataset
    if not isinstance(found, Dataset):
        found = find_test_data(found, None if data is None else Path(data), label_set=label_set)
    if clips is not None:
        found = part_of(found, clips)
    with _temporary_folder() as (temporary, keep_for):
        result = evaluate_dataset(
            found,
            loaded,
            temporary if out is None else Path(out),
            engine=model.engine_spec if isinstance(model, Model) else None,
            workers=workers,
            protocols=normalization,
            edge=edge,
            single_class=single_class,
            threshold=threshold,
            progress=progress,
        )
        keep_for(result)
    return result


@contextmanager
def _temporary_folder() -> Iterator[tuple[Path, Callable[[object], None]]]:
    """A folder, and a function that keeps it as long as an object lives; without that it goes at the end."""
    folder = Path(mkdtemp(prefix="streamad-"))
    owners: list[object] = []
    try:
        yield folder, owners.append
    finally:
        if not owners:
            shutil.rmtree(folder, ignore_errors=True)
    for owner in owners:
        weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
