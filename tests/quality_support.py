"""A scene with edges as seen by a camera with sensor noise, and ways to corrupt its picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

import cv2
import numpy as np
import numpy.typing as npt

from streamad.frame import Frame, FrameFlags
from streamad.sources.quality import QualitySpec
from streamad.sources.quality.gate import QualityGate

Picture = npt.NDArray[np.uint8]
FPS = 10.0


def place(seed: int = 4, size: tuple[int, int] = (320, 180)) -> Picture:
    """Return a still scene, (H, W): boxes and lines of many sizes on a soft background."""
    width, height = size
    rng = np.random.default_rng(seed)
    picture = cv2.resize(rng.uniform(80, 150, (5, 8)).astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    for _ in range(60):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        w, h = int(rng.integers(8, width // 6)), int(rng.integers(8, height // 6))
        cv2.rectangle(picture, (x, y), (x + w, y + h), float(rng.uniform(30, 220)), -1 if rng.random() < 0.6 else 2)
    return np.clip(picture, 0, 255).astype(np.uint8)


def watched(
    frames: int, *, seed: int = 4, noise: float = 1.5, walkers: int = 4, size: tuple[int, int] = (320, 180)
) -> Iterator[Picture]:
    """Generate (H, W) pictures of the scene, with walkers and sensor noise."""
    still, rng = place(seed, size), np.random.default_rng(seed)
    starts = rng.uniform(0, size[0], walkers)
    rows = rng.uniform(0.3, 0.7, walkers) * size[1]
    speeds = rng.uniform(1, 4, walkers) * rng.choice((-1, 1), walkers)
    for number in range(frames):
        picture = still.copy()
        for start, row, speed in zip(starts, rows, speeds, strict=True):
            x = int((start + speed * number) % (size[0] + 40)) - 20
            cv2.rectangle(picture, (x, int(row)), (x + 14, int(row) + 40), 25, -1)
        yield noisy(picture, rng, noise)


def noisy(picture: Picture, rng: np.random.Generator, level: float = 1.5) -> Picture:
    """Add sensor noise of `level` gray levels to a picture."""
    return np.clip(np.rint(picture + rng.normal(0, level, picture.shape)), 0, 255).astype(np.uint8)


def gain(picture: Picture, factor: float, offset: float = 0.0) -> Picture:
    """Change the exposure of a picture."""
    return np.clip(picture.astype(np.float32) * factor + offset, 0, 255).astype(np.uint8)


def shifted(picture: Picture, across: float, down: float = 0.0, turn: float = 0.0, zoom: float = 1.0) -> Picture:
    """Return the picture as seen by a displaced camera: shift in pixels, rotation in degrees, zoom factor."""
    height, width = picture.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, zoom)
    matrix[:, 2] += (across, down)
    return np.asarray(cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT), np.uint8)


def frames_of(pictures: Iterable[Picture], *, fps: float = FPS, keys: int = 10, start: int = 0) -> Iterator[Frame]:
    """Convert pictures to frames of a camera that sends a key frame every `keys` frames."""
    for number, picture in enumerate(pictures, start):
        flags = FrameFlags.KEY if number % keys == 0 else FrameFlags.NONE
        yield Frame("cam", number, number / fps, 0.0, picture, flags)


def verdicts(pictures: Iterable[Picture], spec: QualitySpec | None = None, *, fps: float = FPS) -> list[str | None]:
    """Return the gate's reason for every picture."""
    gate = QualityGate(spec)
    return [gate.check(frame).reason for frame in frames_of(pictures, fps=fps)]


def spoiled(
    good: int, bad: int, spoil: Callable[[Picture, int], Picture], after: int = 100, **scene: int
) -> Iterator[Picture]:
    """Generate `good` pictures of the scene, then `bad` corrupted ones, then good ones again."""
    for number, picture in enumerate(watched(good + bad + after, **scene)):  # type: ignore[arg-type]
        yield spoil(picture, number - good) if good <= number < good + bad else picture


def runs(found: Iterable[str | None]) -> list[tuple[str | None, int]]:
    """Group equal verdicts into runs with their lengths."""
    return [(reason, len(list(group))) for reason, group in groupby(found)]
