"""The application: its commands, and how errors and interrupts end it."""

from __future__ import annotations

import errno
import importlib
import json
import logging
import sys
import traceback
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from streamad import __version__
from streamad.cli.streams import prepare_streams, silence_unread, write_output
from streamad.errors import ExitCode, OutputError, StreamadError
from streamad.sources.url import redact

COMMANDS = {
    "demo": "streamad.cli.demo:demo",
    "run": "streamad.cli.run:run",
    "score": "streamad.cli.score:score",
    "train": "streamad.cli.train:train",
    "learn": "streamad.cli.learn:learn",
    "evaluate": "streamad.cli.evaluate:evaluate",
    "compare": "streamad.cli.evaluate:compare",
    "calibrate": "streamad.cli.calibrate:calibrate",
    "fuse": "streamad.cli.fuse:fuse",
    "export": "streamad.cli.export:export",
    "benchmark": "streamad.cli.benchmark:benchmark",
    "datasets": "streamad.cli.datasets:datasets",
    "models": "streamad.cli.models:models",
    "config": "streamad.cli.config:config",
    "doctor": "streamad.cli.doctor:doctor",
}
"""In the order of `--help`; imported when called, so that `--help` loads no engine."""


class _LazyGroup(TyperGroup):
    """Imports a command's module when the command is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        part = getattr(importlib.import_module(module), attribute)
        if isinstance(part, typer.Typer):
            command = typer.main.get_group(part)
        else:
            single = typer.Typer(add_completion=False)
            single.command(cmd_name)(part)
            command = typer.main.get_command(single)  # type: ignore[assignment]
        command.name = cmd_name
        return command


_ClickError: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
"""Typer brings a copy of click of its own, and does not name this class."""

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

app = typer.Typer(
    cls=_LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Real-time video anomaly detection that learns from a camera's normal video alone.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"streamad {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Hold the options of the program itself."""


def main() -> NoReturn:
    """Run the command line and exit with the project's codes (docs/reference/cli.md)."""
    prepare_streams()
    as_json = "--json" in sys.argv[1:]
    code: int = ExitCode.OK
    try:
        try:
            # A command that ends by typer.Exit returns its code.
            code = int(app(standalone_mode=False) or ExitCode.OK)
            write_output("")  # what typer wrote itself
        except StreamadError as error:
            code = error.exit_code
            _report(error, as_json)
        except _ClickError as error:
            code = ExitCode.USAGE
            _report_usage(error, as_json)
        except KeyboardInterrupt as error:
            code = ExitCode.INTERRUPT
            report(error)
    except SystemExit:  # how typer and rich end where the reader of their help has gone; nothing else here does
        silence_unread()
    except Exception as error:  # noqa: BLE001 - the boundary of the process: reported, not swallowed
        if isinstance(error, BrokenPipeError) and silence_unread():
            pass  # the reader of our output has gone (`| head`), which is no error
        elif isinstance(error, StreamadError):
            _report(error, False)  # the document of an error could not be written
        elif isinstance(error, OSError) and error.errno in _DISK_FULL:
            code = ExitCode.RUNTIME
            _report(OutputError(f"cannot write: {error.strerror}", hint="make room on the disk"), False)
        else:
            # A fault of the program itself. Its text may quote what was given to it.
            code = ExitCode.RUNTIME
            print(redact(traceback.format_exc()), file=sys.stderr)  # noqa: T201
    finally:
        logging.shutdown()
    sys.exit(int(code))


def _report_usage(error: Any, as_json: bool) -> None:
    """A command line that typer does not understand: its own words, and a document where one was asked for."""
    error.message = redact(error.message)  # it quotes words that were given
    if as_json:
        details = {
            "type": "UsageError",
            "message": error.format_message(),
            "hint": None,
            "code": ExitCode.USAGE,
        }
        write_output(json.dumps({"error": details}, ensure_ascii=False) + "\n")
    error.show()


def _report(error: StreamadError, as_json: bool) -> None:
    details = report(error)
    if as_json:
        write_output(json.dumps({"error": details}, ensure_ascii=False) + "\n")


def report(error: StreamadError | KeyboardInterrupt, about: str = "") -> dict[str, Any]:
    """Print an error on standard error; returns what a JSON document says of it.

    Args:
        error: what went wrong.
        about: the input that it is about, of several; printed where the message does not name it.
    """
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)  # noqa: T201 - the command line's own voice
        return {"type": "KeyboardInterrupt", "message": "interrupted", "hint": None, "code": int(ExitCode.INTERRUPT)}
    message, hint = redact(str(error)), redact(error.hint) if error.hint else None
    where = "" if about in message else f"{redact(about)}: "
    print(f"error: {where}{message}", file=sys.stderr)  # noqa: T201
    if hint:
        print(f"  hint: {hint}", file=sys.stderr)  # noqa: T201
    details = {"type": type(error).__name__, "message": message, "hint": hint, "code": int(error.exit_code)}
    reason = getattr(error, "reason", None)
    return details | ({} if reason is None else {"reason": str(reason)}) | getattr(error, "details", {})
