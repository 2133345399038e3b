"""Progress where nobody watches a terminal: a line now and then, so that a log tells how far a long run is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import Progress, Task, TaskID

LINE_SECONDS = 60.0
"""At most one line in so long (source: our choice); what is done sooner says nothing."""


class LineProgress(Progress):
    """Takes the calls of a `rich` progress display and writes plain lines instead.

    A line names the task that was last told of: "training: 340 of 2000, 5 min so far, about 24 min remain".

    Args:
        console: where lines go.
        write: writes one line.
        every: seconds between two lines, and before the first; None for `LINE_SECONDS`.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        console: Console,
        write: Callable[[str], None],
        every: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(console=console, disable=True, get_time=clock)
        self._write = write
        self._every = LINE_SECONDS if every is None else every
        self._next = clock() + self._every

    def update(self, task_id: TaskID, *args: Any, **kwargs: Any) -> None:
        """See `rich.progress.Progress.update`."""
        super().update(task_id, *args, **kwargs)
        self._tell(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """See `rich.progress.Progress.advance`."""
        super().advance(task_id, advance)
        self._tell(task_id)

    def _tell(self, task_id: TaskID) -> None:
        now = self.get_time()
        # Finished tasks are told of by what the command itself says.
        if now < self._next:
            return
        task = next(task for task in self.tasks if task.id == task_id)
        if not task.finished:
            self._next = now + self._every
            self._write(line_of(task))


def line_of(task: Task) -> str:
    """How far a task is, in words."""
    whole = "" if task.total is None else f" of {task.total:.0f}"
    parts = [f"{task.description}: {task.completed:.0f}{whole}"]
    if task.elapsed is not None:
        parts.append(f"{_duration(task.elapsed)} so far")
    if task.time_remaining is not None:
        parts.append(f"about {_duration(task.time_remaining)} remain")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
