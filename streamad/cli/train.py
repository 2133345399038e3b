"""`streamad train`: from normal video to a calibrated bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from streamad.cli.common import (
    BitDepthOption,
    BudgetOption,
    DeviceOption,
    FpsOption,
    JsonOption,
    OptionsOption,
    TrainThreadsOption,
    bundle_folder,
    clips_of,
    emit,
    end_with,
    how_to_watch,
    parse_pairs,
    progress_bar,
    say,
)
from streamad.detectors import BUILT_IN


def train(
    detector: Annotated[str, typer.Argument(help=f"{', '.join(BUILT_IN)}, or a plugin.")],
    data: Annotated[
        list[Path], typer.Option("--data", help="Normal video: files, folders of images, or folders of those.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle, models/NAME.")],
    epochs: Annotated[int | None, typer.Option(min=1, help="Most epochs; default: the detector's.")] = None,
    patience: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs without improvement before stopping early."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 17,
    history: Annotated[
        bool,
        typer.Option("--history/--single-frame", help="Cells with a short history, or the paper's single pictures."),
    ] = True,
    standing: Annotated[
        bool, typer.Option(help="Count what appears and stands still as anomalous (where nobody usually stands).")
    ] = False,
    max_cells: Annotated[int, typer.Option(min=128, help="Most training cells kept (detectors of patches).")] = 40_000,
    max_frames: Annotated[
        int,
        typer.Option(min=64, help="Most training frames kept (detectors of whole frames), 65 KB each."),
    ] = 12_000,
    side: Annotated[int, typer.Option(min=32, help="Network input, pixels a side (detectors of whole frames).")] = 256,
    max_height: Annotated[
        int | None, typer.Option(min=30, help="Taller frames are shrunk to this; default: by the size of what moves.")
    ] = None,
    option: OptionsOption = None,
    device: DeviceOption = "cpu",
    threads: TrainThreadsOption = None,
    alerts_per_day: BudgetOption = 1.0,
    data_name: Annotated[str, typer.Option(help="Name of the data, for the record.")] = "own video",
    license: Annotated[str, typer.Option(help="Terms of the data, for the record.")] = "not stated",
    fps: FpsOption = 25.0,
    bit_depth: BitDepthOption = "16",
    as_json: JsonOption = False,
) -> None:
    """Train a detector on a camera's normal video, export it, and calibrate it on clips held out.

    A detector that is fitted in closed form needs none held out: each part is scored by a model of the others.
    Run the same command again to resume an interrupted training.
    """
    from streamad.detectors import TrainedDetector, find_detector, require_trainable
    from streamad.detectors.options import parse_options
    from streamad.sources import ImagesSpec
    from streamad.training.plan import TrainingPlan
    from streamad.workflows.calibrate import save_into_bundle
    from streamad.workflows.fit import fit_model
    from streamad.workflows.learn import look_at_clips

    method, options = find_detector(detector), parse_pairs(option)
    require_trainable(method)
    parse_options(method.options(), options, detector)
    folder = bundle_folder(out)
    found = clips_of(data, fps, bit_depth)
    plan = TrainingPlan(
        name=folder.name, data=data_name, license=license, detector=detector, temporal=history,
        fps=look_at_clips(found.clips, fps, one_rate=method.one_rate).fps, standing=standing, epochs=epochs,
        patience=patience, seed=seed, device=device, max_cells=max_cells, max_frames=max_frames, max_height=max_height,
        side=side, threads=threads, options=options,
    )  # fmt: skip
    with progress_bar() as bar:
        tasks: dict[str, Any] = {}

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)

        fitted = fit_model(
            plan,
            found.specs,
            folder,
            alerts_per_day=alerts_per_day,
            progress=progress,
            on_epoch=lambda r: say(
                f"epoch {r.epoch}/{r.epochs}: loss {r.loss:.4f}, validation {r.validation:.4f} "
                f"(best {r.best:.4f}), at most {r.remaining_seconds:.0f} s remain"
            ),
        )
    calibration = fitted.calibration
    bundle = save_into_bundle(fitted.bundle, calibration)
    for warning in calibration.warnings:
        say(f"note: {warning}")
    training = bundle.manifest.training
    summary = {
        "bundle": str(folder),
        "parameters": bundle.manifest.parameters,
        "frames": training.frames,
        "epochs": training.epochs,
        "checkpoint": training.checkpoint,
        "working_height": bundle.manifest.input.max_height,
        "parity_max_abs": max(p.max_abs_output for p in bundle.manifest.parity),
        "threshold": calibration.shown_threshold,
        "alerts_per_day": calibration.alerts_per_day,
        "calibration_frames": calibration.frames,
        "warnings": list(calibration.warnings),
        **found.report(),
        "images": any(isinstance(spec, ImagesSpec) for _, spec in found.clips),
    }
    if as_json:
        emit(summary)
    else:
        how = training.checkpoint if isinstance(method, TrainedDetector) else f"fitted to {training.frames} frames"
        say(f"{folder}: {how}")
        say(f"{calibration.summary}; {how_to_watch(folder)}")
    end_with(found)
