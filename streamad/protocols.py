"""Small interfaces that every layer shares: reporting the progress of a task, and closing at the end of a block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol, Self


class Progress(Protocol):
    """Called from time to time by a long task, from the thread that runs it."""

    def __call__(self, stage: str, done: float, total: float | None, /) -> None:
        """Receive the progress of a stage.

        Args:
            stage: What is being done, in words ("calibrating"). A task may have several stages.
            done: Units of the stage done; seconds of video while it is recorded.
            total: Total units of the stage; None: unknown.
        """


def no_progress(stage: str, done: float, total: float | None, /) -> None:
    """Report nothing."""


class Closeable(ABC):
    """A context manager that closes itself at the end of the block."""

    @abstractmethod
    def close(self) -> object:
        """Release everything. May be called more than once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
