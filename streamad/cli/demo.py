"""`streamad demo`: the whole pipeline on a rendered scene with ground truth."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

from streamad.cli.common import (
    BudgetOption,
    JsonOption,
    emit,
    out_option,
    output_folder,
    progress_bar,
    say,
    say_notes,
    stage_progress,
)
from streamad.cli.help import opt

NORMAL_SECONDS, NORMAL_VIDEOS = 125.0, 5
"""Normal video that is rendered: as much as `streamad learn` asks for at least."""


def demo(
    seed: Annotated[int, opt(min=0, unit="N", help="Seed of the scene.")] = 1,
    alerts_per_day: BudgetOption = 1.0,
    keep_running: Annotated[
        bool, opt("--keep-running", help="Keep serving the page and metrics.", panel="Page")
    ] = False,
    port: Annotated[
        int, opt(min=0, max=65535, unit="PORT", help="Port of the page; 0 for a free one.", panel="Page")
    ] = 0,
    out: Annotated[Path, out_option("Folder for all outputs.")] = Path("runs/demo"),
    as_json: JsonOption = False,
) -> None:
    """Show the whole pipeline on a rendered scene.

    Renders a scene with known anomalies, learns its normal part with the defaults of `streamad learn`, watches the rest
    as a stream, and compares each alert with the ground truth.

    Examples:
        streamad demo
        streamad demo --seed 7 --keep-running --port 8000
    """
    from streamad.observability.logging import setup_logging
    from streamad.synthetic_scene import render_scene
    from streamad.workflows.demo import connect, learn_scene, watch_scene, write_config

    setup_logging("error", "text")
    started = time.monotonic()
    folder = output_folder(out)
    with progress_bar() as bar:
        truth = render_scene(
            folder / "scene",
            seed=seed,
            training_seconds=NORMAL_SECONDS,
            training_videos=NORMAL_VIDEOS,
            progress=stage_progress(bar),
        )
    normal = sum(video.frames for video in truth.training)
    say(
        f"rendered scene {seed}: {normal / truth.fps:.0f} s of normal video, "
        f"{truth.testing[0].frames / truth.fps:.0f} s with {len(truth.events)} anomalies ({_since(started)})"
    )
    model = folder / "model"
    with progress_bar() as bar:
        learned = learn_scene(truth, model, alerts_per_day=alerts_per_day, progress=stage_progress(bar))
    for sentence in learned.words:
        say(f"· {sentence}")
    say_notes(learned.calibration.warnings)
    say(f"learned {model}: {learned.calibration.summary} ({_since(started)})")
    config = write_config(truth, model, folder / "demo.yaml", port=port)
    with ExitStack() as stack:
        store = stack.enter_context(_store(folder / "events.sqlite"))
        bar = stack.enter_context(progress_bar())
        monitor, watch, recorder = connect(truth, config, store, folder, say, progress=stage_progress(bar))
        stack.enter_context(recorder)
        server = _serve(stack, monitor, store, config)
        say(f"watching the rest of the scene; page and metrics: {server.url}")
        result = watch_scene(truth, monitor, watch, recorder)
        (folder / "metrics.prom").write_bytes(monitor.metrics.render())
        bar.stop()
        report = result.report
        document: dict[str, Any] = {
            "seed": seed,
            "anomalies": len(report.events),
            "found": report.found,
            "missed": report.missed,
            "alerts_right": report.right,
            "alerts_wrong": report.wrong,
            "mean_delay_seconds": report.mean_delay_seconds,
            "frame_auc": result.auc,
            "frames_per_second": result.frames_per_second,
            "seconds": time.monotonic() - started,
            "events": [
                {"kind": e.kind, "start_seconds": e.start_seconds, "delay_seconds": e.delay_seconds}
                for e in report.events
            ],
            "files": {
                "plot": str(result.recording.plot),
                "video": str(result.recording.video),
                "scores": str(result.recording.csv),
                "metrics": str(folder / "metrics.prom"),
                "config": str(folder / "demo.yaml"),
            },
        }
        if as_json:
            emit(document)
        say(f"see {result.recording.plot}  {result.recording.video}  {folder / 'metrics.prom'}")
        delay = "–" if report.mean_delay_seconds is None else f"{report.mean_delay_seconds:.1f} s"
        say(
            f"alerts right {report.right}, wrong {report.wrong}; anomalies found {report.found} of "
            f"{len(report.events)}; mean delay {delay}; frame AUC {result.auc:.3f}; "
            f"{result.frames_per_second:.0f} frames/s; {_since(started)} in all"
        )
        if keep_running:
            say(f"serving {server.url} until you press Ctrl-C")
            monitor.keep_alive()


def _store(path: Path) -> Any:
    from streamad.alerts.store import EventStore

    for old in path.parent.glob(path.name + "*"):  # each demo starts without events
        old.unlink()
    return EventStore(path)


def _serve(stack: ExitStack, monitor: Any, store: Any, config: Any) -> Any:
    from streamad.web import WebServer, create_app

    app = create_app(
        metrics=monitor.metrics, health=monitor.health, status=monitor.status, store=store, preview=monitor.preview
    )
    server = WebServer(app, config.web)
    stack.enter_context(server)
    return server


def _since(started: float) -> str:
    return f"{time.monotonic() - started:.0f} s"
