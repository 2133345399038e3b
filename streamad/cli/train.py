"""`streamad train`: from normal video to a calibrated bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
from streamad.cli.train_motion import fit_motion
from streamad.errors import EngineError, UsageError, install_hint


def train(
    detector: Annotated[str, typer.Argument(help="motion, adacl, alps, learned_noise or igd.")],
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
    max_cells: Annotated[int, typer.Option(min=128, help="Most training cells kept (adacl, alps).")] = 40_000,
    max_frames: Annotated[
        int, typer.Option(min=64, help="Most training frames kept (learned_noise, igd); 65 KB each at 256 pixels.")
    ] = 12_000,
    side: Annotated[int, typer.Option(min=32, help="Network input, pixels a side (learned_noise, igd).")] = 256,
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

    The motion detector needs none held out: each part is scored by a model of the others.
    Started again with the same options, a training that was interrupted goes on.
    """
    from streamad.detectors import detector_parts

    if detector_parts(detector).task is None:
        if option:
            raise UsageError(f"{detector} has no options", hint="leave --option out")
        fit_motion(
            data, out, max_height=max_height, seed=seed, alerts_per_day=alerts_per_day, data_name=data_name,
            license=license, fps=fps, bit_depth=bit_depth, as_json=as_json,
        )  # fmt: skip
        return
    try:
        from streamad.training.build import TrainingPlan, train_bundle
        from streamad.training.feeding import clip_opener
    except ModuleNotFoundError as error:
        raise EngineError(f"training needs the module {error.name}", hint=install_hint("train")) from error
    from streamad.inference import open_model
    from streamad.sources import ImagesSpec
    from streamad.training.splitting import split_clips
    from streamad.workflows.calibrate import calibrate_model, save_into_bundle
    from streamad.workflows.learn import look_at_clips

    folder = bundle_folder(out)
    found = clips_of(data, fps, bit_depth)
    clips = found.clips
    rate = look_at_clips(clips, fps, one_rate=True).fps
    plan = TrainingPlan(
        name=folder.name, data=data_name, license=license, fps=rate, detector=detector, temporal=history,
        standing=standing, epochs=epochs, patience=patience, seed=seed, device=device, max_cells=max_cells,
        max_frames=max_frames, max_height=max_height, side=side, threads=threads, options=parse_pairs(option),
    )  # fmt: skip

    with progress_bar() as bar:
        reading = bar.add_task("reading normal video", total=len(clips))
        training = bar.add_task("training", total=None)
        bundle = train_bundle(
            plan,
            [clip_opener(spec, "training") for _, spec in clips],
            folder,
            feed_progress=lambda done, total: bar.update(reading, completed=done, total=total),
            step_progress=lambda done, total: bar.update(training, completed=done, total=total),
            progress=lambda r: say(
                f"epoch {r.epoch}/{r.epochs}: loss {r.loss:.4f}, validation {r.validation:.4f} "
                f"(best {r.best:.4f}), at most {r.remaining_seconds:.0f} s remain"
            ),
        )
        held = split_clips(len(clips), plan.validation_share)[1]
        task = bar.add_task("calibrating", total=len(held))
        with open_model(bundle, hint="throughput") as model:
            calibration = calibrate_model(
                model,
                [clips[k][1] for k in held],
                source=f"{data_name}: {len(held)} clips held out of training",
                alerts_per_day=alerts_per_day,
                progress=lambda clip, _, __: bar.update(task, completed=clip),
            )
    bundle = save_into_bundle(bundle, calibration)
    for warning in calibration.warnings:
        say(f"note: {warning}")
    summary = {
        "bundle": str(folder),
        "parameters": bundle.manifest.parameters,
        "epochs": bundle.manifest.training.epochs,
        "checkpoint": bundle.manifest.training.checkpoint,
        "parity_max_abs": max(p.max_abs_output for p in bundle.manifest.parity),
        "threshold": calibration.shown_threshold,
        "alerts_per_day": calibration.alerts_per_day,
        "calibration_frames": calibration.frames,
        "warnings": list(calibration.warnings),
        **found.report(),
        "images": any(isinstance(spec, ImagesSpec) for _, spec in clips),
    }
    if as_json:
        emit(summary)
    else:
        say(f"{folder}: {bundle.manifest.training.checkpoint}")
        say(f"{calibration.summary}; {how_to_watch(folder)}")
    end_with(found)
