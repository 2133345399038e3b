"""`streamad train motion`: fitted without torch, and calibrated on the same clips, each scored by a model of others."""

from __future__ import annotations

from pathlib import Path

from streamad.cli.common import bundle_folder, clips_of, emit, end_with, how_to_watch, progress_bar, say


def fit_motion(
    data: list[Path],
    out: Path,
    *,
    max_height: int | None,
    seed: int,
    alerts_per_day: float,
    data_name: str,
    license: str,
    fps: float,
    bit_depth: str,
    as_json: bool,
) -> None:
    """Fit the motion detector to all clips, export it, and calibrate it on them (see `calibrate_motion`).

    Args:
        data: files and folders of normal video.
        out: folder of the bundle.
        max_height: taller frames are shrunk to this, pixels; None measures it.
        seed: of the choice among examples.
        alerts_per_day: the budget of false alerts.
        data_name: name of the data, for the record.
        license: terms of the data, for the record.
        fps: frames a second of folders of images.
        bit_depth: bits that their images of 16 bits use, or "auto".
        as_json: print one JSON document.

    Raises:
        UsageError: nothing moves in the clips, or their sizes differ.
    """
    from streamad.workflows.calibrate import save_into_bundle
    from streamad.workflows.fit_motion import calibrate_motion, fit_motion_bundle
    from streamad.workflows.learn import look_at_clips

    folder = bundle_folder(out)
    clips = clips_of(data, fps, bit_depth)
    rate = look_at_clips(clips.clips, fps, one_rate=False).fps
    with progress_bar() as bar:
        tasks = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)

        fit = fit_motion_bundle(
            clips.specs,
            folder,
            name=folder.name,
            data=data_name,
            license=license,
            fps=rate,
            max_height=max_height,
            seed=seed,
            progress=tell,
        )
    calibration = calibrate_motion(
        fit,
        source=f"{data_name}: the clips it was fitted to, each part scored by a model of the others",
        alerts_per_day=alerts_per_day,
    )
    bundle = save_into_bundle(fit.bundle, calibration)
    for warning in calibration.warnings:
        say(f"note: {warning}")
    training = bundle.manifest.training
    if as_json:
        emit(
            {
                "bundle": str(folder),
                "parameters": bundle.manifest.parameters,
                "frames": training.frames,
                "cells": training.options["cells"],
                "blocks": training.options["blocks"],
                "working_height": bundle.manifest.input.max_height,
                "parity_max_abs": max(p.max_abs_output for p in bundle.manifest.parity),
                "threshold": calibration.shown_threshold,
                "alerts_per_day": calibration.alerts_per_day,
                "calibration_frames": calibration.frames,
                "warnings": list(calibration.warnings),
                **clips.report(),
            }
        )
    else:
        say(f"{folder}: fitted to {training.frames} frames, {training.options['cells']} moving cells")
        say(f"{calibration.summary}; {how_to_watch(folder)}")
    end_with(clips)
