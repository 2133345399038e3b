"""`streamad run`: watch cameras or files until stopped."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from streamad.cli.common import FailOnAlertOption, JsonOption, causes, emit, say, table
from streamad.cli.ending import Ending
from streamad.cli.help import arg, opt
from streamad.errors import ExitCode


def run(
    config: Annotated[Path, arg(unit="CONFIG", help="The YAML configuration.")],
    once: Annotated[bool, opt("--once", help="Exit at the end of the files.")] = False,
    scores: Annotated[
        Path | None,
        opt(
            "--scores",
            unit="DIR",
            help="Folder for a CSV per camera with the score and latency of every frame.",
            panel="Output",
        ),
    ] = None,
    as_json: JsonOption = False,
    fail_on_alert: FailOnAlertOption = False,
) -> None:
    """Watch cameras or files.

    Scores every frame, raises alerts, stores events, and serves metrics and the live page. Stop with Ctrl-C or SIGTERM.
    SIGHUP reloads the configuration; cameras that it does not change go on undisturbed.

    Examples:
        streamad run camera.yaml
        streamad run camera.yaml --once --scores runs/scores-of-frames
    """
    from streamad.config import load_config
    from streamad.inference.gated_scorer import why_skipped
    from streamad.observability.logging import background_stderr, setup_logging
    from streamad.observability.metrics import Metrics
    from streamad.service import watch

    settings = load_config(config)
    metrics = Metrics()
    with Ending() as ending, background_stderr(partial(metrics.wrote, "stderr")) as stderr:
        setup_logging(settings.logging.level, settings.logging.format, repeat_seconds=settings.logging.repeat_seconds)
        result = watch(
            settings,
            once=once,
            scores=scores,
            path=config,
            on_start=lambda monitor: ending.stop_with(monitor.stop),
            on_reloadable=lambda reloading: ending.reload_with(reloading.reload_in_background),
            message=say,
            metrics=metrics,
            outputs=[stderr.writer],
        )
    summaries = result.cameras
    rows: list[dict[str, Any]] = [
        {
            "camera": s.camera,
            "frames": s.frames,
            "scored": s.scored,
            "skipped": dict(s.skipped) if as_json else causes(s.skipped),
            "dropped": s.dropped,
            "alerts": s.alerts,
            "error": str(s.error) if s.error else None,
        }
        for s in summaries
    ]
    specs = {camera.id: camera.source for camera in settings.cameras}
    for s in summaries if once else ():
        for sentence in why_skipped(specs[s.camera], s.skipped, s.scored):
            say(f"{s.camera}: {sentence}")
    if as_json:
        emit({"cameras": rows, "events": str(settings.events.path)})
    else:
        table(rows)
    failed = [s for s in summaries if s.error is not None]
    if once and failed:
        raise typer.Exit(next((s.error.exit_code for s in failed if s.error is not None), ExitCode.SOURCE))
    if once and not result.is_complete:  # logged when it happened
        raise typer.Exit(ExitCode.RUNTIME)
    if fail_on_alert and any(s.alerts for s in summaries):
        raise typer.Exit(ExitCode.ALERTS_FOUND)
