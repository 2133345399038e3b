"""Engines that run a network which carries state from frame to frame (see `delays`); they know nothing of detectors."""

from __future__ import annotations

import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streamad.engines.backlog import Backlog
from streamad.engines.base import Batch, EngineInfo, OnDone, OnError
from streamad.engines.delays import FRAMES, OUTPUTS, Array, Delay, DelayLines
from streamad.errors import EngineError

RUN_SIZES = (1,)
"""Frames in a run. On a CPU one frame is as fast as several (docs/streaming-network.md): its intermediate values stay
in the cache, and its weights are few beside them."""

_engines = itertools.count()


@dataclass(slots=True)
class CarriedState:
    """What one camera's network carries from run to run.

    Attributes:
        lines: the values.
        seen: frames since the state was new.
        owner: number of the engine that made it.
    """

    lines: DelayLines
    owner: int
    seen: int = 0


class CarryingEngine(ABC):
    """Runs frames of many cameras, each against its own state, one run at a time.

    A frame's answer is NaN until the state has seen all frames that it depends on. If a run fails, the state is as new:
    what follows is answered again after that many frames.

    Args:
        context: frames before a frame that its answer depends on.
        run_sizes: numbers of frames in a run that the network is prepared for, ascending, 1 among them.
    """

    def __init__(self, context: int, run_sizes: tuple[int, ...] = RUN_SIZES) -> None:
        if run_sizes[0] != 1:
            raise ValueError(f"a run of 1 frame must be possible, got the sizes {run_sizes}")
        self._context = context
        self._sizes = run_sizes
        self._number = next(_engines)
        # One at a time: a camera's runs follow one another, and a run of whole frames fills the machine.
        self._backlog = Backlog(workers=1)
        self._lock = threading.Lock()

    @property
    @abstractmethod
    def info(self) -> EngineInfo:
        """What really runs."""

    @property
    def run_sizes(self) -> tuple[int, ...]:
        """Numbers of frames in a run, ascending; other numbers are made up of these."""
        return self._sizes

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """(channels, height, width) of a frame."""
        return self._shapes()[FRAMES]

    def new_state(self) -> CarriedState:
        """The state of a camera that has seen nothing."""
        return CarriedState(DelayLines(self._delays(), self._shapes(), self._sizes[-1]), self._number)

    def advance(self, state: CarriedState, frames: Batch) -> Batch:
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

    def run(self, state: CarriedState, frames: Batch, names: Sequence[str]) -> dict[str, Batch]:
        """Like `advance`, with outputs of the network's by name."""
        if state.owner != self._number:
            raise ValueError("this state was made by another engine; a camera stays with the engine that it began with")
        if not len(frames):
            raise ValueError("a run has at least one frame, got none")
        parts: dict[str, list[Batch]] = {name: [] for name in names}
        with self._lock:
            start = 0
            while start < len(frames):
                count = max(size for size in self._sizes if size <= len(frames) - start)
                for name, rows in self._one_run(state, frames[start : start + count], names).items():
                    parts[name].append(rows)
                start += count
        return {name: np.concatenate(rows) for name, rows in parts.items()}

    def next_inputs(self, state: CarriedState, frame: Batch) -> dict[str, Array]:
        """What the network is given for a camera's next frame, by name: copies. The state stays as it is.

        Args:
            state: the camera's.
            frame: (1, channels, height, width) float32.
        """
        state.lines.outputs(1)  # makes room, so that what is read next lies where the run will find it
        return {FRAMES: frame.copy(), **{name: values.copy() for name, values in state.lines.inputs(1).items()}}

    def submit(self, state: CarriedState, frames: Batch, done: OnDone, failed: OnError) -> None:
        """Start a camera's next frames; `done` or `failed` is called from the engine's thread, one of them once.

        Blocks while one run is under way and another waits. `frames` must not change until the answer. Runs are
        answered in order.
        """
        self._backlog.submit(lambda: self.advance(state, frames), done, failed)

    def drain(self) -> None:
        """Wait until everything submitted has been answered."""
        self._backlog.drain()

    def close(self) -> None:
        """Wait for the last run and free everything."""
        self._backlog.close()

    @abstractmethod
    def _delays(self) -> tuple[Delay, ...]:
        """What the network carries."""

    @abstractmethod
    def _shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of one frame's value, by name of an input or output."""

    @abstractmethod
    def _compute(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Run the network once.

        Args:
            inputs: all of its inputs; not to be changed.
            outputs: where the named outputs are to be written; the others are not asked for.

        Raises:
            EngineError: it failed.
        """

    def _one_run(self, state: CarriedState, frames: Batch, names: Sequence[str]) -> dict[str, Batch]:
        count, lines, shapes = len(frames), state.lines, self._shapes()
        if frames.shape[1:] != shapes[FRAMES]:
            raise EngineError(f"the network takes frames of shape {shapes[FRAMES]}, got {frames.shape[1:]}")
        made = lines.outputs(count)
        inputs = lines.inputs(count)
        # The new frames are carried like everything else: they are wanted again when their score is due.
        new = made.pop(FRAMES, None)
        if new is None:
            new = np.empty(frames.shape, np.float32)
        new[...] = frames
        asked = {name: np.empty((count, *shapes[name]), np.float32) for name in names}
        try:
            self._compute({FRAMES: new, **inputs}, {**made, **asked})
        except BaseException:
            state.seen = 0  # what it carries is half written
            raise
        lines.advance(count)
        first = max(0, self._context - state.seen)
        for rows in asked.values():
            rows[:first] = np.nan
        state.seen += count
        return asked
