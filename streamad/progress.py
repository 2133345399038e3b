"""Progress: how long tasks report their progress."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called from time to time by a long task, from the thread that runs it."""

    def __call__(self, stage: str, done: int, total: int | None, /) -> None:
        """Receive the progress of a stage.

        Args:
            stage: What is being done, in words ("calibrating"). A task may have several stages.
            done: Units of the stage done.
            total: Total units of the stage; None: unknown.
        """


def no_progress(stage: str, done: int, total: int | None, /) -> None:
    """Report nothing."""
