"""StatefulEngine: base of the engines for networks that carry state from frame to frame (see `state_buffers`)."""

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
"""Frames per camera in a run. On a CPU one frame is as fast as several (docs/results/streaming-network.md), because
its intermediate values stay in the cache and its weights are small by comparison."""

CAMERA_SIZES = (1,)
"""Cameras in a run: one on a CPU, for the same reason."""

_engines = itertools.count()


@dataclass(slots=True)
class StreamState:
    """State that one camera's network carries from run to run.

    Attributes:
        owner: Number of the engine that created it.
        seen: Number of frames since the state was new.
        memory: The values, in the engine's own form; None before the first run.
    """

    owner: int
    seen: int = 0
    memory: Any = None


@dataclass(frozen=True, slots=True)
class StreamChunk:
    """The next frames of a camera.

    Attributes:
        state: The camera's state, updated by the run.
        frames: (n, channels, height, width) float32, in order, n ≥ 1.
    """

    state: StreamState
    frames: Batch


Answers = list[dict[str, Batch] | EngineError]
"""For each chunk, the outputs by name as (n, …) float32, or the error."""


class StatefulEngine(ABC):
    """Runs frames of many cameras, each with its own state. One run at a time, for one or several cameras.

    The output is NaN until the state has seen all frames on which it depends. If a run fails, the states of all its
    cameras are reset, and valid outputs resume after that many frames.

    Args:
        context: Number of preceding frames on which a frame's output depends.
        run_sizes: Supported numbers of frames per camera in a run, ascending, starting with 1.
        camera_sizes: Supported numbers of cameras in a run, ascending, starting with 1.

    Raises:
        ValueError: If runs of one frame or of one camera are not supported.
    """

    _info: EngineInfo
    _state_buffers: tuple[StateBuffer, ...]
    """State values of the network."""
    _shapes: Mapping[str, tuple[int, ...]]
    """Shape of one frame's value, by name of the input or output."""

    def __init__(
        self, context: int, run_sizes: tuple[int, ...] = RUN_SIZES, camera_sizes: tuple[int, ...] = CAMERA_SIZES
    ) -> None:
        if run_sizes[0] != 1:
            raise ValueError(f"run_sizes must start with 1, got {run_sizes}")
        if camera_sizes[0] != 1:
            raise ValueError(f"camera_sizes must start with 1, got {camera_sizes}")
        self._context = context
        self._sizes = run_sizes
        self._camera_sizes = camera_sizes
        self._number = next(_engines)
        # One worker: a camera's runs follow one another, and a run of whole frames uses the whole machine.
        self._executor = BoundedExecutor(workers=1)
        self._lock = threading.Lock()

    @property
    def info(self) -> EngineInfo:
        """What really runs."""
        return self._info

    @property
    def run_sizes(self) -> tuple[int, ...]:
        """Supported numbers of frames per camera in a run, ascending. Other numbers are composed of these."""
        return self._sizes

    @property
    def camera_sizes(self) -> tuple[int, ...]:
        """Supported numbers of cameras in a run, ascending. Other numbers are composed of these."""
        return self._camera_sizes

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of a frame, (channels, height, width)."""
        return self._shapes[FRAMES]

    def new_state(self) -> StreamState:
        """Create the state of a new camera. Its memory is allocated in its first run."""
        return StreamState(self._number)

    def advance(self, state: StreamState, frames: Batch) -> Batch:
        """Run a camera's next frames and wait for the result.

        Args:
            state: The camera's state, updated by the run.
            frames: (n, channels, height, width) float32, in order, n ≥ 1.

        Returns:
            Outputs as (n, …) float32; a copy. Rows of frames with too few predecessors are NaN.

        Raises:
            ValueError: If there are no frames, or another engine created the state.
            EngineError: If the shape is wrong or the engine fails.
        """
        return self.run(state, frames, (OUTPUTS,))[OUTPUTS]

    def run(self, state: StreamState, frames: Batch, names: Sequence[str]) -> dict[str, Batch]:
        """Like `advance`, but return the named outputs."""
        (answer,) = self.run_together([StreamChunk(state, frames)], names)
        if isinstance(answer, EngineError):
            raise answer
        return answer

    def run_together(self, chunks: Sequence[StreamChunk], names: Sequence[str] = (OUTPUTS,)) -> Answers:
        """Run the next frames of several cameras, in as few runs as the engine supports, and wait for the results.

        The chunks may differ in length. The longest possible runs come first, each with as many cameras as possible.

        Args:
            chunks: One chunk per camera.
            names: Names of the requested outputs.

        Returns:
            For each chunk, copies of its outputs by name, with NaN rows for frames with too few predecessors; or the
            error, if its frames have the wrong shape or one of its runs failed. Other chunks are not affected.

        Raises:
            ValueError: If a chunk is empty, two chunks are of the same camera, or another engine created a state.
        """
        if len({id(chunk.state) for chunk in chunks}) < len(chunks):
            raise ValueError("two chunks are of the same camera; pass its frames as one chunk")
        for chunk in chunks:
            if chunk.state.owner != self._number:
                raise ValueError(
                    "the state was created by another engine; keep a camera on the engine that created its state"
                )
            if not len(chunk.frames):
                raise ValueError("a chunk must have at least one frame")
        with self._lock:
            return self._in_runs(chunks, names)

    def submit(self, chunks: Sequence[StreamChunk], done: Callable[[Answers], None], failed: OnError) -> None:
        """Start the next frames of several cameras. Either `done` or `failed` is called, from the engine's thread.

        Blocks while one call is running and another is waiting. Do not change the frames before the callback. Calls
        finish in order; see `run_together`.
        """
        self._executor.submit(lambda: self.run_together(chunks), done, failed)

    def warm_up(self) -> None:
        """Run every supported size once, so that the first frame does not pay for it."""
        for frames in self._sizes:
            zeros = np.zeros((frames, *self.frame_shape), np.float32)
            for cameras in self._camera_sizes:
                self.run_together([StreamChunk(self.new_state(), zeros) for _ in range(cameras)])

    def drain(self) -> None:
        """Wait until all submitted calls are finished."""
        self._executor.drain()

    def close(self) -> None:
        """Wait for the last run and free all resources."""
        self._executor.close()

    @abstractmethod
    def _new_memory(self) -> Any:
        """Allocate memory for the state of one camera.

        Raises:
            EngineError: If there is too little memory.
        """

    @abstractmethod
    def _execute(self, states: Sequence[StreamState], frames: Sequence[Batch], names: Sequence[str]) -> list[Batch]:
        """Run the network once and update the states.

        Args:
            states: States of a supported number of cameras, with memory.
            frames: The same supported number of frames per camera.
            names: Names of the requested outputs.

        Returns:
            One array (frames, cameras, …) per name, owned by the caller.

        Raises:
            EngineError: If the run fails.
        """

    def _in_runs(self, chunks: Sequence[StreamChunk], names: Sequence[str]) -> Answers:
        parts: list[list[list[Batch]]] = [[[] for _ in names] for _ in chunks]
        errors: dict[int, EngineError] = {}
        left: dict[int, int] = {}  # remaining frames of each chunk
        for number, chunk in enumerate(chunks):
            try:
                self._prepare(chunk)
                left[number] = len(chunk.frames)
            except EngineError as error:
                errors[number] = _alone(error)
        while left:
            count = max(size for size in self._sizes if size <= max(left.values()))
            able = [number for number, frames in left.items() if frames >= count]
            members = able[: max(size for size in self._camera_sizes if size <= len(able))]
            starts = [len(chunks[number].frames) - left[number] for number in members]
            frames = [chunks[n].frames[start : start + count] for n, start in zip(members, starts, strict=True)]
            try:
                rows = self._one_run([chunks[number].state for number in members], frames, names)
            except EngineError as error:
                for number in members:  # later frames of these cameras would need the lost state
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

    def _prepare(self, chunk: StreamChunk) -> None:
        """Check a chunk's shape and allocate its camera's memory if needed."""
        shape = self._shapes[FRAMES]
        if chunk.frames.shape[1:] != shape:
            raise EngineError(f"the network takes frames of shape {shape}, got {chunk.frames.shape[1:]}")
        if chunk.state.memory is None:
            chunk.state.memory = self._new_memory()

    def _one_run(self, states: Sequence[StreamState], frames: Sequence[Batch], names: Sequence[str]) -> list[Batch]:
        try:
            rows = self._execute(states, frames, names)
        except BaseException:
            for state in states:
                state.seen = 0  # its memory is only partly written
            raise
        count = len(frames[0])
        for place, state in enumerate(states):
            first = max(0, self._context - state.seen)
            for values in rows if first else ():
                values[:first, place] = np.nan
            state.seen += count
        return rows


def _alone(error: EngineError) -> EngineError:
    """Return the error without its traceback frames, which would keep the cameras' memory alive."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
