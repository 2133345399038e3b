"""Rendering of scenes to files: training and testing videos, labels, masks and `truth.json`."""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streamad.errors import OutputError, StreamadError, UsageError
from streamad.protocols import Progress, no_progress
from streamad.synthetic_scene.anomalies import ANOMALY_KINDS, AnomalyKind, check_kinds, plan
from streamad.synthetic_scene.layout import Layout, sample_layout
from streamad.synthetic_scene.stage import VISIBLE_FRACTION, Part, Sighting, iterate_frames, random_of
from streamad.synthetic_scene.truth import Box, SceneEvent, SceneTruth, SceneVideo, save_pixel_masks, save_truth
from streamad.video_writer import H264Writer

_MIN_SIZE = (160, 120)


@dataclass(frozen=True)
class _Job:
    """One video to render; sent to a worker process."""

    folder: str
    seed: int
    size: tuple[int, int]
    fps: float
    part: Part
    video: int
    seconds: float
    kinds: tuple[AnomalyKind, ...]
    crf: float
    pace: tuple[float, float] | None

    @property
    def frames(self) -> int:
        return round(self.seconds * self.fps)


def render_scene(
    out: Path,
    *,
    seed: int = 0,
    size: tuple[int, int] = (640, 360),
    fps: float = 12.5,
    training_seconds: float = 75.0,
    testing_seconds: float = 75.0,
    training_videos: int = 3,
    testing_videos: int = 1,
    anomalies: Sequence[str] = ANOMALY_KINDS,
    pace: tuple[float, float] | None = None,
    crf: float = 23.0,
    processes: int = 2,
    progress: Progress | None = None,
) -> SceneTruth:
    """Render a surveillance scene with ground truth.

    Writes `training/videos/01.mp4 …`, `testing/videos/01.mp4 …`, `testing/frame_labels/01.npy …` (one uint8 per
    frame), `testing/pixel_masks/01.npz …` (see `load_pixel_masks`) and `truth.json`. The folder appears when everything
    is complete, and replaces a scene rendered there before. Equal arguments give equal bytes.

    Args:
        out: The scene's folder: new, empty, or with a scene rendered before.
        seed: Seed of the place. Every non-negative seed is a different place.
        size: Picture size (width, height), even, at least 160×120.
        fps: Frames per second.
        training_seconds: Length of the training part, divided equally among its videos.
        testing_seconds: Length of the testing part, divided equally among its videos.
        training_videos: Number of training videos.
        testing_videos: Number of testing videos.
        anomalies: Anomalies of the testing part; each entry occurs once. See `ANOMALY_KINDS`.
        pace: Minimum and maximum speed of anomalous subjects, relative to the mean walking speed. Default: the usual
            range of each kind. With (0.9, 1.2), carts and cyclists differ from walkers only in appearance.
        crf: Quality of the H.264 encoding; lower is better and larger.
        processes: Number of videos rendered in parallel. With more than one, the calling script needs the usual
            `if __name__ == "__main__":` guard, because the processes are spawned.
        progress: Called with the number of frames done and the total.

    Returns:
        The ground truth, as read by `load_truth(out)`.

    Raises:
        UsageError: If an argument is out of range, an anomaly is unknown, or the anomalies do not fit.
        OutputError: If the folder contains something else or cannot be written to.
    """
    out = Path(out)
    _check(seed, size, fps, training_seconds, testing_seconds, training_videos, testing_videos, processes)
    kinds = check_kinds(anomalies)
    if pace is not None and not 0 < pace[0] <= pace[1]:
        raise UsageError(
            f"pace must be (minimum, maximum) relative to walking, both above 0, got {pace}",
            hint="use (0.9, 1.2) for subjects as fast as walkers, or omit it",
        )
    layout = sample_layout(seed, size)
    shares = _share_out(kinds, testing_videos, seed)
    for video, share in enumerate(shares):
        # If events do not fit, fail here rather than in a worker.
        plan(layout, share, testing_seconds / testing_videos, random_of(seed, "testing", video), pace)
    temporary = _prepare(out)
    try:
        jobs = [
            _Job(str(temporary), seed, size, fps, "training", k, training_seconds / training_videos, (), crf, None)
            for k in range(training_videos)
        ] + [
            _Job(str(temporary), seed, size, fps, "testing", k, testing_seconds / testing_videos, share, crf, pace)
            for k, share in enumerate(shares)
        ]
        results = _render_all(jobs, processes, progress)
        truth = SceneTruth(
            seed=seed,
            width=size[0],
            height=size[1],
            fps=fps,
            visible_fraction=VISIBLE_FRACTION,
            parameters=_describe(layout),
            videos=tuple(video for video, _ in results),
            events=tuple(event for _, events in results for event in events),
            root=out,
        )
        save_truth(truth, temporary)
        _publish(temporary, out)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, StreamadError):
            raise
        raise _unwritable(out, error) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return truth


def _check(
    seed: int,
    size: tuple[int, int],
    fps: float,
    training_seconds: float,
    testing_seconds: float,
    training_videos: int,
    testing_videos: int,
    processes: int,
) -> None:
    width, height = size
    if width % 2 or height % 2 or width < _MIN_SIZE[0] or height < _MIN_SIZE[1]:
        smallest = "×".join(map(str, _MIN_SIZE))
        raise UsageError(f"size must be even and at least {smallest}, got {width}×{height}")
    if seed < 0 or not 1 <= fps <= 60 or training_videos < 1 or testing_videos < 1 or processes < 1:
        raise UsageError(
            "expected seed >= 0, 1 <= fps <= 60 and at least one video of each part and one process, "
            f"got seed {seed}, fps {fps}, {training_videos} + {testing_videos} videos, {processes} processes"
        )
    for name, seconds, videos in (
        ("training_seconds", training_seconds, training_videos),
        ("testing_seconds", testing_seconds, testing_videos),
    ):
        if not math.isfinite(seconds) or seconds / videos < 1.0:
            raise UsageError(f"{name} must be at least 1 s per video, got {seconds} s for {videos} videos")


def _share_out(kinds: tuple[AnomalyKind, ...], videos: int, seed: int) -> list[tuple[AnomalyKind, ...]]:
    order = np.random.default_rng([seed, 4]).permutation(len(kinds)).tolist()
    return [tuple(kinds[i] for i in order[k::videos]) for k in range(videos)]


def _prepare(out: Path) -> Path:
    try:
        if out.exists() and not (out / "truth.json").is_file() and (not out.is_dir() or any(out.iterdir())):
            raise OutputError(
                f"{out} exists and is not a scene rendered by streamad",
                hint="choose a new or empty folder, so that nothing is overwritten",
            )
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        folder.chmod(0o755)
        return folder
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise _unwritable(out, error) from error


def _publish(temporary: Path, out: Path) -> None:
    if out.exists():
        # A folder cannot be replaced atomically, so move the old one aside first.
        aside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        os.replace(out, aside)
        os.replace(temporary, out)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        os.replace(temporary, out)


def _unwritable(out: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write the scene {out}: {error.strerror or error}",
        hint="check that the folder is writable and the disk is not full",
    )


_Result = tuple[SceneVideo, tuple[SceneEvent, ...]]


def _render_all(jobs: Sequence[_Job], processes: int, progress: Progress | None) -> list[_Result]:
    total = sum(job.frames for job in jobs)
    report = progress if progress is not None else no_progress
    if processes == 1 or len(jobs) == 1:
        done = 0

        def tick() -> None:
            nonlocal done
            done += 1
            report("rendering the scene", done, total)

        return [_render_video(job, tick) for job in jobs]
    context = multiprocessing.get_context("spawn")
    counter, stop = context.Value("q", 0), context.Event()
    # Start with the longest, so that no process is left with a long one at the end.
    order = sorted(range(len(jobs)), key=lambda k: -jobs[k].frames)
    with ProcessPoolExecutor(min(processes, len(jobs)), context, _start_worker, (counter, stop)) as pool:
        try:
            futures: dict[int, Future[_Result]] = {k: pool.submit(_work, jobs[k]) for k in order}
            pending: set[Future[_Result]] = set(futures.values())
            while pending:
                finished, pending = wait(pending, timeout=0.1)
                for future in finished:
                    future.result()
                report("rendering the scene", counter.value, total)
            return [futures[k].result() for k in range(len(jobs))]
        except BrokenProcessPool as error:
            raise StreamadError(
                "a rendering process died",
                hint="free memory, or render with processes=1 to see the cause",
            ) from error
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


_shared: dict[str, Any] = {}


def _start_worker(counter: Any, stop: Any) -> None:
    import cv2

    # There are as many processes as cores, so OpenCV's threads would only compete.
    cv2.setNumThreads(1)
    _shared["counter"], _shared["stop"] = counter, stop


def _work(job: _Job) -> _Result:
    def tick() -> None:
        with _shared["counter"].get_lock():
            _shared["counter"].value += 1
        if _shared["stop"].is_set():
            raise StreamadError("rendering was stopped")

    return _render_video(job, tick)


def _render_video(job: _Job, tick: Callable[[], None]) -> _Result:
    folder, name = Path(job.folder) / job.part, f"{job.video + 1:02d}"
    width, height = job.size
    seen: dict[int, dict[int, Sighting]] = {}
    packed = np.zeros((job.frames, height, (width + 7) // 8), np.uint8)
    file = folder / "videos" / f"{name}.mp4"
    frames = iterate_frames(
        seed=job.seed,
        size=job.size,
        fps=job.fps,
        seconds=job.seconds,
        part=job.part,
        video=job.video,
        anomalies=job.kinds,
        pace=job.pace,
    )
    # Use one encoder thread: the processes already share the cores, and the output is then independent of the machine.
    with H264Writer(file, width=width, height=height, fps=job.fps, crf=job.crf, threads=1) as writer:
        for frame in frames:
            writer.write(frame.pixels)
            for sighting in frame.sightings:
                seen.setdefault(sighting.event, {})[frame.index] = sighting
            if frame.mask is not None:
                packed[frame.index] = np.packbits(frame.mask, axis=1)
            tick()
    events = [_event(name, job.fps, sightings) for sightings in seen.values()]
    events.sort(key=lambda event: event.first_frame)
    root = Path(job.folder)
    if job.part == "training":
        return SceneVideo("training", name, str(file.relative_to(root)), job.frames), ()
    labels, masks = folder / "frame_labels" / f"{name}.npy", folder / "pixel_masks" / f"{name}.npz"
    video = SceneVideo(
        "testing",
        name,
        str(file.relative_to(root)),
        job.frames,
        str(labels.relative_to(root)),
        str(masks.relative_to(root)),
    )
    values = np.zeros(job.frames, np.uint8)
    for event in events:
        values[event.first_frame : event.last_frame + 1] = 1
    labels.parent.mkdir(parents=True, exist_ok=True)
    np.save(labels, values)
    save_pixel_masks(masks, packed, width)
    return video, tuple(events)


def _event(video: str, fps: float, sightings: dict[int, Sighting]) -> SceneEvent:
    first, last = min(sightings), max(sightings)
    boxes: list[Box | None] = [sightings[k].box if k in sightings else None for k in range(first, last + 1)]
    start, end = round(first / fps, 3), round((last + 1) / fps, 3)
    return SceneEvent(video, sightings[first].kind, first, last, start, end, tuple(boxes))


def _describe(layout: Layout) -> dict[str, float | str]:
    camera, way, light, look = layout.camera, layout.walkway, layout.light, layout.look
    return {
        "camera_height_metres": round(camera.elevation, 3),
        "camera_tilt_degrees": round(math.degrees(camera.tilt), 2),
        "field_of_view_degrees": round(2 * math.degrees(math.atan(camera.width / 2 / camera.focal)), 2),
        "walkway_angle_degrees": round(math.degrees(way.angle), 2),
        "walkway_width_metres": round(2 * way.half_width, 2),
        "walkway_visible_metres": round(way.visible[1] - way.visible[0], 2),
        "flow": "to the right" if way.forward > 0 else "to the left",
        "walkers_in_view": round(layout.walkers, 1),
        "walking_speed_metres_per_second": round(layout.pace, 2),
        "light": light.kind,
        "light_drift": round(light.drift, 4),
        "read_noise_levels": round(light.read_noise, 2),
        "backdrop": look.backdrop,
        "verge": look.verge_kind,
    }
