"""`streamad fuse`: combine several models into one."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, cast

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
    one_of,
    progress_bar,
    say,
    say_notes,
    stage_progress,
)
from streamad.cli.completion import complete_from, complete_model
from streamad.cli.help import arg, opt
from streamad.formatting import counted


def fuse(
    models: Annotated[
        list[str],
        arg(
            unit="MODEL",
            help="Two or more model bundles: names from `streamad models list`, or folders.",
            complete=complete_model,
        ),
    ],
    data: Annotated[
        list[Path], opt("--data", unit="PATH", help="Normal video of the camera, not used in training; repeatable.")
    ],
    out: Annotated[Path, opt("--out", "-o", unit="DIR", help="Folder of the new model.")],
    rule: Annotated[
        str,
        opt(unit="NAME", help="Combines the calibrated scores: mean or max.", complete=complete_from(("mean", "max"))),
    ] = "mean",
    alerts_per_day: BudgetOption = 1.0,
    local: Annotated[
        bool | None,
        opt(
            "--local/--no-local",
            help="Calibrate the members per location. Default: if it helps the detector.",
            panel="Alerts",
        ),
    ] = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    fps: FpsOption = 25.0,
    bit_depth: BitDepthOption = "16",
    as_json: JsonOption = False,
) -> None:
    """Combine several models into one for a camera.

    The calibrated scores of the models are combined, and the result is calibrated again on normal video.

    Examples:
        streamad fuse models/gate models/gate-adacl --data normal/ --out models/both
    """
    from streamad.calibration import Calibration
    from streamad.inference import open_model
    from streamad.sources.frame_rate import look_at_clips
    from streamad.workflows.fuse import Rule, fuse_models

    one_of("--rule", rule, ("mean", "max"))
    out = bundle_folder(out)
    clips = clips_of(data, fps, bit_depth)
    rate = look_at_clips(clips.clips, fps, one_rate=True).fps
    spec = engine_spec(engine, threads, precision)
    with ExitStack() as stack, progress_bar() as bar:
        members = [stack.enter_context(open_model(model, spec, hint="throughput")) for model in models]
        bundle = fuse_models(
            members,
            clips.specs,
            out,
            source=clips.summary,
            rule=cast(Rule, rule),
            fps=rate,
            alerts_per_day=alerts_per_day,
            local=local,
            progress=stage_progress(bar),
        )
    assert bundle.calibration_path is not None
    calibration = Calibration.load(bundle.calibration_path)
    say_notes(calibration.warnings)
    if as_json:
        emit({
            "model": str(bundle.path), "members": list(models), "rule": rule, "threshold": calibration.shown_threshold,
            "alerts_per_day": alerts_per_day, "vouched_alerts_per_day": calibration.vouched_alerts_per_day,
            "frames": calibration.frames, "warnings": list(calibration.warnings), **clips.report(),
        })  # fmt: skip
    else:
        say(
            f"{bundle.path}: {rule} of {', '.join(models)}; {calibration.summary}, "
            f"from {counted(calibration.frames, 'frame')}"
        )
    end_with(clips)
