"""Create synthetic anomalies from a camera's normal clips, to compare detectors and settings without real anomalies.

    python experiments/synthetic_anomalies.py --out OUT [--scene SCENE --scene SCENE...] CLIP CLIP...

Each CLIP is a folder of pictures or a video. For each, three clips are written as folders of pictures, with labels as
.npy files (1 if the synthetic anomaly is in the picture):

- double-NAME: the clip at twice its speed; every frame is labeled;
- fast-NAME: cutouts of moving objects of the next clip, at their own position, moving at two to three times the usual
  speed;
- cart-NAME: the same, 1.8 to 2.6 times as wide and 1.1 to 1.5 times as tall, at one to two times the usual speed;
- other-NAME, if scenes rendered by `streamad.synthetic_scene` are given: their carts and cyclists, cut out with the
  true masks, as tall as the cutouts and at 0.8 to 1.2 times the usual speed. They differ only in appearance.

The usual speed is the median over moving objects, by optical flow; nothing is tuned to a scene. Synthetic anomalies
resemble each other and have pasted edges. They do not replace real anomalies: they can rank methods but not measure
them.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from streamad.sources import FileSpec, ImagesSpec, open_source
from streamad.synthetic_scene import load_pixel_masks, load_truth

Pictures = npt.NDArray[np.uint8]
KINDS = ("double", "fast", "cart", "other")
STRANGERS = ("cart", "cyclist")
PHASES = (0.33, 0.5, 0.67)
"""Parts of a foreign object's passage at which it is cut out."""
SMALLEST, LARGEST = 0.0008, 0.03
"""Range of the share of the picture that a cutout covers."""
FIRST, LAST = 35, 15
"""Frames at either end of a clip without synthetic anomalies: backgrounds are learned there, and windows end there."""


@dataclass(frozen=True)
class Cut:
    """A cutout of a moving object."""

    x: int
    y: int
    pixels: Pictures
    mask: npt.NDArray[np.bool_]
    velocity: npt.NDArray[np.float64]


def read(path: Path, limit: int | None) -> Pictures:
    """Read a clip as (frames, height, width)."""
    spec = FileSpec(path=path) if path.is_file() else ImagesSpec(path=path, fps=10)
    pictures = []
    with open_source(spec, camera="clip") as source:
        for frame in source:
            pictures.append(frame.pixels.copy())
            if limit is not None and len(pictures) == limit:
                break
    return np.stack(pictures)


def cuts_of(frames: Pictures, rng: np.random.Generator, tries: int = 40) -> list[Cut]:
    """Cut out moving objects of a clip, where it differs from its median picture."""
    rest = np.median(frames[:: max(1, len(frames) // 40)], axis=0).astype(np.uint8)
    height, width = rest.shape
    found = []
    for t in rng.permutation(len(frames) - 1)[:tries]:
        differs = cv2.GaussianBlur(cv2.absdiff(frames[t], rest), (5, 5), 0) > 18
        closed = cv2.morphologyEx(differs.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        count, labels, stats, _ = cv2.connectedComponentsWithStats(closed)
        no_flow: Any = None
        flow = cv2.calcOpticalFlowFarneback(frames[t], frames[t + 1], no_flow, 0.5, 3, 15, 3, 5, 1.2, 0)
        for k in range(1, count):
            x, y, w, h, area = (int(v) for v in stats[k])
            inside = x > 1 and y > 1 and x + w < width - 1 and y + h < height - 1
            if inside and SMALLEST * height * width < area < LARGEST * height * width:
                mask = labels[y : y + h, x : x + w] == k
                velocity = flow[y : y + h, x : x + w][mask].mean(axis=0).astype(np.float64)
                found.append(Cut(x, y, frames[t, y : y + h, x : x + w].copy(), mask, velocity))
    return found


def paste(picture: Pictures, cut: Cut, x: float, y: float) -> bool:
    """Draw a cutout on a picture in place; return whether most of it is inside."""
    height, width = picture.shape
    h, w = cut.pixels.shape
    left, top = round(x), round(y)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + w, width), min(top + h, height)
    if x1 <= x0 or y1 <= y0:
        return False
    part = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    weight = cv2.GaussianBlur(cut.mask.astype(np.float32), (3, 3), 0)[part]
    under = picture[y0:y1, x0:x1]
    picture[y0:y1, x0:x1] = (weight * cut.pixels[part] + (1 - weight) * under).astype(np.uint8)
    return (x1 - x0) * (y1 - y0) > 0.5 * w * h


def widened(cut: Cut, rng: np.random.Generator) -> Cut:
    """Stretch a cutout to the shape of a cart."""
    pixels = cv2.resize(cut.pixels, None, fx=rng.uniform(1.8, 2.6), fy=rng.uniform(1.1, 1.5))
    size = (pixels.shape[1], pixels.shape[0])
    mask = cv2.resize(cut.mask.astype(np.uint8), size)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8)) > 0
    return Cut(cut.x, cut.y, np.asarray(pixels, dtype=np.uint8), mask, cut.velocity)


def strangers_of(folder: Path) -> list[Cut]:
    """Cut out carts and cyclists of a rendered scene's test videos."""
    truth = load_truth(folder)
    found = []
    for video in truth.testing:
        frames = read(truth.file(video), None)
        masks = load_pixel_masks(folder / "testing" / "pixel_masks" / f"{video.name}.npz")
        events = [event for event in truth.events_of(video) if event.kind in STRANGERS]
        for event, phase in product(events, PHASES):
            t = round(event.first_frame + phase * (event.last_frame - event.first_frame))
            rows, columns = np.nonzero(masks[t])
            if len(rows):
                part = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
                found.append(Cut(0, 0, frames[t][part].copy(), masks[t][part] > 0, np.zeros(2)))
    return found


def stranger_for(cut: Cut, strangers: list[Cut], rng: np.random.Generator) -> Cut:
    """Pick a foreign object, possibly mirrored, for the position of a cutout and about as tall."""
    stranger = strangers[rng.integers(len(strangers))]
    scale = cut.pixels.shape[0] * rng.uniform(0.7, 1.1) / stranger.pixels.shape[0]
    pixels = cv2.resize(stranger.pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    size = (pixels.shape[1], pixels.shape[0])
    mask = cv2.resize(stranger.mask.astype(np.uint8), size) > 0
    if rng.random() < 0.5:
        pixels, mask = pixels[:, ::-1].copy(), mask[:, ::-1].copy()
    x = cut.x + cut.pixels.shape[1] // 2 - size[0] // 2
    y = cut.y + cut.pixels.shape[0] - size[1]  # with the feet at the same height
    return Cut(x, y, np.asarray(pixels, dtype=np.uint8), mask, cut.velocity)


SPEEDS = {"fast": (2.0, 3.0), "cart": (1.0, 2.0), "other": (0.8, 1.2)}


def made(
    clip: Pictures, donor: Pictures, kind: str, strangers: list[Cut], rng: np.random.Generator
) -> tuple[Pictures, npt.NDArray[np.bool_]]:
    """Create the frames and labels of one kind of synthetic anomaly."""
    if kind == "double":
        return clip[::2], np.ones(len(clip[::2]), bool)
    frames, labels = clip.copy(), np.zeros(len(clip), bool)
    cuts = cuts_of(donor, rng)
    if not cuts:
        raise SystemExit("nothing moves in the clip from which objects are cut out")
    speeds = np.array([np.hypot(*cut.velocity) for cut in cuts])
    usual = float(np.median(speeds[speeds > 0.2])) if (speeds > 0.2).any() else 1.0
    t = FIRST
    while t < len(frames) - LAST:
        cut = cuts[rng.integers(len(cuts))]
        speed = usual * rng.uniform(*SPEEDS[kind])
        cut = widened(cut, rng) if kind == "cart" else stranger_for(cut, strangers, rng) if kind == "other" else cut
        way = cut.velocity / (np.hypot(*cut.velocity) + 1e-6)
        if abs(way[0]) < 0.5:
            way = np.array([rng.choice([-1.0, 1.0]), 0.0])
        length = int(rng.integers(25, 45))
        start = np.array([cut.x, cut.y]) - way * speed * length / 2  # halfway, it is at its own position
        for k in range(min(length, len(frames) - t)):
            labels[t + k] |= paste(frames[t + k], cut, *(start + way * speed * k))
        t += length + int(rng.integers(15, 30))
    return frames, labels


def main() -> None:
    """Write the clips."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--scene", type=Path, action="append", default=[], help="a scene rendered by streamad.synthetic_scene"
    )
    parser.add_argument("--kinds", default=",".join(KINDS), help="comma-separated kinds to write")
    parser.add_argument("--limit", type=int, help="maximum number of frames per clip")
    given = parser.parse_args()
    clips = [read(path, given.limit) for path in given.clips]
    strangers = [cut for folder in given.scene for cut in strangers_of(folder)]
    kinds = [kind for kind in given.kinds.split(",") if kind != "other" or strangers]
    for number, (path, clip) in enumerate(zip(given.clips, clips, strict=True)):
        for kind in kinds:
            rng = np.random.default_rng([number, len(kind)])
            frames, labels = made(clip, clips[(number + 1) % len(clips)], kind, strangers, rng)
            folder = given.out / f"{kind}-{path.stem}"
            folder.mkdir(parents=True, exist_ok=True)
            for k, picture in enumerate(frames):
                cv2.imwrite(str(folder / f"{k:05d}.png"), picture)
            np.save(given.out / f"{kind}-{path.stem}.npy", labels)


if __name__ == "__main__":
    main()
