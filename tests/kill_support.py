"""Kill -9 before every step of a change on disk, one after the other."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

CHANGES = {"os.rename", "os.remove", "os.symlink", "os.mkdir", "os.rmdir", "shutil.copyfile"}


def killed_at_every_change(prepare: Callable[[], None], action: Callable[[], Any]) -> Iterator[int]:
    """Run `action` in a child process that is killed before its first, second, … change, and finally to completion.

    Args:
        prepare: Function that creates the initial state each time, in this process.
        action: The action to interrupt.

    Yields:
        Number of changes made before the kill.
    """
    done, count = False, 0
    while not done:
        prepare()
        child = os.fork()
        if child == 0:
            _run(action, count)
        _, status = os.waitpid(child, 0)
        done = os.WIFEXITED(status)
        if done:
            assert os.WEXITSTATUS(status) == 0
        else:
            assert os.WTERMSIG(status) == signal.SIGKILL
        yield count
        count += 1
    assert count > 2, "nothing was changed"


def _run(action: Callable[[], Any], allowed: int) -> None:
    made = 0

    def hook(event: str, _: Any) -> None:
        nonlocal made
        if event in CHANGES:
            if made == allowed:
                os.kill(os.getpid(), signal.SIGKILL)
            made += 1

    try:
        sys.addaudithook(hook)
        action()
    except BaseException:  # noqa: BLE001 - the child process must end here
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
