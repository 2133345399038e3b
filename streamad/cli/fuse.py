"""`streamad fuse`: several models to one for a camera."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, cast

import typer

from streamad.cli.common import (
    BitDepthOption,
    BudgetOption,
    EngineOption,
    FpsOption,
    JsonOption,
    PrecisionOption,
    ThreadsOption,
    bundle_folder,
    clips_of,
    emit,
    end_with,
    engine_spec,
    progress_bar,
    say,
)
from streamad.errors import UsageError
from streamad.formatting import counted


def fuse(
    models: Annotated[list[str], typer.Argument(help="Two or more model bundles: folders, or names of `models list`.")],
    data: Annotated[list[Path], typer.Option("--data", help="Normal video of the camera, not used in training.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the fused model.")],
    rule: Annotated[str, typer.Option(help="Of the calibrated scores: mean, or max (the highest).")] = "mean",
    alerts_per_day: BudgetOption = 1.0,
    local: Annotated[
        bool | None,
        typer.Option("--local/--no-local", help="Local statistics of members; default: where they help the detector."),
    ] = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    fps: FpsOption = 25.0,
    bit_depth: BitDepthOption = "16",
    as_json: JsonOption = False,
) -> None:
    """Make one model of several for a camera: their calibrated scores together, calibrated again on normal video."""
    from streamad.calibration import Calibration
    from streamad.inference import open_model
    from streamad.workflows.fuse import Rule, fuse_models
    from streamad.workflows.learn import look_at_clips

    if rule not in ("mean", "max"):
        raise UsageError(f"--rule {rule!r}: expected mean or max")
    out = bundle_folder(out)
    clips = clips_of(data, fps, bit_depth)
    rate = look_at_clips(clips.clips, fps, one_rate=True).fps
    spec = engine_spec(engine, threads, precision)
    with ExitStack() as stack, progress_bar() as bar:
        members = [stack.enter_context(open_model(model, spec, hint="throughput")) for model in models]
        task = bar.add_task("scoring normal video", total=len(clips.clips) * len(members))
        bundle = fuse_models(
            members,
            clips.specs,
            out,
            source=clips.summary,
            rule=cast(Rule, rule),
            fps=rate,
            alerts_per_day=alerts_per_day,
            local=local,
            progress=lambda clip, _, __: bar.update(task, completed=clip),
        )
    assert bundle.calibration_path is not None
    calibration = Calibration.load(bundle.calibration_path)
    for warning in calibration.warnings:
        say(f"note: {warning}")
    if as_json:
        emit({
            "model": str(bundle.path), "members": list(models), "rule": rule, "threshold": calibration.shown_threshold,
            "alerts_per_day": alerts_per_day, "frames": calibration.frames, "warnings": list(calibration.warnings),
            **clips.report(),
        })  # fmt: skip
    else:
        say(
            f"{bundle.path}: {rule} of {', '.join(models)}; {calibration.summary}, "
            f"from {counted(calibration.frames, 'frame')}"
        )
    end_with(clips)
