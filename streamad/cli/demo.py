"""`streamad demo`: the whole pipeline on a rendered scene with ground truth."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from streamad.cli.common import BudgetOption, JsonOption, emit, output_folder, progress_bar, say, stage_progress
from streamad.cli.help import opt

if TYPE_CHECKING:
    from streamad.synthetic_scene import SceneTruth

BUDGET = 120.0
"""False alerts per day, that is, five per hour. The demo calibrates on 72 s of normal video, which is extrapolated
tenfold for it. A camera that is calibrated on hours has a budget of one per day."""

WALKWAY_SEED = 1
WALKWAY, GENERIC = "adacl-demo-walkway", "adacl-demo-generic"
"""Shipped bundles, made by scripts/train_demo_model.py. WALKWAY is trained on the camera of seed 1, with walkers that
the demo does not show. GENERIC, for the other seeds, is trained on many other cameras."""


def demo(
    seed: Annotated[int, opt(min=0, unit="N", help="Seed of the scene.")] = 1,
    learn: Annotated[bool, opt("--learn", help="Train a model on this scene first (needs the train extra).")] = False,
    epochs: Annotated[int, opt(min=1, unit="N", help="Epochs of --learn.")] = 8,
    alerts_per_day: BudgetOption = BUDGET,
    keep_running: Annotated[
        bool, opt("--keep-running", help="Keep serving the page and metrics.", panel="Page")
    ] = False,
    port: Annotated[
        int, opt(min=0, max=65535, unit="PORT", help="Port of the page; 0 for a free one.", panel="Page")
    ] = 0,
    out: Annotated[Path, opt("--out", "-o", unit="DIR", help="Folder for all outputs.", panel="Output")] = Path(
        "runs/demo"
    ),
    as_json: JsonOption = False,
) -> None:
    """Show the whole pipeline on a rendered scene.

    Renders a scene with known anomalies, calibrates on its normal part, watches the rest as a stream, and compares each
    alert with the ground truth.

    Examples:
        streamad demo
        streamad demo --seed 7 --keep-running --port 8000
    """
    from streamad.observability.logging import setup_logging
    from streamad.synthetic_scene import render_scene
    from streamad.workflows.demo import calibrate_scene, connect, watch_scene, write_config

    setup_logging("error", "text")
    started = time.monotonic()
    folder = output_folder(out)
    with progress_bar() as bar:
        truth = render_scene(folder / "scene", seed=seed, progress=stage_progress(bar))
    normal = sum(video.frames for video in truth.training)
    say(
        f"rendered scene {seed}: {normal / truth.fps:.0f} s of normal video, "
        f"{truth.testing[0].frames / truth.fps:.0f} s with {len(truth.events)} anomalies ({_since(started)})"
    )
    model: str | Path
    trained = 0
    if learn:
        model, trained = _learn(truth, folder, epochs)
    else:
        model = WALKWAY if seed == WALKWAY_SEED else GENERIC
        own = "trained on this camera" if model == WALKWAY else "not trained on this camera; --learn trains one that is"
        say(f"model {model}, {own}")
    with progress_bar() as bar:
        calibration = calibrate_scene(
            truth,
            model,
            folder / "calibration.json",
            alerts_per_day=alerts_per_day,
            trained_on=trained,
            progress=stage_progress(bar),
        )
    say(f"calibrated: {calibration.summary} ({_since(started)})")
    for warning in calibration.warnings:
        say(f"  note: {warning}")
    config = write_config(truth, model, folder / "calibration.json", folder / "demo.yaml", port=port)
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
            "learned": learn,
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
            f"{len(report.events)}, missed {report.missed}; mean delay {delay}; frame AUC {result.auc:.3f}; "
            f"{result.frames_per_second:.0f} frames/s; {_since(started)} in all"
        )
        if keep_running:
            say(f"serving {server.url} until you press Ctrl-C")
            monitor.keep_alive()


def _learn(truth: SceneTruth, folder: Path, epochs: int) -> tuple[Path, int]:
    """Train a bundle on the normal part of the scene; returns its folder and the number of videos used."""
    from streamad.bundle import load_bundle
    from streamad.detectors import require_trainable, trained_detector
    from streamad.sources import FileSpec
    from streamad.training.plan import TrainingPlan, clip_opener, split_clips

    detector = trained_detector(load_bundle(WALKWAY).manifest.detector)
    require_trainable(detector)

    out = folder / "model"
    shutil.rmtree(out, ignore_errors=True)

    plan = TrainingPlan(
        name=f"{detector.name}-learned-demo",
        data=f"rendered scene, seed {truth.seed}, normal part",
        license="Apache-2.0, rendered by this project",
        fps=truth.fps,
        detector=detector.name,
        epochs=epochs,
    )
    with progress_bar() as bar:
        bundle = detector.train(
            plan,
            [clip_opener(FileSpec(path=truth.file(video)), "walkway") for video in truth.training],
            out,
            progress=stage_progress(bar),
        )
    say(f"trained: {bundle.manifest.training.checkpoint}")
    return out, len(split_clips(len(truth.training), plan.validation_share)[0])


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
