"""`streamad calibrate`: normal video and a budget to a threshold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamad.cli.common import (
    BudgetOption,
    EngineOption,
    FpsOption,
    JsonOption,
    PrecisionOption,
    ThreadsOption,
    clips_of,
    emit,
    engine_spec,
    progress_bar,
    say,
)


def calibrate(
    model: Annotated[str, typer.Argument(help="Model bundle: a folder, or a name of `models list`.")],
    data: Annotated[list[Path], typer.Option("--data", help="Normal video of the camera, not used in training.")],
    alerts_per_day: BudgetOption = 1.0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; default: the bundle's own calibration.")
    ] = None,
    min_duration: Annotated[float, typer.Option(min=0, help="Seconds over the threshold that make an alert.")] = 0.5,
    cooldown: Annotated[
        float, typer.Option(min=0, help="Seconds after an alert in which a rise is the same one.")
    ] = 10.0,
    hysteresis: Annotated[
        float, typer.Option(min=0, max=0.99, help="How far the score must fall to end an alert.")
    ] = 0.2,
    local: Annotated[
        bool | None,
        typer.Option(
            "--local/--no-local",
            help="Hold each place of the picture against its own normal scores; default: where it helps the detector.",
        ),
    ] = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    fps: FpsOption = 25.0,
    as_json: JsonOption = False,
) -> None:
    """Set a camera's threshold from its normal video and a budget of false alerts."""
    from streamad.alerts.spec import RuleSpec
    from streamad.pipeline import calibrate_model, open_model, save_into_bundle
    from streamad.sources import open_source

    clips = clips_of(data, fps)
    with open_source(clips[0][1], camera=clips[0][0]) as source:
        rate = source.info.fps
    rules = RuleSpec(min_duration_seconds=min_duration, cooldown_seconds=cooldown, hysteresis=hysteresis)
    with open_model(model, engine_spec(engine, threads, precision), hint="throughput") as loaded, progress_bar() as bar:
        task = bar.add_task("scoring normal video", total=len(clips))
        calibration = calibrate_model(
            loaded,
            [spec for _, spec in clips],
            source=", ".join(name for name, _ in clips[:5]) + (f" and {len(clips) - 5} more" if len(clips) > 5 else ""),
            fps=rate,
            alerts_per_day=alerts_per_day,
            rules=rules,
            local=local,
            progress=lambda clip, _, __: bar.update(task, completed=clip),
        )
        if out is None:
            save_into_bundle(loaded.bundle, calibration)
            target = loaded.bundle.path
        else:
            calibration.save(out)
            target = out
    for warning in calibration.warnings:
        say(f"note: {warning}")
    if as_json:
        emit({
            "calibration": str(target), "threshold": calibration.threshold, "release": calibration.release,
            "interval": [calibration.threshold_low, calibration.threshold_high], "median": calibration.median,
            "alerts_per_day": calibration.alerts_per_day, "frames": calibration.frames, "clips": calibration.clips,
            "duration_seconds": calibration.duration_seconds, "extrapolation": calibration.extrapolation,
            "local": calibration.local is not None, "warnings": list(calibration.warnings),
        })  # fmt: skip
    else:
        say(
            f"{target}: threshold {calibration.threshold:.4f} (95 % interval {calibration.threshold_low:.4f} to "
            f"{calibration.threshold_high:.4f}) for {alerts_per_day:g} alerts a day, from {calibration.frames} frames"
            + ("; each place has its own statistics" if calibration.local is not None else "")
        )
