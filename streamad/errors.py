"""Errors that reach a user, each with the exit code of the command line.

Every message says what was given, what was expected and what to do. An error subclasses the built-in of its kind
as well, so that `except FileNotFoundError` does what a reader expects.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """Exit codes of the command line (the project's convention, docs/reference/cli.md)."""

    OK = 0
    RUNTIME = 1
    USAGE = 2
    SOURCE = 3
    ENGINE = 4
    DATASET = 5
    ALERTS_FOUND = 10
    INTERRUPT = 130


DISTRIBUTION = "streamad-video"
"""What pip calls this program: PyPI's `streamad` is another project."""


def install_hint(extra: str) -> str:
    """The command that installs an optional part, as hints show it.

    Args:
        extra: a name of pyproject.toml's optional dependencies.
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"


class StreamadError(Exception):
    """Base of all errors that are reported without a traceback.

    Args:
        message: what was given and what was expected.
        hint: what to do about it; printed on a line of its own.
    """

    exit_code: ExitCode = ExitCode.RUNTIME

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(StreamadError, ValueError):
    """A wrong argument or combination of arguments."""

    exit_code = ExitCode.USAGE


class ConfigError(UsageError):
    """A configuration file that does not follow the schema; the message names file and line.

    Args:
        message: what was given and what was expected.
        hint: what to do about it.
        details: the same for programs, which `--json` adds to the error.
    """

    def __init__(self, message: str, *, hint: str | None = None, details: dict[str, Any] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.details = details or {}


class PluginError(StreamadError, ImportError):
    """An installed plugin that cannot be loaded, or is not what its entry point promises."""


class EngineError(StreamadError, RuntimeError):
    """An engine that cannot run here, or failed while running."""

    exit_code = ExitCode.ENGINE


class ProcessingError(StreamadError, RuntimeError):
    """Frames of a camera that cannot be scored, for a reason that no typed error foresaw."""


class BundleError(StreamadError, ValueError):
    """A model bundle that is missing, damaged or newer than this program."""

    exit_code = ExitCode.ENGINE


class CalibrationError(StreamadError, ValueError):
    """A calibration that is missing, damaged or belongs to another model."""

    exit_code = ExitCode.ENGINE


class DatasetError(StreamadError, ValueError):
    """A data set whose files or labels are missing or disagree."""

    exit_code = ExitCode.DATASET


class OutputError(StreamadError, OSError):
    """An output that cannot be written: a read-only folder, a full disk, an occupied port."""
