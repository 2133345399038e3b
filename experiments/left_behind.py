"""What is left standing: things pasted into real normal video that are found, and false reports of the video as it is.

    python experiments/left_behind.py [--only cdnet umn3 upcam] [--scenes DIR ...] [--out runs/left_behind]

For every camera of the panel (see benchmarks/panel.py), and for scenes rendered by `streamad demo` (their folders `scene`),
stays are learned from the normal videos. The watched videos are then shown as they are, which no stay should be reported
in, and again with a thing pasted in: a piece of another camera's picture, at a random place, from a random time to the end.
Before each watched video, the normal one is shown if there is only one, which it continues. Prints what is found and what is false at several limits, and which
limit the other scenes would choose for each scene. Only the measure of stays runs; no network does. Cameras that are in the
results already stay there, so that it can be run in parts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from panel import load_cameras
from panel_metrics import ANOMALOUS

from streamad.detectors.motion import stay_limits
from streamad.detectors.motion.flow import grid_shape
from streamad.detectors.motion.layout import HEIGHT
from streamad.detectors.motion.overdue import OverdueStays
from streamad.detectors.motion.stay_limits import StayRecords, runs_of, usual_stay
from streamad.detectors.motion.stays import SAMPLE_SECONDS, StayMeter
from streamad.files import read_json, write_json
from streamad.frame import Frame, UInt8Image
from streamad.inference.reading import open_frames

FACTORS = (1.3, 1.5, 2.0, 3.0)
WINDOWS = (0, 5, 10, 15, 20, 30)
PASTED = 20
MOVING = 4
"""Gray levels between two samples, mean of a cell, from which something moves: instead of the optical flow."""

Box = tuple[int, int, int, int]


@dataclass
class Video:
    """Frames of a video, two a second, and which of them may hold something unusual."""

    frames: list[Frame]
    unusual: npt.NDArray[np.bool_]


def read(path: Path, labels: npt.NDArray[np.uint8] | None = None) -> Video:
    """Read a video's frames, about two a second."""
    frames: list[Frame] = []
    for frame in open_frames(path, "left"):
        if not frames or frame.pts_seconds - frames[-1].pts_seconds >= SAMPLE_SECONDS - 1e-3:
            frames.append(frame)
    at = np.array([frame.index for frame in frames])
    is_unusual = np.zeros(len(at), bool) if labels is None else labels[np.minimum(at, len(labels) - 1)] == ANOMALOUS
    return Video(frames, is_unusual)


def stays_of(meter: StayMeter, frames: list[Frame]) -> Iterator[tuple[Frame, npt.NDArray[np.bool_]]]:
    """Show frames, and yield those with stays that have grown."""
    for frame in frames:
        grown = meter.push(frame, grid_shape(frame.shape, HEIGHT))
        if grown is not None:
            yield frame, grown


def learn(paths: list[Path], is_continuous: bool) -> tuple[npt.NDArray[np.void], npt.NDArray[np.float64], Video]:
    """Return the stays of normal videos, their runs, and the last one."""
    records, clips, seconds, counts = None, [], [], []
    last = Video([], np.zeros(0, bool))
    for number, path in enumerate(paths):
        last, meter, before = read(path), StayMeter(), None
        for frame, grown in stays_of(meter, last.frames):
            records = records or StayRecords(grown.size)
            cells = np.flatnonzero(grown)
            records.add(cells, meter.seconds.ravel()[cells])
            small = cv2.resize(frame.pixels, grown.shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
            clips.append(number)
            seconds.append(frame.pts_seconds)
            counts.append(0 if before is None else int((np.abs(small - before) > MOVING).sum()))
            before = small
    assert records is not None
    runs = runs_of(np.array(clips, np.int32), np.array(seconds), np.array(counts, np.int32))
    return records.stays(), runs, last if len(paths) == 1 or is_continuous else Video([], np.zeros(0, bool))


def reports(before: Video, video: Video, usual: float, factor: float) -> list[tuple[float, npt.NDArray[np.bool_]]]:
    """Return the time and the cells of every thing that is reported in a video, shown after another."""
    meter, overdue, found = StayMeter(), OverdueStays(factor), []
    for _ in stays_of(meter, before.frames):
        pass
    offset = before.frames[-1].pts_seconds + SAMPLE_SECONDS if before.frames else 0.0
    known = overdue.cells
    for frame in video.frames:
        now = frame.pts_seconds + offset
        shown = Frame(frame.camera, frame.index, now, 0.0, frame.pixels)
        grown = meter.push(shown, grid_shape(frame.shape, HEIGHT))
        if grown is None:
            continue
        cells = np.argwhere(grown)
        length = meter.seconds[grown]
        overdue.push(now, meter.seconds, cells, length, np.full(len(length), usual, np.float32), length)
        if overdue.cells is not None and overdue.cells is not known:
            found.append((frame.pts_seconds, overdue.cells.copy()))
        known = overdue.cells
    return found


def pasted(video: Video, thing: UInt8Image, box: Box, start: float) -> Video:
    """Return the video with a thing in a box from a time on."""
    x0, y0, x1, y1 = box
    piece = cv2.resize(thing, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
    frames = []
    for frame in video.frames:
        pixels = frame.pixels
        if frame.pts_seconds >= start:
            pixels = pixels.copy()
            pixels[y0:y1, x0:x1] = piece
        frames.append(Frame(frame.camera, frame.index, frame.pts_seconds, 0.0, pixels))
    return Video(frames, video.unusual)


def cells_of(box: Box, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the (rows, cols) cells that a box touches."""
    rows, cols = grid_shape(shape, HEIGHT)
    mask = np.zeros(shape, np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 255
    return np.asarray(cv2.resize(mask, (cols, rows), interpolation=cv2.INTER_AREA) > 0)


def measure(
    normal: list[Path], watched: list[Video], things: list[UInt8Image], is_continuous: bool
) -> dict[str, object]:
    """Return what is found and what is false at every limit."""
    stays, runs, before = learn(normal, is_continuous)
    answer: dict[str, object] = {
        "longest_usual": float(stays["seconds"].max(initial=0)), "normal_seconds": float(runs[:, 0].sum()),
        "moving_seconds": float(runs[:, 1].sum()),
    }  # fmt: skip
    rng = np.random.default_rng(1)
    placed = []
    for _ in range(PASTED):
        video = watched[int(rng.integers(len(watched)))]
        height, width = video.frames[0].shape
        scale = min(1.0, height / HEIGHT)
        tall, wide = (max(4, round(float(rng.uniform(20, 48)) * scale)) for _ in range(2))
        x0, y0 = int(rng.integers(width - wide)), int(rng.integers(height - tall))
        length = video.frames[-1].pts_seconds
        start = float(rng.uniform(0.1, 0.4)) * length
        placed.append((video, (x0, y0, x0 + wide, y0 + tall), start, things[int(rng.integers(len(things)))]))
    for factor in FACTORS:
        saved, stay_limits.WINDOWS = stay_limits.WINDOWS, 0
        usual = usual_stay(stays, runs, factor)
        vouched = []
        for windows in WINDOWS:
            stay_limits.WINDOWS = windows
            vouched.append(usual_stay(stays, runs, factor) < stay_limits.NEVER)
        stay_limits.WINDOWS = saved
        false = found = possible = 0
        if usual < stay_limits.NEVER:
            for video in watched:
                for now, _ in reports(before, video, usual, factor):
                    at = int(np.argmin([abs(f.pts_seconds - now) for f in video.frames]))
                    false += not video.unusual[max(0, at - 10) : at + 1].any()
            for video, box, start, thing in placed:
                there = cells_of(box, video.frames[0].shape)
                if video.frames[-1].pts_seconds - start < factor * usual + 2:
                    continue  # it does not stay for long enough
                possible += 1
                shown = reports(before, pasted(video, thing, box, start), usual, factor)
                found += any((cells & there).any() and now >= start for now, cells in shown)
        for windows, is_vouched in zip(WINDOWS, vouched, strict=True):
            given = (found, possible, false) if is_vouched else None
            answer[f"{factor:g}/{windows}"] = given
    return answer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="cameras, or what their names start with")
    parser.add_argument("--scenes", nargs="*", type=Path, default=[], metavar="DIR", help="rendered scenes")
    parser.add_argument("--out", type=Path, default=Path("runs/left_behind"), metavar="DIR")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    path = options.out / "results.json"
    results: dict[str, dict[str, object]] = read_json(path) if path.exists() else {}
    cameras = load_cameras(options.only)
    pictures = [next(iter(open_frames(camera.normal[0], "thing"))).pixels for camera in cameras]
    sources = [(c.name, list(c.normal), [(v, c.labels.get(v.stem)) for v in c.watched]) for c in cameras]
    for folder in options.scenes:
        normal = sorted((folder / "training" / "videos").glob("*.mp4"))
        # The anomalies of the testing part are true ones: what is watched is the last normal video.
        sources.append((f"rendered-{folder.parent.name}", normal[:-1], [(normal[-1], None)]))
    for number, (name, normal, watched) in enumerate(sources):
        others = [picture for k, picture in enumerate(pictures) if k != number] or pictures
        things = []
        for _ in range(10):
            picture = others[int(rng.integers(len(others)))]
            y, x = (int(rng.integers(0, max(1, side - 48))) for side in picture.shape)
            things.append(picture[y : y + 48, x : x + 48])
        videos = [read(path, labels) for path, labels in watched]
        results[name] = measure(normal, videos, things, name.startswith("rendered"))
        print(name, results[name], flush=True)
        write_json(path, results)
    keys = [f"{factor:g}/{windows}" for factor, windows in product(FACTORS, WINDOWS)]

    def total(names: list[str], key: str) -> tuple[int, int, int]:
        given = [value for name in names if (value := results[name][key]) is not None]
        sums = np.array(given, int).reshape(-1, 3).sum(axis=0)
        return int(sums[0]), int(sums[1]), int(sums[2])

    for key in keys:
        print(key, "found, possible, false:", total(list(results), key))
    for scene in sorted({name.split("-")[0] for name in results}):
        own = [name for name in results if name.split("-")[0] == scene]
        rest = [name for name in results if name not in own]
        quiet = [key for key in keys if total(rest, key)[2] == 0]
        if quiet:
            best = max(quiet, key=lambda key: total(rest, key)[0])
            print(f"{scene}: the others choose {best}: found, possible, false here {total(own, best)}")


if __name__ == "__main__":
    main()
