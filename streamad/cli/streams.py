"""Standard streams that are closed, have no reader, or write to a full disk."""

from __future__ import annotations

import os
import select
import sys

from streamad.errors import OutputError


def prepare_streams() -> None:
    """Open the null device for closed standard streams, and escape characters that cannot be encoded.

    Otherwise the next file that is opened gets the number of the closed stream, and output goes into that file.
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
        if hasattr(stream, "reconfigure"):  # pytest's capture has no such method
            stream.reconfigure(errors="backslashreplace")


def write_output(text: str) -> None:
    """Write to standard output and flush.

    Raises:
        BrokenPipeError: The reader exited.
        OutputError: The write failed, for example because the disk is full.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard(1)  # do not retry the failed output at exit
        raise OutputError(
            f"cannot write to standard output: {error.strerror or error}", hint="check that its disk is not full"
        ) from error


def silence_unread() -> bool:
    """Redirect standard output and error to the null device if their readers exited; returns whether any did."""
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
