"""Fitting the motion detector to a camera's normal video; needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

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
from streamad.calibration.false_alarms import FalseAlarm
from streamad.detectors.base import Fit
from streamad.detectors.motion import DETECTOR
from streamad.detectors.motion.density import MotionModel
from streamad.detectors.motion.fitting import TOP_CELLS, Fitted, fit
from streamad.detectors.motion.flow import AVERAGING_SECONDS, CHANGE, LAGS
from streamad.detectors.motion.layout import CELL, HEIGHT, LENGTH
from streamad.detectors.motion.overdue import OVERDUE
from streamad.detectors.motion.sampler import NORMAL, MotionSampler, NormalState, ScoredPart
from streamad.detectors.motion.scorer import SMOOTHING_SECONDS, RunningMean
from streamad.errors import UsageError
from streamad.formatting import markdown
from streamad.frame import Frame
from streamad.protocols import Progress, no_progress
from streamad.training.card import card
from streamad.training.closed_form import make_folder, write_fitted_bundle
from streamad.training.plan import Clip, TrainingPlan, frames_of, of_one_size
from streamad.training.watched import ALERT, WatchedVideo

PROGRESS_FRAMES = 250
"""Frames between two progress reports within a clip, which may be hours long."""

LONGEST_GAP_SECONDS = 60.0
"""Longer gaps between two scores count as this long: alerts before and after are separate in any case."""

KNOWN_SHARE = 0.25
"""Scores count for the threshold if the model that made them knew this share of what is known now. Learning doubles
what is known, so seven eighths of all video count."""

MOST_SCORE_SECONDS = 3 * 86_400.0
"""Length of the scores that are kept: enough for budgets of one alert in a week (`vouched_budget`)."""

REPORTED_STAY = "reported_stay_seconds"
"""Option in the training record: length from which a stay is reported, seconds; None: never."""

HELD_SECONDS = 0.5
"""Where the frame rate varies, a score is held until the next frame for up to this long."""


def fit_motion_bundle(plan: TrainingPlan, clips: Sequence[Clip], out: Path, *, progress: Progress | None = None) -> Fit:
    """Fit the motion detector to clips of one camera's normal video and write a bundle.

    However long the video is, it is read once, every frame of it may become an example and is scored for the threshold,
    and memory stays bounded (`MotionSampler`).

    Args:
        plan: What to fit. Default of `max_height`: `layout.HEIGHT`. The seed chooses among examples.
        clips: Normal video in order of time; one clip is enough.
        out: Folder of the bundle.
        progress: Called with each stage's name, the steps done, and their total.

    Returns:
        The exported bundle, and scores to calibrate it with.

    Raises:
        UsageError: No clip, clips of different sizes, too few frames per second, too little video, or nothing moves in
            it; or the name is not valid for a bundle.
        OutputError: `out` cannot be written to.
    """
    tell = progress or no_progress
    require_name(plan.name)
    if not clips:
        raise UsageError("no normal video was given", hint="give at least one clip")
    make_folder(out)
    DETECTOR.require_rate(plan.fps)
    manifest = motion_manifest(plan)
    sizes: dict[tuple[int, int], int] = {}
    with MotionSampler(manifest, out, seed=plan.seed, zones=plan.zones) as sampler:
        for number, frames in enumerate(_each(clips, "reading normal video", tell), 1):
            sampler.feed(of_one_size(frames, number, sizes))
        if not sampler.frames:
            raise UsageError("the clips contain no frames", hint="give normal video")
        fitted = fit(sampler, seed=plan.seed, progress=partial(tell, "fitting"))
        scores = cross_fitted_scores(sampler.clips, sampler.seconds, fitted.scores, plan.fps)
        seconds = _scored_seconds(scores, plan.fps)
        parts = [ScoredPart(clip, np.full(len(clip), np.nan), seconds) for clip in scores]
        sampler.state(parts, fps=plan.fps, seconds=seconds).save(out / NORMAL)
        manifest = _fitted_manifest(manifest, fitted, sampler, seconds)
    return Fit(_export(fitted.model, manifest, sampler, out), scores, plan.fps)


def learn_on_motion(bundle: Bundle, folder: Path, out: Path, false_alarms: Sequence[FalseAlarm] = ()) -> Fit:
    """Fit to what a bundle was learned from and to watched video; see `FittedDetector.learn_on`.

    Earlier video is not scored again, since only samples of it are left. Its scores count for the threshold as long as
    the models that made them knew at least `KNOWN_SHARE` of what is known now: one that knew less would have scored
    higher. The newest three days of scores are kept.

    Raises:
        BundleError: What the model was learned from cannot be read.
        UsageError: There is no watched video.
        OutputError: `out` cannot be written to.
    """
    state = NormalState.load(bundle.path / NORMAL)
    rows, cols = state.sizes.shape
    video = WatchedVideo(folder, length=LENGTH, grid=(rows, cols), false_alarms=false_alarms)
    if not len(video.frames):
        raise UsageError(f"there is no watched video in {folder}")
    make_folder(out)
    manifest, seed = bundle.manifest, bundle.manifest.training.seed
    with MotionSampler(manifest, out, seed=seed, state=state) as sampler:
        sampler.watch(video)
        fitted = fit(sampler, seed=seed)
        is_alert = (video.frames["flags"] & ALERT).astype(bool)
        limits = np.where(is_alert, video.frames["ceiling"].astype(np.float64), np.nan)
        scores = cross_fitted_scores(sampler.clips, sampler.seconds, fitted.scores, state.fps)
        ceilings = [_at_steps(sampler.seconds[clip], limits[clip], state.fps) for clip in _clip_slices(sampler.clips)]
        seconds = state.seconds + _scored_seconds(scores, state.fps)
        parts = [ScoredPart(*pair, seconds) for pair in zip(scores, ceilings, strict=True)]
        kept = _newest(state, parts, seconds)
        sampler.state(kept, fps=state.fps, seconds=seconds).save(out / NORMAL)
        manifest = _fitted_manifest(manifest, fitted, sampler, seconds)
    bundle = _export(fitted.model, manifest, sampler, out)
    return Fit(bundle, tuple(p.scores for p in kept), state.fps, tuple(p.ceilings for p in kept))


def _newest(state: NormalState, fresh: Sequence[ScoredPart], seconds: float) -> list[ScoredPart]:
    """Return the scored parts, old and new, that the threshold rests on when so much is known."""
    wanted = [part for part in (*state.parts, *fresh) if part.known >= KNOWN_SHARE * seconds]
    room = MOST_SCORE_SECONDS * state.fps
    first = len(wanted)
    while first > 0 and (room := room - len(wanted[first - 1].scores)) >= 0:
        first -= 1
    return wanted[min(first, len(wanted) - len(fresh)) :]


def _scored_seconds(scores: Sequence[npt.NDArray[np.float64]], fps: float) -> float:
    return float(sum(np.isfinite(clip).sum() for clip in scores)) / fps


def cross_fitted_scores(
    clips: npt.NDArray[np.int32],
    seconds: npt.NDArray[np.float64],
    scores: npt.NDArray[np.float32],
    fps: float,
) -> tuple[npt.NDArray[np.float64], ...]:
    """Arrange scores of frames as arrays of their clips, averaged over time as the scorer does.

    Args:
        clips: (frames,) number of each frame's clip, ascending.
        seconds: (frames,) its time in the clip.
        scores: (frames,) its own score.
        fps: Frames per second of the arrays.

    Returns:
        One array a clip, NaN where no frame was scored at that time.
    """
    answer = []
    for clip in _clip_slices(clips):
        mean = RunningMean()
        averaged = np.array([mean.push(t, s) for t, s in zip(seconds[clip], scores[clip], strict=True)])
        answer.append(_at_steps(seconds[clip], averaged, fps))
    return tuple(answer)


def _clip_slices(clips: npt.NDArray[np.int32]) -> list[slice]:
    """Return the frames of each clip."""
    first = np.flatnonzero(np.diff(clips, prepend=-1))
    return [slice(start, stop) for start, stop in pairwise([*first.tolist(), len(clips)])]


def _at_steps(seconds: npt.NDArray[np.float64], values: npt.NDArray[np.float64], fps: float) -> npt.NDArray[np.float64]:
    """Arrange values of one clip's frames in equal steps of time; NaN where there is no frame."""
    steps = np.diff(seconds, prepend=seconds[0])
    # Timestamps may jump by days.
    at = np.rint(np.cumsum(np.minimum(steps, LONGEST_GAP_SECONDS)) * fps).astype(np.int64)
    arranged = np.full(at[-1] + 1, np.nan)
    # If the frame rate varies, a value is held until the next frame; longer gaps have none.
    held = np.diff(at, append=at[-1] + 1)
    held[held >= HELD_SECONDS * fps] = 1
    within = np.arange(held.sum()) - np.repeat(np.cumsum(held) - held, held)
    arranged[np.repeat(at, held) + within] = np.repeat(values, held)
    return arranged


def _each(clips: Sequence[Clip], stage: str, tell: Progress) -> Iterator[Iterator[Frame]]:
    """Yield the frames of each clip, to be read before the next, and report progress, within clips too."""
    for number, clip in enumerate(clips):
        yield _reporting(clip, partial(tell, stage, number, len(clips)))
        tell(stage, number + 1, len(clips))


def _reporting(clip: Clip, tell: Callable[[], None]) -> Iterator[Frame]:
    for count, frame in enumerate(frames_of(clip)):
        if count % PROGRESS_FRAMES == 0:
            tell()
        yield frame


def motion_manifest(plan: TrainingPlan) -> Manifest:
    """Return a manifest that defines how a camera's frames become descriptors; see `fit_motion_bundle`."""
    max_height = plan.max_height or HEIGHT
    return Manifest(
        format_version=FORMAT_VERSION,
        name=plan.name,
        detector="motion",
        description=f"Movement in every part of the picture, {plan.data}",
        input=InputSpec(channels=LENGTH, height=1, width=1, scale=1.0, offset=0.0, max_height=max_height),
        tiling=TilingSpec(kind="cells", motion_level=CHANGE),
        score=ScoreSpec(kind="top_cells", cells=TOP_CELLS),
        training=TrainingRecord(
            data=plan.data,
            license=plan.license,
            frames=0,
            fps=plan.fps,
            seed=plan.seed,
            epochs=0,
            checkpoint="fitted in closed form; no selection",
        ),
        parameters=1,
        files={},
    )


def _fitted_manifest(manifest: Manifest, fitted: Fitted, sampler: MotionSampler, seconds: float) -> Manifest:
    """Return the manifest of a fitted model, which may be learned on from an earlier one's."""
    assert sampler.moments is not None
    before = manifest.training
    options: dict[str, Any] = {
        "anchors": len(fitted.model.anchors),
        "examples": len(fitted.model.examples),
        "cells": int(sampler.moments.counts.sum()),
        "seconds": round(seconds, 1),
        "stretches": fitted.stretches + before.options.get("stretches", 0),
        "stretch_seconds": fitted.stretch_seconds,
        REPORTED_STAY: None if fitted.usual_stay is None else round(OVERDUE * fitted.usual_stay, 1),
        "flow_seconds": list(LAGS),
        "averaging_seconds": AVERAGING_SECONDS,
        "smoothing_seconds": SMOOTHING_SECONDS,
        "cell_pixels": CELL,
    }
    training = before.model_copy(update={"frames": before.frames + sampler.frames, "options": options})
    return manifest.model_copy(update={"training": training, "parameters": fitted.model.numbers, "results": ()})


def _export(model: MotionModel, manifest: Manifest, sampler: MotionSampler, out: Path) -> Bundle:
    """Write the bundle; its parity is measured over descriptors of normal video."""

    def write_network(path: Path) -> None:
        from streamad.detectors.motion.graph import write_graph

        write_graph(model, path)

    kept, _, _ = sampler.sample()
    descriptors = kept[:: max(1, len(kept) // 256)][:256]
    return write_fitted_bundle(
        out,
        manifest,
        weights=model.state(),
        write_network=write_network,
        reference=lambda batch: model(batch[:, :, 0, 0]),
        inputs=descriptors[:, :, None, None],
        card=lambda whole: card(whole, card_rows(whole), "numpy"),
    )


def limitations(manifest: Manifest) -> list[str]:
    """Sentences on what a model cannot see."""
    if manifest.training.options.get(REPORTED_STAY) is not None:
        return []
    return [
        "it does not report what is left standing: the video is too short for how long things stand in it; more may do"
    ]


def _left_standing(seconds: float | None) -> str:
    return "not reported" if seconds is None else f"reported from {seconds:g} s on"


def card_rows(manifest: Manifest) -> list[str]:
    """Rows of the model card."""
    training, options = manifest.training, manifest.training.options
    lags = " and ".join(f"{seconds:g}" for seconds in options.get("flow_seconds", ()))
    return [
        f"| sees | movement over {lags} s in cells of {options.get('cell_pixels', '?')}×"
        f"{options.get('cell_pixels', '?')} working pixels, at any frame rate |",
        f"| working height | {manifest.input.max_height} pixels: taller frames are shrunk to it |",
        f"| score | mean distance of the {manifest.score.cells} farthest cells to normal movement at that place |",
        f"| left standing | {_left_standing(options.get(REPORTED_STAY))} |",
        f"| fitted to | {markdown(training.data)}, {training.frames} frames at {training.fps:g} frames/s, "
        f"{options.get('cells', '?')} moving cells in {options.get('stretches', '?')} stretches of "
        f"{options.get('stretch_seconds', '?')} s |",
    ]
