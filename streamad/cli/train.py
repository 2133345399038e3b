"""`streamad train`: a calibrated model from normal video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    say_notes,
    stage_progress,
)
from streamad.cli.completion import complete_detector
from streamad.cli.help import arg, opt
from streamad.detectors import BUILT_IN

TRAINING, NETWORK = "Training", "Network"


def train(
    detector: Annotated[
        str, arg(unit="DETECTOR", help=f"{', '.join(BUILT_IN)}, or a plugin.", complete=complete_detector)
    ],
    data: Annotated[
        list[Path],
        opt("--data", unit="PATH", help="Normal video: files, image folders, or folders of those; repeatable."),
    ],
    out: Annotated[Path, opt("--out", "-o", unit="DIR", help="Folder of the new model; its last part is the name.")],
    as_json: JsonOption = False,
    epochs: Annotated[
        int | None, opt(min=1, unit="N", help="Most epochs. Default: the detector's.", panel=TRAINING)
    ] = None,
    patience: Annotated[
        int | None,
        opt(
            min=1,
            unit="N",
            help="Stop after so many epochs without improvement. Default: the detector's.",
            panel=TRAINING,
        ),
    ] = None,
    seed: Annotated[int, opt(unit="N", help="Seed of all random numbers.", panel=TRAINING)] = 17,
    option: OptionsOption = None,
    device: DeviceOption = "cpu",
    threads: TrainThreadsOption = None,
    history: Annotated[
        bool,
        opt(
            "--history/--single-frame",
            help="Detectors of patches: with a short history, or of single frames as in the papers.",
            panel=NETWORK,
        ),
    ] = True,
    standing: Annotated[
        bool, opt(help="Detectors of patches: treat what appears and stands still as anomalous.", panel=NETWORK)
    ] = False,
    side: Annotated[
        int,
        opt(
            min=32,
            unit="PIXELS",
            help="Detectors of whole frames: width and height of the network's input.",
            panel=NETWORK,
        ),
    ] = 256,
    max_height: Annotated[
        int | None,
        opt(
            min=30,
            unit="PIXELS",
            help="Height to which taller frames are reduced. Default: by the size of what moves.",
            panel=NETWORK,
        ),
    ] = None,
    max_cells: Annotated[
        int, opt(min=128, unit="N", help="Detectors of patches: most training patches kept.", panel=TRAINING)
    ] = 40_000,
    max_frames: Annotated[
        int,
        opt(
            min=64,
            unit="N",
            help="Detectors of whole frames: most training frames kept, 65 KB each at 256 pixels.",
            panel=TRAINING,
        ),
    ] = 12_000,
    alerts_per_day: BudgetOption = 1.0,
    data_name: Annotated[str, opt(unit="TEXT", help="Name of the data.", panel="Model card")] = "own video",
    license: Annotated[str, opt(unit="TEXT", help="License of the data.", panel="Model card")] = "not stated",
    fps: FpsOption = 25.0,
    bit_depth: BitDepthOption = "16",
) -> None:
    """Train a detector on normal video.

    The model is exported and calibrated on clips held out of training (motion needs none: each part of the video is
    scored by a model of the others). If interrupted, the same command continues. All detectors but motion need the
    train extra.

    Examples:
        streamad train motion --data normal/ --out models/gate
        streamad train adacl --data normal/ --out models/gate-adacl --epochs 5 --device cuda
    """
    from streamad.detectors import TrainedDetector, find_detector, require_trainable
    from streamad.detectors.options import parse_options
    from streamad.sources import ImagesSpec
    from streamad.sources.frame_rate import look_at_clips
    from streamad.training.plan import TrainingPlan
    from streamad.workflows.calibrate import save_into_bundle
    from streamad.workflows.fit import fit_model

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
        fitted = fit_model(
            plan,
            found.specs,
            folder,
            alerts_per_day=alerts_per_day,
            progress=stage_progress(bar),
            on_epoch=lambda r: say(
                f"epoch {r.epoch}/{r.epochs}: loss {r.loss:.4f}, validation {r.validation:.4f} "
                f"(best {r.best:.4f}), at most {r.remaining_seconds:.0f} s remain"
            ),
        )
    calibration = fitted.calibration
    bundle = save_into_bundle(fitted.bundle, calibration)
    say_notes(calibration.warnings)
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
        "vouched_alerts_per_day": calibration.vouched_alerts_per_day,
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
