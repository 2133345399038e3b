"""`streamad sinks`: test where notifications go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamad.cli.common import JsonOption, emit, say, table
from streamad.cli.help import arg, opt
from streamad.errors import ExitCode, UsageError, suggestion

sinks = typer.Typer(help="Test where notifications go.", no_args_is_help=True, add_completion=False)


@sinks.callback()
def _group() -> None:
    """Keep `test` a command of its own: typer would fold a group of one."""


@sinks.command("test")
def send_test(
    config: Annotated[Path, arg(unit="CONFIG", help="The YAML configuration.")],
    only: Annotated[
        list[str] | None, opt("--sink", unit="NAME", help="Only this sink, by its name; repeatable. Default: all.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send a test notification to every sink.

    Each receiver gets one message that is marked as a test, past routing, quiet hours and the outbox. Files are opened,
    and nothing is written to them. Exits with code 1 if a sink fails.

    Examples:
        streamad sinks test camera.yaml
        streamad sinks test camera.yaml --sink webhook
    """
    from streamad.alerts.sinks import SinkContext
    from streamad.alerts.sinks.check import check_sink, sink_name
    from streamad.config import load_config

    settings = load_config(config)
    names = [sink_name(spec) for spec in settings.sinks]
    if not names:
        raise UsageError(f"{config} has no sinks", hint="docs/how-to/get-notified.md")
    for wanted in only or ():
        if wanted not in names:
            hint = suggestion(wanted, names) or f"it has {', '.join(names)}"
            raise UsageError(f"{config} has no sink {wanted!r}", hint=hint)
    context = SinkContext(users=settings.web.users)
    results = [
        check_sink(spec, context) for spec, name in zip(settings.sinks, names, strict=True) if not only or name in only
    ]
    if as_json:
        emit({"sinks": results})
    else:
        table([{**result, "ok": "ok" if result["ok"] else "failed"} for result in results])
    failed = [result["sink"] for result in results if not result["ok"]]
    if failed:
        say(f"failed: {', '.join(failed)}")
        raise typer.Exit(ExitCode.RUNTIME)
