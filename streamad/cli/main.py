"""The application: its commands, and how errors and interrupts end it."""

from __future__ import annotations

import errno
import importlib
import json
import logging
import sys
from typing import Annotated, Any, NoReturn

import typer

from streamad import __version__
from streamad.cli.help import Command, Group, with_help
from streamad.cli.streams import prepare_streams, silence_unread, write_output
from streamad.errors import ExitCode, OutputError, StreamadError
from streamad.redaction import redact

SECTIONS = {
    "Watch": {
        "demo": "streamad.cli.demo:demo",
        "run": "streamad.cli.run:run",
        "score": "streamad.cli.score:score",
        "events": "streamad.cli.events:events",
    },
    "Learn": {
        "learn": "streamad.cli.learn:learn",
        "train": "streamad.cli.train:train",
        "calibrate": "streamad.cli.calibrate:calibrate",
        "fuse": "streamad.cli.fuse:fuse",
    },
    "Evaluate": {
        "evaluate": "streamad.cli.evaluate:evaluate",
        "evaluate-scores": "streamad.cli.evaluate_scores:evaluate_scores",
        "compare": "streamad.cli.compare:compare",
        "datasets": "streamad.cli.datasets:datasets",
        "benchmark-images": "streamad.cli.benchmark_images:benchmark_images",
    },
    "Models and engines": {
        "models": "streamad.cli.models:models",
        "export": "streamad.cli.export:export",
        "benchmark": "streamad.cli.benchmark:benchmark",
    },
    "Set up": {
        "discover": "streamad.cli.discover:discover",
        "config": "streamad.cli.config:config",
        "sinks": "streamad.cli.sinks:sinks",
        "health": "streamad.cli.health:health",
        "users": "streamad.cli.users:users",
        "tokens": "streamad.cli.users:tokens",
        "backup": "streamad.cli.backup:backup",
        "restore": "streamad.cli.backup:restore",
        "doctor": "streamad.cli.doctor:doctor",
    },
}
"""The commands by purpose, as `--help` shows them. Each module is imported when its command or help is needed."""

COMMANDS = {name: target for section in SECTIONS.values() for name, target in section.items()}

MOVED = {
    "evaluate": {
        "--scores": "evaluate-scores", "--labels": "evaluate-scores", "--fps": "evaluate-scores",
        "--detector": "benchmark-images", "--seeds": "benchmark-images", "--classes": "benchmark-images",
        "--option": "benchmark-images", "--device": "benchmark-images",
    },
}  # fmt: skip
"""Options that a command no longer has, and the command that has them now."""


class _LazyGroup(Group):
    """Imports the module of a command when the command is used."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands = dict.fromkeys(COMMANDS)  # type: ignore[assignment]  # typer suggests similar names

    def command_sections(self) -> dict[str, list[str]]:
        return {heading: list(commands) for heading, commands in SECTIONS.items()}

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        part = getattr(importlib.import_module(module), attribute)
        if isinstance(part, typer.Typer):
            command: Any = typer.main.get_group(with_help(part))
        else:
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command(cmd_name, cls=Command)(part)
            command = typer.main.get_command(single)
        command.name = cmd_name
        return command


_ClickError: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
"""Typer has its own copy of click and does not export this class."""

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

app = typer.Typer(
    cls=_LazyGroup,
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
    """Define the options of the program itself."""


def main() -> NoReturn:
    """Run the command line and exit with the codes of docs/reference/exit-codes.md."""
    prepare_streams()
    as_json = "--json" in sys.argv[1:]
    code: int = ExitCode.OK
    try:
        try:
            # A command that ends with typer.Exit returns its code.
            code = int(app(prog_name="streamad", standalone_mode=False) or ExitCode.OK)
            write_output("")  # flush what typer printed
        except StreamadError as error:
            code = error.exit_code
            _report(error, as_json)
        except _ClickError as error:
            code = ExitCode.USAGE
            _report_usage(error, as_json)
        except KeyboardInterrupt as error:
            code = ExitCode.INTERRUPT
            report(error)
    except SystemExit as ended:  # after shell completion, or because the reader of typer's help exited
        code = ExitCode.OK if silence_unread() else int(ended.code or ExitCode.OK)
    except Exception as error:  # noqa: BLE001 - the outermost handler: every exception is reported
        if isinstance(error, BrokenPipeError) and silence_unread():
            pass  # the reader of the output exited (`| head`)
        elif isinstance(error, StreamadError):
            _report(error, False)  # the JSON document of an error could not be written
        elif isinstance(error, OSError) and error.errno in _DISK_FULL:
            code = ExitCode.RUNTIME
            _report(OutputError(f"cannot write: {error.strerror}", hint="free space on the disk"), False)
        else:
            import traceback

            # A bug. Its text may quote credentials from the command line or the configuration.
            code = ExitCode.RUNTIME
            print(redact(traceback.format_exc()), file=sys.stderr)  # noqa: T201
    finally:
        logging.shutdown()
    sys.exit(int(code))


def _report_usage(error: Any, as_json: bool) -> None:
    """Print a command line error of typer, and with --json the document of an error."""
    option, similar = getattr(error, "option_name", None), getattr(error, "possibilities", None)
    command = error.ctx.info_name if getattr(error, "ctx", None) is not None else None
    if moved := MOVED.get(command or "", {}).get(option or ""):
        error.message = f"`streamad {command}` has no {option}: use `streamad {moved}`"
        error.possibilities = None
    elif similar:
        error.message = f"{error.message}. Did you mean {', '.join(similar)}?"
        error.possibilities = None
    error.message = redact(error.message)  # it quotes the command line
    if as_json:
        details = {"type": "UsageError", "message": error.format_message(), "hint": None, "code": ExitCode.USAGE}
        write_output(json.dumps({"error": details}, ensure_ascii=False) + "\n")
    error.show()


def _report(error: StreamadError, as_json: bool) -> None:
    details = report(error)
    if as_json:
        write_output(json.dumps({"error": details}, ensure_ascii=False) + "\n")


def report(error: StreamadError | KeyboardInterrupt, about: str = "") -> dict[str, Any]:
    """Print an error on standard error; returns it as a JSON document has it.

    Args:
        error: What went wrong.
        about: The input that failed, of several; printed if the message does not name it.
    """
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)  # noqa: T201 - the command line prints
        return {"type": "KeyboardInterrupt", "message": "interrupted", "hint": None, "code": int(ExitCode.INTERRUPT)}
    message, hint = redact(str(error)), redact(error.hint) if error.hint else None
    where = "" if about in message else f"{redact(about)}: "
    print(f"error: {where}{message}", file=sys.stderr)  # noqa: T201
    if hint:
        print(f"  hint: {hint}", file=sys.stderr)  # noqa: T201
    details = {"type": type(error).__name__, "message": message, "hint": hint, "code": int(error.exit_code)}
    reason = getattr(error, "reason", None)
    return details | ({} if reason is None else {"reason": str(reason)}) | getattr(error, "details", {})
