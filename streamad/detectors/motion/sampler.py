"""What is kept of normal video: all descriptors on disk, and in memory a sample and sums of each cell.

What a model was learned from is kept in its bundle as a `NormalState`, so that it can be learned on from there.
"""

from __future__ import annotations

import io
import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamad.array_files import read_arrays
from streamad.bundle import Manifest
from streamad.detectors.motion.descriptors import cell_boxes
from streamad.detectors.motion.layout import CELL, LENGTH, MOVEMENT, PLACE, SHARE, SPEED, STAY
from streamad.detectors.motion.scorer import MotionScorer
from streamad.detectors.motion.stay_limits import STAY_DTYPE, StayRecords, runs_of
from streamad.errors import BundleError, OutputError
from streamad.files import write_atomic
from streamad.frame import Frame
from streamad.protocols import Closeable
from streamad.training.watched import WatchedVideo, is_example
from streamad.zones import Zones, ZoneSpec

Floats = npt.NDArray[np.float32]

VERSION = 2
"""Version of the file: since 2 it has stays."""

PER_CELL = 256
"""Maximum number of descriptors of a cell that are kept as candidates for examples."""

EARLIER, EMPTY = -1, -2
"""Number of the frame of a candidate that the model was learned from before, and of an empty place."""

NORMAL = "normal.npz"
"""File of a `NormalState` in a bundle."""

MOST_RUNS = 4096
"""Clips whose lengths are kept: the newest."""

READ_CELLS = 65_536
"""Descriptors that are read back from the file at once, about."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over all descriptors of each cell: (rows, cols, …) float64.

    Attributes:
        counts: Number of descriptors.
        squares: (rows, cols, 10) sum of the squares of the movement.
        shares: Sum of the shares that move.
        speeds: Sum of the mean speeds.
    """

    counts: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]
    shares: npt.NDArray[np.float64]
    speeds: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ScoredPart:
    """Scores of one clip of normal video by a model that was not shown it.

    Attributes:
        scores: (T,) see `Fit.scores`.
        ceilings: (T,) see `Fit.ceilings`.
        known: Seconds of normal video known to that model.
    """

    scores: npt.NDArray[np.float64]
    ceilings: npt.NDArray[np.float64]
    known: float


@dataclass(frozen=True)
class NormalState:
    """What a model knows of normal video, to be learned on from.

    Attributes:
        sizes: (rows, cols) number of candidates of each cell.
        kept: (n, length) float16 candidates, cell by cell: a uniform sample of each cell.
        moments: Sums over all descriptors.
        parts: The scores that its threshold rests on.
        fps: Frames per second of these scores.
        seconds: Length of all normal video that was learned from.
        stays: (k,) `STAY_DTYPE` longest stays of every cell.
        runs: (clips, 2) length of each clip, and for how long something moved in it, seconds.
    """

    sizes: npt.NDArray[np.int64]
    kept: npt.NDArray[np.float16]
    moments: Moments
    parts: tuple[ScoredPart, ...]
    fps: float
    seconds: float
    stays: npt.NDArray[np.void]
    runs: npt.NDArray[np.float64]

    def save(self, path: Path) -> None:
        """Write the state; scores are rounded to 16 bits.

        Raises:
            OutputError: The file cannot be written.
        """
        known = [part.known for part in self.parts]
        header = {"version": VERSION, "known": known, "fps": self.fps, "seconds": self.seconds}
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            header=np.frombuffer(json.dumps(header).encode(), np.uint8),
            sizes=self.sizes.astype(np.int32),
            kept=self.kept,
            counts=self.moments.counts,
            squares=self.moments.squares,
            shares=self.moments.shares,
            speeds=self.moments.speeds,
            scores=np.concatenate([np.zeros(0), *(part.scores for part in self.parts)]).astype(np.float16),
            ceilings=np.concatenate([np.zeros(0), *(part.ceilings for part in self.parts)]).astype(np.float32),
            lengths=np.array([len(part.scores) for part in self.parts], np.int64),
            stay_cells=self.stays["cell"],
            stay_seconds=self.stays["seconds"],
            runs=self.runs[-MOST_RUNS:],
        )
        write_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> NormalState:
        """Read a file written by `save`.

        Raises:
            BundleError: It is missing or damaged.
        """
        try:
            arrays: dict[str, Any] = read_arrays(path)
            header = json.loads(arrays["header"].tobytes().decode())
            if header["version"] != VERSION:
                raise ValueError(f"version {header['version']!r} is not supported, only version {VERSION}")
            sizes, kept = arrays["sizes"].astype(np.int64), arrays["kept"].astype(np.float16)
            if sizes.ndim != 2 or sizes.min() < 0 or sizes.max() > PER_CELL or kept.shape != (sizes.sum(), LENGTH):
                raise ValueError("its arrays do not fit together")
            moments = Moments(*(arrays[name].astype(np.float64) for name in ("counts", "squares", "shares", "speeds")))
            if moments.counts.shape != sizes.shape or moments.squares.shape[:2] != sizes.shape:
                raise ValueError("its arrays do not fit together")
            ends = np.cumsum(arrays["lengths"])[:-1]
            scores, ceilings = (np.split(arrays[n].astype(np.float64), ends) for n in ("scores", "ceilings"))
            stays = np.zeros(len(arrays["stay_cells"]), STAY_DTYPE)
            stays["cell"], stays["seconds"] = arrays["stay_cells"], arrays["stay_seconds"]
            runs = arrays["runs"].astype(np.float64)
            if (
                runs.ndim != 2
                or runs.shape[1] != 2
                or not (stays["cell"] >= 0).all()
                or not (stays["cell"] < sizes.size).all()
            ):
                raise ValueError("its arrays do not fit together")
            parts = [ScoredPart(*part) for part in zip(scores, ceilings, map(float, header["known"]), strict=True)]
            fps, seconds = float(header["fps"]), float(header["seconds"])
            return cls(sizes, kept, moments, tuple(parts), fps, seconds, stays, runs)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{path} does not hold what the model was learned from: {error}") from error


class MotionSampler(Closeable):
    """Describes clips of a camera's normal video in one pass, however long they are.

    Every descriptor goes to a temporary file, 26 bytes each, to be compared with the examples of other times once these
    are known. Memory holds a uniform sample of each cell (reservoir sampling, Vitter 1985), so that every frame is
    equally likely to become an example, and sums over all descriptors.

    Args:
        manifest: How frames become descriptors.
        folder: Folder of the temporary file, which has no name and vanishes when this object is closed.
        seed: Seed of the sample.
        state: What was seen before. Its samples and sums are continued, as if all video had been read in one pass; its
            candidates are of the frame `EARLIER`.
        zones: The parts of the picture to learn from clips. Empty: all of it.

    Raises:
        OutputError: The file cannot be written.
    """

    def __init__(
        self,
        manifest: Manifest,
        folder: Path,
        *,
        seed: int = 17,
        state: NormalState | None = None,
        zones: Sequence[ZoneSpec] = (),
    ) -> None:
        self._zones = Zones.of(zones)
        self._scorer = MotionScorer(manifest, "fitting")
        self._rng = np.random.default_rng(seed if state is None else (seed, round(state.seconds)))
        self._folder = folder
        with self._on_disk():
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as this object
        self._counts, self._clips, self._seconds = array("i"), array("i"), array("d")
        self._clip = -1
        self._kept: Floats | None = None
        self._kept_at: npt.NDArray[np.int64]
        self._moments: Moments
        self._stays: StayRecords
        self._earlier_runs = np.zeros((0, 2)) if state is None else state.runs
        self._watched: WatchedVideo | None = None
        self.frames = 0
        """Frames read."""
        if state is not None:
            self._continue(state)

    @property
    def clips(self) -> npt.NDArray[np.int32]:
        """(described,) number of each described frame's clip."""
        return np.frombuffer(self._clips, np.int32)

    @property
    def seconds(self) -> npt.NDArray[np.float64]:
        """(described,) time of each described frame since its clip's first one."""
        return np.frombuffer(self._seconds, np.float64)

    @property
    def counts(self) -> npt.NDArray[np.int32]:
        """(described,) number of each described frame's descriptors."""
        return np.frombuffer(self._counts, np.int32)

    @property
    def moments(self) -> Moments | None:
        """Sums over all descriptors; None before the first described frame."""
        return None if self._kept is None else self._moments

    @property
    def stays(self) -> npt.NDArray[np.void]:
        """(n,) `STAY_DTYPE` longest stays of every cell."""
        return np.zeros(0, STAY_DTYPE) if self._kept is None else self._stays.stays()

    @property
    def runs(self) -> npt.NDArray[np.float64]:
        """(clips, 2) length of each clip, and for how long something moved in it, seconds."""
        return np.concatenate([self._earlier_runs, runs_of(self.clips, self.seconds, self.counts)])

    def feed(self, frames: Iterable[Frame]) -> None:
        """Add one clip.

        Raises:
            OutputError: The disk is full.
        """
        self._clip += 1
        self._scorer.reset()
        began: float | None = None
        for frame in frames:
            self.frames += 1
            found = self._scorer.described(frame)
            if isinstance(found, str):
                continue
            began = frame.pts_seconds if began is None else began
            if self._kept is None:
                self._begin(found.grid)
            locations, values = found.locations, found.values
            if self._zones is not None:
                boxes, settled = cell_boxes(frame.shape, found.grid), values[:, STAY] > 0
                kept = self._zones.keep(boxes, locations, settled=settled, standing=self._scorer.standing)
                locations, values = locations[kept], values[kept]
            self._keep(locations, values)
            self._counts.append(len(values))
            self._clips.append(self._clip)
            self._seconds.append(frame.pts_seconds - began)
        with self._on_disk():
            self._file.flush()

    def watch(self, video: WatchedVideo) -> None:
        """Add what a running watch kept, instead of clips: all frames are to be scored, and some are examples.

        Raises:
            OSError: It cannot be read.
        """
        self._watched = video
        frames, is_normal = video.frames, is_example(video.frames)
        for run, values in video.read():
            ends = np.cumsum(frames["inputs"][run], dtype=np.int64)
            for number, stop in enumerate(ends.tolist(), run.start):
                stored = values[stop - frames["inputs"][number] : stop]
                if not is_normal[number]:
                    stored = stored[stored[:, STAY] > 0]
                own = stored.astype(np.float32)
                if is_normal[number]:
                    self._sample(_locations(own), own, number)
                elif len(own):
                    self._note_stays(_locations(own), own, is_normal=False)
        self._counts = array("i", frames["inputs"].astype(np.int32).tobytes())
        self._clips = array("i", video.clips.tobytes())
        self._seconds = array("d", video.seconds.tobytes())
        self.frames = len(frames)

    def state(self, parts: Sequence[ScoredPart], *, fps: float, seconds: float) -> NormalState:
        """Return what is known now, to be learned on from; see `NormalState` for the arguments."""
        assert self._kept is not None
        is_kept = self._kept_at > EMPTY
        sizes = is_kept.sum(axis=1).reshape(self._moments.counts.shape)
        kept = self._kept[is_kept].astype(np.float16)
        return NormalState(sizes, kept, self._moments, tuple(parts), fps, seconds, self.stays, self.runs)

    def sample(self) -> tuple[Floats, npt.NDArray[np.int64], npt.NDArray[np.intp]]:
        """Return the kept descriptors (n, length), the number of the described frame of each, and that of its cell.

        A candidate that was known before has the frame `EARLIER`.
        """
        if self._kept is None:
            return np.zeros((0, LENGTH), np.float32), np.zeros(0, np.int64), np.zeros(0, np.intp)
        cells, slots = np.nonzero(self._kept_at > EMPTY)
        return self._kept[cells, slots], self._kept_at[cells, slots], cells

    def read(self) -> Iterator[tuple[slice, Floats]]:
        """Yield runs of described frames in order, each with the descriptors of all of them, (n, length) float32."""
        if self._watched is not None:
            for run, inputs in self._watched.read():
                yield run, inputs.astype(np.float32)
            return
        self._file.seek(0)
        ends = np.cumsum(self.counts, dtype=np.int64)
        start, done = 0, 0
        while start < len(ends):
            stop = max(start + 1, int(np.searchsorted(ends, done + READ_CELLS, side="right")))
            size = int(ends[stop - 1]) - done
            data = np.frombuffer(self._file.read(2 * LENGTH * size), np.float16).reshape(size, LENGTH)
            yield slice(start, stop), data.astype(np.float32)
            start, done = stop, int(ends[stop - 1])

    def close(self) -> None:
        """Remove the temporary file."""
        with suppress(OSError):  # what a full disk did not take is not wanted any more
            self._file.close()

    def _begin(self, grid: tuple[int, int]) -> None:
        cells = grid[0] * grid[1]
        self._kept = np.zeros((cells, PER_CELL, LENGTH), np.float32)
        self._kept_at = np.full((cells, PER_CELL), EMPTY, np.int64)
        self._stays = StayRecords(cells)
        self._moments = Moments(
            np.zeros(grid), np.zeros((*grid, MOVEMENT.stop - MOVEMENT.start)), np.zeros(grid), np.zeros(grid)
        )

    def _continue(self, state: NormalState) -> None:
        rows, cols = state.sizes.shape
        self._begin((rows, cols))
        assert self._kept is not None
        cells = np.repeat(np.arange(rows * cols), state.sizes.ravel())
        first = np.cumsum(state.sizes.ravel()) - state.sizes.ravel()
        slots = np.arange(len(cells)) - first[cells]
        self._kept[cells, slots] = state.kept
        self._kept_at[cells, slots] = EARLIER
        self._stays.extend(state.stays)
        sums = state.moments
        self._moments = Moments(sums.counts.copy(), sums.squares.copy(), sums.shares.copy(), sums.speeds.copy())

    def _keep(self, locations: npt.NDArray[np.intp], values: Floats) -> None:
        stored = values.astype(np.float16)  # what is compared later is what was learned
        with self._on_disk():
            self._file.write(stored.tobytes())
        self._sample(locations, stored.astype(np.float32), len(self._counts))

    def _sample(self, locations: npt.NDArray[np.intp], values: Floats, frame: int) -> None:
        """Add a frame's descriptors to the samples and sums."""
        assert self._kept is not None
        if (stands := values[:, STAY] > 0).any():
            self._note_stays(locations[stands], values[stands])
            locations, values = locations[~stands], values[~stands]
        rows, cols = locations.T
        sums = self._moments
        sums.counts[rows, cols] += 1
        sums.squares[rows, cols] += values[:, MOVEMENT] ** 2
        sums.shares[rows, cols] += values[:, SHARE][:, 0]
        sums.speeds[rows, cols] += values[:, SPEED]
        seen = sums.counts[rows, cols].astype(np.int64)
        slot = np.where(seen <= PER_CELL, seen - 1, self._rng.integers(0, seen)) if len(seen) else seen
        taken = slot < PER_CELL
        cells = rows[taken] * sums.counts.shape[1] + cols[taken]
        self._kept[cells, slot[taken]] = values[taken]
        self._kept_at[cells, slot[taken]] = frame

    def _note_stays(self, locations: npt.NDArray[np.intp], values: Floats, *, is_normal: bool = True) -> None:
        cells = np.ravel_multi_index((*locations.T,), self._moments.counts.shape)
        self._stays.add(np.asarray(cells, np.intp), values[:, STAY], is_normal=is_normal)

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"cannot keep what was seen of the normal video in {self._folder}: {error.strerror or error}",
                hint="free some disk: a day of video needs about a gigabyte while it is learned from",
            ) from error


def _locations(values: Floats) -> npt.NDArray[np.intp]:
    """Return the (n, 2) row and column of each descriptor's cell."""
    return (values[:, PLACE] / CELL).astype(np.intp)
