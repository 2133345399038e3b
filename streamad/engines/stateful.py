"""Engines that run a network which carries state from frame to frame (see `state_buffers`)."""

from __future__ import annotations

import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamad.engines.base import Batch, EngineInfo, OnError
from streamad.engines.bounded_executor import BoundedExecutor
from streamad.engines.state_buffers import FRAMES, OUTPUTS, StateBuffer
from streamad.errors import EngineError

RUN_SIZES = (1,)
"""Frames of a camera in a run. On a CPU one frame is as fast as several (docs/results/streaming-network.md): its
intermediate values stay in the cache, and its weights are small by comparison."""

CAMERA_SIZES = (1,)
"""Cameras in a run: on a CPU one, for the same reason."""

_engines = itertools.count()


@dataclass(slots=True)
class StreamState:
    """What one camera's network carries from run to run.

    Attributes:
        owner: number of the engine that made it.
        seen: frames since the state was new.
        memory: the values, where that engine keeps them; None before the first run.
    """

    owner: int
    seen: int = 0
    memory: Any = None


@dataclass(frozen=True, slots=True)
class StreamChunk:
    """A camera's next frames.

    Attributes:
        state: the camera's; carried on.
        frames: (n, channels, height, width) float32, in order, n ≥ 1.
    """

    state: StreamState
    frames: Batch


Answers = list[dict[str, Batch] | EngineError]
"""For each piece the outputs by name, (n, …) float32, or why it has none."""


class StatefulEngine(ABC):
    """Runs frames of many cameras, each against its own state: one run at a time, of one camera or of several.

    A frame's answer is NaN until the state has seen all frames that it depends on. If a run fails, the states of all
    cameras in it are as new: what follows is answered again after that many frames.

    Args:
        context: frames before a frame that its answer depends on.
        run_sizes: numbers of frames of a camera in a run that the network is prepared for, ascending, 1 among them.
        camera_sizes: numbers of cameras in a run that it is prepared for, ascending, 1 among them.

    Raises:
        ValueError: a run of one frame, or of one camera, is not among them.
    """

    def __init__(
        self, context: int, run_sizes: tuple[int, ...] = RUN_SIZES, camera_sizes: tuple[int, ...] = CAMERA_SIZES
    ) -> None:
        if run_sizes[0] != 1:
            raise ValueError(f"a run of 1 frame must be possible, got the sizes {run_sizes}")
        if camera_sizes[0] != 1:
            raise ValueError(f"a run of 1 camera must be possible, got the sizes {camera_sizes}")
        self._context = context
        self._sizes = run_sizes
        self._camera_sizes = camera_sizes
        self._number = next(_engines)
        # One at a time: a camera's runs follow one another, and a run of whole frames fills the machine.
        self._executor = BoundedExecutor(workers=1)
        self._lock = threading.Lock()

    @property
    @abstractmethod
    def info(self) -> EngineInfo:
        """What really runs."""

    @property
    def run_sizes(self) -> tuple[int, ...]:
        """Numbers of frames of a camera in a run, ascending; other numbers are made up of these."""
        return self._sizes

    @property
    def camera_sizes(self) -> tuple[int, ...]:
        """Numbers of cameras in a run, ascending; other numbers are made up of these."""
        return self._camera_sizes

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """(channels, height, width) of a frame."""
        return self._shapes()[FRAMES]

    def new_state(self) -> StreamState:
        """The state of a camera that has seen nothing; its memory is taken with its first run."""
        return StreamState(self._number)

    def advance(self, state: StreamState, frames: Batch) -> Batch:
        """Run a camera's next frames and wait.

        Args:
            state: the camera's; carried on.
            frames: (n, channels, height, width) float32, in order, n ≥ 1.

        Returns:
            (n, …) float32, a copy; NaN in the rows of frames that too few came before.

        Raises:
            ValueError: no frames, or a state that another engine made.
            EngineError: wrong shape, or the engine failed.
        """
        return self.run(state, frames, (OUTPUTS,))[OUTPUTS]

    def run(self, state: StreamState, frames: Batch, names: Sequence[str]) -> dict[str, Batch]:
        """Like `advance`, with outputs of the network's by name."""
        (answer,) = self.run_together([StreamChunk(state, frames)], names)
        if isinstance(answer, EngineError):
            raise answer
        return answer

    def run_together(self, pieces: Sequence[StreamChunk], names: Sequence[str] = (OUTPUTS,)) -> Answers:
        """Run the next frames of several cameras, as many at once as the engine is prepared for, and wait.

        The pieces may be of different lengths: the longest runs that fit come first, and of a length as many cameras
        side by side as there are.

        Args:
            pieces: one a camera.
            names: outputs that are asked for.

        Returns:
            For each piece its outputs by name, copies, NaN in the rows of frames that too few came before; or the
            error, where its frames have the wrong shape or a run failed that it was in. Others go on.

        Raises:
            ValueError: no frames, two pieces of one camera, or a state that another engine made.
        """
        if len({id(piece.state) for piece in pieces}) < len(pieces):
            raise ValueError("two pieces are of one camera: its next frames are one piece")
        for piece in pieces:
            if piece.state.owner != self._number:
                raise ValueError(
                    "this state was made by another engine; a camera stays with the engine that it began with"
                )
            if not len(piece.frames):
                raise ValueError("a run has at least one frame, got none")
        with self._lock:
            return self._in_runs(pieces, names)

    def submit(self, pieces: Sequence[StreamChunk], done: Callable[[Answers], None], failed: OnError) -> None:
        """Start the next frames of several cameras; `done` or `failed` is called from the engine's thread, one of them.

        Blocks while one start is under way and another waits. Frames must not change until the answer. Starts are
        answered in order; see `run_together`.
        """
        self._executor.submit(lambda: self.run_together(pieces), done, failed)

    def warm_up(self) -> None:
        """Run every prepared size once, so that the first frame does not wait for it."""
        for frames in self._sizes:
            zeros = np.zeros((frames, *self.frame_shape), np.float32)
            for cameras in self._camera_sizes:
                self.run_together([StreamChunk(self.new_state(), zeros) for _ in range(cameras)])

    def drain(self) -> None:
        """Wait until everything submitted has been answered."""
        self._executor.drain()

    def close(self) -> None:
        """Wait for the last run and free everything."""
        self._executor.close()

    @abstractmethod
    def _state_buffers(self) -> tuple[StateBuffer, ...]:
        """What the network carries."""

    @abstractmethod
    def _shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of one frame's value, by name of an input or output."""

    @abstractmethod
    def _new_memory(self) -> Any:
        """Memory for what one camera's network carries.

        Raises:
            EngineError: there is too little.
        """

    @abstractmethod
    def _execute(self, states: Sequence[StreamState], frames: Sequence[Batch], names: Sequence[str]) -> list[Batch]:
        """Run the network once, and carry the states on.

        Args:
            states: a prepared number of cameras, each with its memory.
            frames: as many frames of each, a prepared number.
            names: outputs that are asked for.

        Returns:
            For each name (frames, cameras, …), the caller's own.

        Raises:
            EngineError: it failed.
        """

    def _in_runs(self, pieces: Sequence[StreamChunk], names: Sequence[str]) -> Answers:
        parts: list[list[list[Batch]]] = [[[] for _ in names] for _ in pieces]
        errors: dict[int, EngineError] = {}
        left: dict[int, int] = {}  # frames of each piece that are not run yet
        for number, piece in enumerate(pieces):
            try:
                self._prepare(piece)
                left[number] = len(piece.frames)
            except EngineError as error:
                errors[number] = _alone(error)
        while left:
            count = max(size for size in self._sizes if size <= max(left.values()))
            able = [number for number, frames in left.items() if frames >= count]
            members = able[: max(size for size in self._camera_sizes if size <= len(able))]
            starts = [len(pieces[number].frames) - left[number] for number in members]
            frames = [pieces[n].frames[start : start + count] for n, start in zip(members, starts, strict=True)]
            try:
                rows = self._one_run([pieces[number].state for number in members], frames, names)
            except EngineError as error:
                for number in members:  # what follows of these cameras would go on from what is lost
                    errors[number] = _alone(error)
                    del left[number]
                continue
            for place, number in enumerate(members):
                for made, values in zip(parts[number], rows, strict=True):
                    made.append(values[:, place])
                left[number] -= count
                if not left[number]:
                    del left[number]
        return [
            errors[number]
            if number in errors
            else {n: np.concatenate(rows) for n, rows in zip(names, made, strict=True)}
            for number, made in enumerate(parts)
        ]

    def _prepare(self, piece: StreamChunk) -> None:
        """Hold a piece against the network, and see that its camera has memory."""
        shape = self._shapes()[FRAMES]
        if piece.frames.shape[1:] != shape:
            raise EngineError(f"the network takes frames of shape {shape}, got {piece.frames.shape[1:]}")
        if piece.state.memory is None:
            piece.state.memory = self._new_memory()

    def _one_run(self, states: Sequence[StreamState], frames: Sequence[Batch], names: Sequence[str]) -> list[Batch]:
        try:
            rows = self._execute(states, frames, names)
        except BaseException:
            for state in states:
                state.seen = 0  # what it carries is half written
            raise
        count = len(frames[0])
        for place, state in enumerate(states):
            first = max(0, self._context - state.seen)
            for values in rows if first else ():
                values[:first, place] = np.nan
            state.seen += count
        return rows


def _alone(error: EngineError) -> EngineError:
    """The error without the frames that it came through: whoever keeps it would keep the memory of cameras in them."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
