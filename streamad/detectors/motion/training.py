"""Fitting the motion detector to a camera's normal video; needs no torch."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, groupby, islice
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
from streamad.detectors.base import Fit
from streamad.detectors.motion import DETECTOR
from streamad.detectors.motion.density import MotionModel
from streamad.detectors.motion.fitting import TOP_PATCHES, USUAL, Fitted, Sample, fit
from streamad.detectors.motion.flow import PROBE_SECONDS, flow_seconds_for
from streamad.detectors.motion.layout import BLOCK, LENGTH, PATCH_SIZE, SPEED
from streamad.detectors.motion.sampler import Describer, MotionSampler
from streamad.detectors.motion.scorer import SMOOTHING_SECONDS, RunningMean
from streamad.detectors.motion.temporal_smoother import AVERAGING_SECONDS
from streamad.errors import UsageError
from streamad.formatting import markdown
from streamad.frame import Frame
from streamad.progress import Progress
from streamad.sources.frame_rate import DEFAULT_FPS, look_at
from streamad.training.card import card
from streamad.training.closed_form import make_folder, write_fitted_bundle
from streamad.training.plan import Clip, frames_of, of_one_size
from streamad.training.working_size import object_height, working_height

MEASURED_CLIPS = 4
"""Clips in which size and speed of what moves are measured, spread over the recording."""

MEASURED_SECONDS = 60.0
"""Maximum length measured in each of them, seconds, counting only frames in which something moves."""

PROGRESS_FRAMES = 250
"""Frames between two progress reports within a clip, which may be hours long."""

LONGEST_GAP_SECONDS = 60.0
"""Longer gaps between two scores count as this long: alerts before and after are separate in any case."""

ABSORBED_SECONDS = 0.4
"""Time in which the background adapts by one gray level: that of the other detectors' 4 frames at 10 frames/s."""

WARMUP_SECONDS = 3.2
"""Time until the background is trusted: their 32 frames at 10 frames/s."""


def fit_motion_bundle(
    clips: Sequence[Clip],
    out: Path,
    *,
    name: str,
    data: str = "own video",
    license: str = "not stated",
    fps: float | None = None,
    progress: Progress | None = None,
    max_height: int | None = None,
    seed: int = 17,
) -> Fit:
    """Fit the motion detector to clips of one camera's normal video and write a bundle.

    However long the video is, every frame of it is scored for the threshold, and memory stays bounded: if it has more
    frames than are fitted to (`MotionSampler`), it is read a second time to be scored.

    Args:
        clips: Normal video in order of time; one clip is enough.
        out: Folder of the bundle.
        name: Name of the bundle.
        data: Name of the video, for the record.
        license: Terms of the video, for the record.
        fps: Frames a second. None: the first clip's (`streamad.sources.frame_rate`).
        progress: Called with each stage's name, the steps done, and the steps in all.
        max_height: Taller frames are shrunk to this height, pixels. None: measured from the size of what moves.
        seed: Seed of the choice among examples.

    Returns:
        The exported bundle, and scores to calibrate it with.

    Raises:
        UsageError: No clip, clips of different sizes, too few frames a second, too little video, or nothing moves in
            it; or `name` is not valid for a bundle.
        OutputError: `out` cannot be written to.
    """
    tell = progress or (lambda stage, done, total: None)
    require_name(name)
    if not clips:
        raise UsageError("no normal video was given", hint="give at least one clip")
    make_folder(out)
    first = clips[0]
    rate = fps or (DEFAULT_FPS if callable(first) else look_at(first).fps)
    DETECTOR.require_rate(rate)
    height = max_height or _measured_height(clips, tell)
    manifest = motion_manifest(name, data=data, license=license, fps=rate, max_height=height, seed=seed)
    manifest = with_flow_seconds(manifest, _measured_flow_seconds(clips, manifest, tell))
    gatherer = MotionSampler(manifest, seed=seed)
    sizes: dict[tuple[int, int], int] = {}
    for number, frames in enumerate(_each(clips, "reading normal video", tell), 1):
        gatherer.feed(of_one_size(frames, number, sizes))
    samples = gatherer.samples
    fitted = fit(
        samples,
        gatherer.working or (0, 0),
        seed=seed,
        progress=lambda done, total: tell("fitting", done, total),
    )
    manifest = _fitted_manifest(manifest, fitted, gatherer)
    if gatherer.is_whole:
        scored: Iterable[tuple[Sample, float]] = zip(samples, fitted.scores.tolist(), strict=True)
    else:
        scored = fitted.scored(_described_again(clips, manifest, tell))
    scores = cross_fitted_scores(scored, rate)
    return Fit(_export(fitted.model, manifest, samples, out), scores, rate)


def cross_fitted_scores(scored: Iterable[tuple[Sample, float]], fps: float) -> tuple[npt.NDArray[np.float64], ...]:
    """Arrange scores of samples as arrays of their clips, averaged over time as the scorer does.

    Args:
        scored: Frames in order, each with its own score.
        fps: Frames a second of the arrays.

    Returns:
        One (frames,) array a clip, NaN where no frame was scored at that time.
    """
    answer = []
    for _, of_clip in groupby(scored, key=lambda pair: pair[0].clip):
        mean, places, values = RunningMean(), array("q"), array("d")  # a day has two million frames
        start: float | None = None
        last = 0.0
        for sample, score in of_clip:
            start = sample.seconds if start is None else start
            if sample.seconds - last > LONGEST_GAP_SECONDS:  # timestamps may jump by days
                start += sample.seconds - last - LONGEST_GAP_SECONDS
            last = sample.seconds
            places.append(round((last - start) * fps))
            values.append(mean.push(last, score))
        clip_scores = np.full(places[-1] + 1, np.nan)
        # If the frame rate varies, a score is held until the next frame; longer gaps have no scores.
        at = np.frombuffer(places, np.int64)
        steps = np.diff(at, append=at[-1] + 1)
        steps[steps >= AVERAGING_SECONDS * fps] = 1
        within = np.arange(steps.sum()) - np.repeat(np.cumsum(steps) - steps, steps)
        clip_scores[np.repeat(at, steps) + within] = np.repeat(np.frombuffer(values), steps)
        answer.append(clip_scores)
    return tuple(answer)


def _described_again(clips: Sequence[Clip], manifest: Manifest, tell: Progress) -> Iterator[Sample]:
    describer = Describer(manifest)
    for frames in _each(clips, "scoring every frame", tell):
        yield from describer.described(frames)


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


def _measured_height(clips: Sequence[Clip], tell: Progress) -> int:
    """Measure the camera's working height by the size of what moves in some of the clips."""
    chosen = clips[:: max(1, len(clips) // MEASURED_CLIPS)]
    heights, things = [], []
    for frames in _each(chosen, "measuring what moves", tell):
        first = next(frames, None)
        if first is not None:
            heights.append(first.shape[0])
            found = object_height(chain([first], frames))
            if found is not None:
                things.append(found)
    if not heights:
        raise UsageError("the clips contain no frames", hint="give normal video")
    return working_height(heights[0], float(np.median(things)) if things else None)


def _measured_flow_seconds(clips: Sequence[Clip], manifest: Manifest, tell: Progress) -> float:
    """Measure the best time between the frames of a flow, by the usual speed in some of the clips."""
    chosen = clips[:: max(1, len(clips) // MEASURED_CLIPS)]
    describer, speeds = Describer(manifest), []
    wanted = round(MEASURED_SECONDS * manifest.training.fps)
    for frames in _each(chosen, "measuring how fast it moves", tell):
        moving = (sample.values for sample in describer.described(frames) if len(sample.values))
        speeds += [values[:, SPEED].ravel() for values in islice(moving, wanted)]
    return flow_seconds_for(float(np.quantile(np.concatenate(speeds), USUAL))) if speeds else PROBE_SECONDS


def with_flow_seconds(manifest: Manifest, seconds: float) -> Manifest:
    """Return the manifest with the time between the frames of a flow."""
    options = {**manifest.training.options, "flow_seconds": round(seconds, 4)}
    return manifest.model_copy(update={"training": manifest.training.model_copy(update={"options": options})})


def motion_manifest(
    name: str, *, data: str, license: str, fps: float, max_height: int | None, seed: int = 17
) -> Manifest:
    """Return a manifest that defines how a camera's frames become descriptors; see `fit_motion_bundle`."""
    return Manifest(
        format_version=FORMAT_VERSION,
        name=name,
        detector="motion",
        description=f"speed, direction and look of what moves, {data}",
        input=InputSpec(channels=LENGTH, height=1, width=1, scale=1.0, offset=0.0, max_height=max_height),
        tiling=TilingSpec(
            kind="cells",
            background_period=max(1, round(ABSORBED_SECONDS * fps)),
            background_warmup=max(1, round(WARMUP_SECONDS * fps)),
        ),
        score=ScoreSpec(kind="top_cells", cells=TOP_PATCHES),
        training=TrainingRecord(
            data=data,
            license=license,
            frames=0,
            fps=fps,
            seed=seed,
            epochs=0,
            checkpoint="fitted in closed form; no selection",
        ),
        parameters=1,
        files={},
    )


def _fitted_manifest(manifest: Manifest, fitted: Fitted, gatherer: MotionSampler) -> Manifest:
    model = fitted.model
    options: dict[str, Any] = {
        "anchors": len(model.anchors),
        "velocities": len(model.velocities),
        "looks": len(model.looks),
        "look_parts": model.look_basis.shape[1],
        "blocks": fitted.blocks,
        "block_seconds": fitted.block_seconds,
        "cells": int(sum(len(sample.values) for sample in gatherer.samples)),
        "flow_seconds": manifest.training.options["flow_seconds"],
        "trace_seconds": AVERAGING_SECONDS,
        "smoothing_seconds": SMOOTHING_SECONDS,
        "block_pixels": BLOCK,
        "slopes": [round(float(slope), 3) for slope in model.slope],
    }
    return manifest.model_copy(
        update={
            "score": manifest.score.model_copy(update={"still": fitted.still}),
            "training": manifest.training.model_copy(update={"frames": gatherer.frames, "options": options}),
            "parameters": model.numbers,
        }
    )


def _export(model: MotionModel, manifest: Manifest, samples: Sequence[Sample], out: Path) -> Bundle:
    """Write the bundle; its parity is measured over descriptors of normal video."""

    def write_network(path: Path) -> None:
        from streamad.detectors.motion.graph import write_graph

        write_graph(model, path)

    descriptors = np.concatenate([sample.values for sample in samples[:: max(1, len(samples) // 16)]])[:256]
    return write_fitted_bundle(
        out,
        manifest,
        weights=model.state(),
        write_network=write_network,
        reference=lambda batch: model(batch[:, :, 0, 0]),
        inputs=descriptors[:, :, None, None],
        card=lambda whole: card(whole, card_rows(whole), "numpy"),
    )


def card_rows(manifest: Manifest) -> list[str]:
    """Rows of the model card."""
    training, options = manifest.training, manifest.training.options
    return [
        f"| sees | speed, direction and look of what moves in patches of {PATCH_SIZE}×{PATCH_SIZE} working pixels, "
        f"averaged along its path over {options.get('trace_seconds', '?')} s, at any frame rate |",
        f"| working height | {manifest.input.max_height or 'as the source'}: taller frames are shrunk to it |",
        f"| score | mean of the {manifest.score.cells} highest patches: by how much the logarithm of the odds of an "
        "anomaly is above that of a usual frame |",
        f"| fitted to | {markdown(training.data)}, {training.frames} frames at {training.fps:g} frames/s, "
        f"{options.get('cells', '?')} patches in {options.get('blocks', '?')} blocks |",
    ]
