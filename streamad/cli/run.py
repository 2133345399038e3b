"""`streamad run`: watch cameras or files until stopped."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from streamad.cli.common import FailOnAlertOption, JsonOption, causes, emit, say, table
from streamad.cli.ending import Ending
from streamad.errors import ExitCode


def run(
    config: Annotated[Path, typer.Argument(help="The YAML configuration.")],
    once: Annotated[bool, typer.Option("--once", help="Exit at the end of the files.")] = False,
    scores: Annotated[
        Path | None,
        typer.Option(
            "--scores",
            metavar="DIR",
            help="Folder for a CSV per camera with the score and latency of every frame.",
            rich_help_panel="Output",
        ),
    ] = None,
    as_json: JsonOption = False,
    fail_on_alert: FailOnAlertOption = False,
) -> None:
    """Watch cameras or files.

    Scores every frame, raises alerts, stores events, and serves metrics and the live page. Stop with Ctrl-C or SIGTERM.

    Examples:
        streamad run camera.yaml
        streamad run camera.yaml --once --scores runs/scores-of-frames
    """
    from streamad.alerts.sinks import SinkFanout, build_sink
    from streamad.alerts.store import EventStore
    from streamad.alerts.tracker import utc_now
    from streamad.config import load_config
    from streamad.frame import Frame
    from streamad.inference.gated_scorer import why_skipped
    from streamad.live.camera import CameraWatch
    from streamad.live.monitor import Monitor
    from streamad.live.score_log import ScoreLog
    from streamad.observability.health import Health
    from streamad.observability.logging import background_stderr, setup_logging
    from streamad.observability.metrics import Metrics
    from streamad.observability.status import StatusDocument
    from streamad.scoring import FrameScore
    from streamad.web import WebServer, create_app
    from streamad.workflows.recalibrate import ScoreHistoryRecorder
    from streamad.writing import BackgroundWriter

    settings = load_config(config)
    metrics, health = Metrics(), Health()
    with ExitStack() as stack:
        ending = stack.enter_context(Ending())
        stderr = stack.enter_context(background_stderr(partial(metrics.wrote, "stderr")))
        setup_logging(settings.logging.level, settings.logging.format, repeat_seconds=settings.logging.repeat_seconds)
        store = stack.enter_context(
            EventStore(
                settings.events.path,
                max_unsaved=settings.events.max_unsaved,
                on_error=lambda _: metrics.event_store_errors.inc(),
                on_outcome=partial(metrics.wrote, "events"),
            )
        )
        if store.interrupted:
            say(f"{store.interrupted} events were open when an earlier process died; they are now `interrupted`")
        sinks = SinkFanout([build_sink(spec) for spec in settings.sinks], on_outcome=metrics.notified)
        log = None
        if scores is not None:
            log = stack.enter_context(ScoreLog(scores, on_outcome=partial(metrics.wrote, "scores")))

        keeper = ScoreHistoryRecorder(settings.history, utc_now, on_outcome=partial(metrics.wrote, "history"))
        stack.callback(keeper.close)

        def on_score(camera: CameraWatch, _: Frame, score: FrameScore) -> None:
            keeper.on_score(camera, score)
            if log is not None:
                latency = time.monotonic() - score.received_at
                log.add(camera.spec.id, score, shown=camera.policy.display_score(score.score), latency_seconds=latency)

        monitor = Monitor(
            settings,
            metrics=metrics,
            health=health,
            store=store,
            sinks=sinks,
            on_score=on_score,
            on_event=keeper.on_event,
        )
        outputs: list[BackgroundWriter[Any]] = [
            store.writer,
            keeper.writer,
            *([] if log is None else [log.writer]),
            *sinks.writers,
            stderr.writer,
        ]

        def status() -> StatusDocument:
            return {**monitor.status(), "outputs": [output.status() for output in outputs]}

        if settings.web.enabled:
            app = create_app(metrics=metrics, health=health, status=status, store=store, preview=monitor.preview)
            server = WebServer(app, settings.web)
            stack.enter_context(server)
            say(f"page, /metrics, /healthz, /readyz, /status: {server.url}")
        ending.stop_with(monitor.stop)
        summaries = monitor.run(once=once)
        unsaved = store.unsaved()
        if unsaved:
            # The disk was full to the end: print the events, so that none is lost silently.
            for event in unsaved:
                say(f"not stored: {event.to_json()}")
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
    is_incomplete = any(output.dropped for output in outputs if output is not stderr.writer)
    if once and (is_incomplete or monitor.first_error is not None):  # logged when it happened
        raise typer.Exit(ExitCode.RUNTIME)
    if fail_on_alert and any(s.alerts for s in summaries):
        raise typer.Exit(ExitCode.ALERTS_FOUND)
