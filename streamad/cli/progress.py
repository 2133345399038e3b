"""Progress on standard error: a moving display on a terminal, elsewhere a line a minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from streamad.cli.streams import silence_unread
from streamad.redaction import redact

LINE_SECONDS = 60.0
"""Shortest time between two lines in a log. Shorter tasks write none."""


class QuietConsole(Console):
    """A console that stops printing when its reader exits: the command continues and keeps its exit code."""

    def on_broken_pipe(self) -> None:
        """Print nothing from now on."""
        self.quiet = True
        silence_unread()


console = QuietConsole(stderr=True, highlight=False)


def print_line(text: str) -> None:
    """Print a line on standard error, above the progress display if there is one; credentials are masked."""
    console.print(redact(text), markup=False, soft_wrap=True)


@contextmanager
def open_progress() -> Iterator[Progress]:
    """The progress display for this terminal or log."""
    if not console.is_terminal:
        yield LineProgress(console, print_line)
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        yield bar


class LineProgress(Progress):
    """Takes the calls of a `rich` progress display and writes plain lines instead.

    A line reports the task that was updated last: "training: 340 of 2000, 5 min so far, about 24 min remain".

    Args:
        console: The console that a display would use.
        write: Writes one line.
        every: Seconds between two lines, and before the first. Default: `LINE_SECONDS`.
        clock: Monotonic seconds.
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
        self._report(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """See `rich.progress.Progress.advance`."""
        super().advance(task_id, advance)
        self._report(task_id)

    def _report(self, task_id: TaskID) -> None:
        now = self.get_time()
        if now < self._next:
            return
        task = next(task for task in self.tasks if task.id == task_id)
        if not task.finished:  # the command itself reports finished tasks
            self._next = now + self._every
            self._write(line_of(task))


def line_of(task: Task) -> str:
    """The progress of a task as text."""
    total = "" if task.total is None else f" of {task.total:.0f}"
    parts = [f"{task.description}: {task.completed:.0f}{total}"]
    if task.elapsed is not None:
        parts.append(f"{_duration(task.elapsed)} so far")
    if task.time_remaining is not None:
        parts.append(f"about {_duration(task.time_remaining)} remain")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
