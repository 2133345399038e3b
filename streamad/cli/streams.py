"""Standard output and standard error where nobody reads them, where they are closed, or where the disk is full."""

from __future__ import annotations

import os
import select
import sys

from rich.console import Console

from streamad.errors import OutputError


class QuietConsole(Console):
    """A console that falls silent where its reader has gone: the work goes on, and so does its exit code."""

    def on_broken_pipe(self) -> None:
        """Print nothing from now on."""
        self.quiet = True
        silence_unread()


def prepare_streams() -> None:
    """Put the null device where the caller closed a standard stream, and let no character be an error.

    Else the next file that is opened takes the stream's number, and what is printed goes into that file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            mode = os.O_RDONLY if number == 0 else os.O_WRONLY
            if (opened := os.open(os.devnull, mode)) != number:
                os.dup2(opened, number)
                os.close(opened)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where a test reads it
            stream.reconfigure(errors="backslashreplace")


def write_output(text: str) -> None:
    """Write to standard output at once.

    Raises:
        BrokenPipeError: its reader has gone.
        OutputError: it cannot be written to, for example because the disk is full.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard(1)  # what could not be written is not tried again at exit
        raise OutputError(
            f"cannot write to standard output: {error.strerror or error}", hint="see that its disk is not full"
        ) from error


def silence_unread() -> bool:
    """Turn standard output and error, where nobody reads them any more, into nothing; returns whether any was."""
    unread = [number for number in (1, 2) if _is_unread(number)]
    for number in unread:
        _discard(number)
    return bool(unread)


def _is_unread(descriptor: int) -> bool:
    waiting = select.poll()
    waiting.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in waiting.poll(0))


def _discard(descriptor: int) -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)
