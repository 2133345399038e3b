"""Progress: how every long task reports how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called now and then by a long task, from the thread that runs it."""

    def __call__(self, stage: str, done: int, total: int | None, /) -> None:
        """Take how far a stage is.

        Args:
            stage: What is being done, in words ("calibrating"). A task may have several stages.
            done: Units of the stage done.
            total: Units of the stage in all; None where that is unknown.
        """


def no_progress(stage: str, done: int, total: int | None, /) -> None:
    """Report nothing."""
