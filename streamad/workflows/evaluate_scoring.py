"""Score the test clips of a data set: in parallel, resumable, with the same session as a live camera."""

from __future__ import annotations

import copy
import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamad import __version__
from streamad.array_files import read_arrays
from streamad.bundle import Bundle, combined_sha256
from streamad.detectors import CameraScorer
from streamad.engines import EngineSpec
from streamad.errors import DatasetError, OutputError
from streamad.evaluation.anomaly_maps import MAPS, AnomalyMapFile, AnomalyMapWriter
from streamad.evaluation.datasets import Clip, Dataset, image_files
from streamad.evaluation.scored_clips import ScoredClip
from streamad.files import locked, read_json, write_json
from streamad.inference.clips import score_clip
from streamad.inference.model import Model, open_model
from streamad.inference.session import Session
from streamad.protocols import Progress
from streamad.scoring import FrameScore
from streamad.sources import FileSpec, ImagesSpec, SourceError, SourceSpec, open_source
from streamad.sources.quality import QualitySpec

FORMAT = 2


def clip_source(clip: Clip, fps: float) -> SourceSpec:
    """Return the source of a clip; `fps` applies to folders of images whose rate is unknown."""
    if clip.kind == "video":
        return FileSpec(path=clip.path)
    return ImagesSpec(path=clip.path, fps=clip.fps or fps)


def known_scene(clip: Clip, training: Sequence[Clip]) -> Clip | None:
    """Return the training clip from which a test clip's scene at rest is learned, as a running camera has learned it.

    This is the last training clip of the same camera; None if there is none. ShanghaiTech's clip names begin with the
    camera's number ("01_0014"); other data sets have one camera.
    """
    scene = clip.name.partition("_")[0] if "_" in clip.name else None
    same = [c for c in training if scene is None or c.name.partition("_")[0] == scene]
    return same[-1] if same else None


def score_dataset(
    dataset: Dataset,
    bundle: Bundle,
    folder: Path,
    *,
    engine: EngineSpec | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    on_clip: Callable[[ScoredClip], None] | None = None,
) -> list[ScoredClip]:
    """Score every test clip; results of clips that an earlier run finished are read from disk.

    Each clip is treated as a separate camera that learned its scene at rest from a training clip (`known_scene`), so
    results depend neither on other clips nor on their order. Each worker has its own model; the workers share the CPU's
    threads.

    Args:
        dataset: The data set to score.
        bundle: The model.
        folder: Output folder; gets a subfolder for each clip.
        engine: The engine to run the model on. Default: chosen automatically.
        workers: Number of clips to score in parallel. Default: the number of CPUs, at most the number of clips.
        progress: Called with "scoring", the clips done, and their total.
        on_clip: Called with the scores of each finished clip.

    Returns:
        The scored clips, in the order of the data set.

    Raises:
        DatasetError: The data set has no test clips.
        EngineError: The engine cannot run on this machine, or failed.
        OutputError: The folder cannot be written to, or another process is writing to it.
    """
    if not dataset.testing:
        raise DatasetError(f"{dataset.name} has no test clips", hint="expected testing/ with labels")
    with locked(folder) as mine:
        if not mine:
            raise OutputError(
                f"another evaluation writes to {folder}", hint="wait for it, or give another folder with --out"
            )
        return _score_all(dataset, bundle, folder, engine or EngineSpec(), workers, progress, on_clip)


def _score_all(
    dataset: Dataset,
    bundle: Bundle,
    folder: Path,
    spec: EngineSpec,
    workers: int | None,
    progress: Progress | None,
    on_clip: Callable[[ScoredClip], None] | None,
) -> list[ScoredClip]:
    clips = dataset.testing
    count = min(workers or os.cpu_count() or 1, len(clips))
    if spec.threads is None and count > 1:
        spec = spec.model_copy(update={"threads": max(1, (os.cpu_count() or 1) // count)})
    local, opened, lock = threading.local(), list[Model](), threading.Lock()
    scenes = _Scenes(bundle, dataset)

    def work(clip: Clip) -> ScoredClip:
        identity = _identity(clip, bundle, scenes.of(clip), spec)
        place = folder / clip.name
        found = _finished(clip, bundle, place, identity)
        if found is not None:
            return found
        if not hasattr(local, "model"):
            local.model = open_model(bundle, spec, hint="latency" if count > 1 else "throughput")
            with lock:
                opened.append(local.model)
        scorer, problems = scenes.scorer(clip, local.model)
        try:
            return _score(clip, local.model, scorer, place, identity, problems)
        except OSError as error:  # not from a damaged source: that is recorded in `problems`
            raise OutputError(
                f"cannot write to {place}: {error.strerror or error}", hint="is the disk full? give another --out"
            ) from error

    results: dict[str, ScoredClip] = {}
    pool = ThreadPoolExecutor(count, thread_name_prefix="evaluate")
    try:
        # Longest first, so that no long clip is left running alone at the end.
        jobs: list[Future[ScoredClip]] = [pool.submit(work, c) for c in sorted(clips, key=lambda c: -c.frames)]
        for job in as_completed(jobs):
            scored = job.result()
            results[scored.name] = scored
            if on_clip is not None:
                on_clip(scored)
            if progress is not None:
                progress("scoring", len(results), len(clips))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for model in opened:
            model.close()
    return [results[clip.name] for clip in clips]


class _Scenes:
    """Scorers that have learned a scene at rest: each is created once and copied for every clip."""

    def __init__(self, bundle: Bundle, dataset: Dataset) -> None:
        self._bundle, self._dataset = bundle, dataset
        self._warm: dict[str | None, tuple[CameraScorer, list[str]]] = {}
        self._lock = threading.Lock()

    def of(self, clip: Clip) -> Clip | None:
        """Return the training clip that the scene is learned from; None if the detector learns none."""
        if self._bundle.manifest.tiling.kind != "cells":
            return None
        return known_scene(clip, self._dataset.training)

    def scorer(self, clip: Clip, model: Model) -> tuple[CameraScorer, list[str]]:
        """Return a scorer for the clip and the model's engine, and the problems of the training clip."""
        scene = self.of(clip)
        key = None if scene is None else scene.name
        with self._lock:
            if key not in self._warm:
                self._warm[key] = self._warmed(scene, model)
            scorer, problems = self._warm[key]
            return copy.deepcopy(scorer), list(problems)

    def _warmed(self, scene: Clip | None, model: Model) -> tuple[CameraScorer, list[str]]:
        # Created by the model, which knows whether its engine is stateful; ungated, since protocols score every frame.
        scorer = model.scorer(self._dataset.name, quality=QualitySpec(enabled=False))
        problems: list[str] = []
        if scene is not None:
            fps = self._bundle.manifest.training.fps
            try:
                with open_source(clip_source(scene, fps), camera=self._dataset.name) as source:
                    for frame in source:
                        scorer.preprocess(frame)  # learns the scene at rest; nothing is scored
                    problems = list(source.problems)
            except SourceError as error:
                problems.append(str(error))
        return scorer, [f"the scene at rest, from training clip {scene.name}: {p}" for p in problems if scene]


def _identity(clip: Clip, bundle: Bundle, scene: Clip | None, spec: EngineSpec) -> dict[str, Any]:
    """Return everything that a clip's scores depend on; if any of it changes, the clip is scored again."""
    return {
        "format": FORMAT,
        "streamad": __version__,
        "model_sha256": combined_sha256(bundle),
        "frames": clip.frames,
        "files": _fingerprint(clip),
        "scene": None if scene is None else [scene.name, _fingerprint(scene)],
        "engine": spec.label,
        "variant": bundle.variant_hashes(spec.precision),
    }


def _fingerprint(clip: Clip) -> str:
    """Hash names, sizes and times of a clip's files: detects a replaced frame or a same-named clip of another set."""
    files = image_files(clip.path) if clip.kind == "images" else [clip.path]
    content = hashlib.sha256()
    for file in files:
        state = file.stat()
        content.update(os.fsencode(file.name) + f"\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return content.hexdigest()


def _finished(clip: Clip, bundle: Bundle, place: Path, identity: dict[str, Any]) -> ScoredClip | None:
    """Return the clip's result from an earlier run with the same identity; None if there is none."""
    try:
        record = read_json(place / "clip.json")
        (scores,) = read_arrays(place / "scores.npy").values()
        if record.get("identity") != identity or scores.shape != (clip.frames,):
            return None
        return _scored_clip(clip, bundle, place, scores, record)
    except (OSError, ValueError):
        return None


def _scored_clip(
    clip: Clip, bundle: Bundle, place: Path, scores: npt.NDArray[np.float64], record: dict[str, Any]
) -> ScoredClip:
    assert clip.labels is not None  # test clips always have labels
    return ScoredClip(
        clip.name,
        scores,
        clip.labels,
        clip.fps or bundle.manifest.training.fps,
        maps=AnomalyMapFile(place) if (place / MAPS).is_file() else None,
        seconds=float(record["seconds"]),
        problems=tuple(record["problems"]),
        engine=str(record["engine"]),
    )


def _score(
    clip: Clip, model: Model, scorer: CameraScorer, place: Path, identity: dict[str, Any], problems: list[str]
) -> ScoredClip:
    place.mkdir(parents=True, exist_ok=True)
    (place / "clip.json").unlink(missing_ok=True)  # written last: marks the clip as finished
    started = time.monotonic()
    scores = np.full(clip.frames, np.nan)
    decoded, heat = 0, AnomalyMapWriter(place, clip.frames)

    def take(score: FrameScore) -> None:
        if score.index < clip.frames and score.anomaly_map is not None and score.boxes is not None:
            heat.add(score.index, score.anomaly_map, score.boxes)

    try:
        spec = clip_source(clip, model.bundle.manifest.training.fps)
        with open_source(spec, camera=clip.name) as source, heat:
            scored = score_clip(source, Session(model, camera=clip.name, scorer=scorer), on_score=take)
            known = scored.indices < clip.frames
            scores[scored.indices[known]] = scored.scores[known]
            if not known.all():
                problems.append(f"more than {clip.frames} frames; the others were left out")
            if scored.error is not None:
                raise scored.error
            problems += source.problems
            decoded = source.frames_decoded
    except SourceError as error:
        problems.append(str(error))
    if decoded < clip.frames and not problems:  # a few missing frames at a video's end are not reported
        problems.append(f"{decoded} of {clip.frames} frames came")
    if heat.left_out:
        problems.append(f"the picture changes its size: {heat.left_out} anomaly maps were left out")
    np.save(place / "scores.npy", scores)
    info = model.engine.info
    record = {
        "identity": identity,
        "seconds": time.monotonic() - started,
        "problems": problems,
        "engine": f"{info.name} {info.version}, {info.device}, {info.precision}",
    }
    write_json(place / "clip.json", record)
    return _scored_clip(clip, model.bundle, place, scores, record)
