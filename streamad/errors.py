"""Errors that are reported to users, each with the exit code of the command line.

A message states what was given and what was expected; the hint states what to do. Each error also subclasses the
built-in exception of its kind, so that `except FileNotFoundError` works as expected.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """Exit codes of the command line, documented in docs/reference/exit-codes.md."""

    OK = 0
    RUNTIME = 1
    USAGE = 2
    SOURCE = 3
    ENGINE = 4
    DATASET = 5
    ALERTS_FOUND = 10
    INTERRUPT = 130


DISTRIBUTION = "streamad-video"
"""The name of this package for pip: `streamad` on PyPI is another project."""


def install_hint(extra: str) -> str:
    """The command that installs an optional dependency, for hints.

    Args:
        extra: A name under pyproject.toml's optional dependencies.
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def suggestion(given: str, known: Iterable[str]) -> str | None:
    """The hint "did you mean …?" for a misspelled name; None if no known name is similar.

    Args:
        given: The name that was given.
        known: The names that exist.
    """
    from difflib import get_close_matches

    by_lower = {name.lower(): name for name in known}
    similar = get_close_matches(given.lower(), by_lower, n=1)
    return f"did you mean {by_lower[similar[0]]!r}?" if similar else None


class StreamadError(Exception):
    """Base class of all errors that are reported without a traceback.

    Args:
        message: What was given and what was expected.
        hint: What to do about it; printed on a separate line.
    """

    exit_code: ExitCode = ExitCode.RUNTIME

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(StreamadError, ValueError):
    """An invalid argument or combination of arguments."""

    exit_code = ExitCode.USAGE


class ConfigError(UsageError):
    """A configuration file that does not match the schema; the message names file and line.

    Args:
        message: What was given and what was expected.
        hint: What to do about it.
        details: The same for programs; `--json` adds it to the error.
    """

    def __init__(self, message: str, *, hint: str | None = None, details: dict[str, Any] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.details = details or {}


class PluginError(StreamadError, ImportError):
    """An installed plugin that cannot be loaded, or is not what its entry point promises."""


class EngineError(StreamadError, RuntimeError):
    """An engine that is not available, or failed while running."""

    exit_code = ExitCode.ENGINE


class ProcessingError(StreamadError, RuntimeError):
    """A camera's frames cannot be scored, for a reason without an error type of its own."""


class BundleError(StreamadError, ValueError):
    """A model bundle that is missing, damaged or too new for this version."""

    exit_code = ExitCode.ENGINE


class CalibrationError(StreamadError, ValueError):
    """A calibration that is missing, damaged or belongs to another model."""

    exit_code = ExitCode.ENGINE


class DatasetError(StreamadError, ValueError):
    """A data set whose files or labels are missing or disagree."""

    exit_code = ExitCode.DATASET


class OutputError(StreamadError, OSError):
    """An output that cannot be written: a read-only folder, a full disk, a port in use."""
