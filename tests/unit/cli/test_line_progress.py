"""What a long command writes where its output goes to a log."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rich.console import Console

from streamad.cli.progress import LineProgress


class Clock:
    """Seconds that a test moves on."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def lines_of(steps: int, seconds: float, total: int | None) -> list[str]:
    clock, lines = Clock(), list[str]()
    progress = LineProgress(Console(stderr=True), lines.append, every=60, clock=clock)
    task = progress.add_task("training", total=None)
    for done in range(1, steps + 1):
        clock.now += seconds
        progress.update(task, completed=done, total=total)
    return lines


def test_a_line_a_minute_says_how_far_and_how_long() -> None:
    lines = lines_of(steps=200, seconds=3, total=400)  # ten minutes, at the half of it
    assert len(lines) == 10
    assert lines[0] == "training: 20 of 400, 60 s so far, about 19 min remain"
    assert lines[-1] == "training: 200 of 400, 10 min so far, about 10 min remain"


def test_what_is_done_within_a_minute_says_nothing() -> None:
    assert lines_of(steps=19, seconds=3, total=19) == []


def test_a_task_without_an_end_says_how_much_is_done() -> None:
    assert lines_of(steps=20, seconds=3, total=None) == ["training: 20, 60 s so far"]


def test_the_command_line_takes_it_where_standard_error_is_a_file(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = (
        "from streamad.cli import common, progress\n"
        "progress.LINE_SECONDS = 0\n"  # no test waits for a minute
        "with common.progress_bar() as bar:\n"
        "    task = bar.add_task('reading', total=3)\n"
        "    bar.advance(task)\n"
    )
    with log.open("w") as stderr:
        subprocess.run([sys.executable, "-c", script], stderr=stderr, check=True)
    assert log.read_text() == "reading: 1 of 3, 0 s so far\n"
