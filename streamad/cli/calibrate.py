"""`streamad calibrate`: normal video and a budget to a threshold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from streamad.bundle import CALIBRATION, Bundle, load_bundle
from streamad.calibration import Calibration
from streamad.cli.common import (
    BitDepthOption,
    EngineOption,
    FpsOption,
    JsonOption,
    PrecisionOption,
    ThreadsOption,
    clips_of,
    emit,
    end_with,
    engine_spec,
    output_file,
    output_folder,
    progress_bar,
    say,
)
from streamad.engines import EngineSpec
from streamad.errors import UsageError
from streamad.formatting import counted, number
from streamad.sources import Clips, LeftOut


def calibrate(
    model: Annotated[str, typer.Argument(help="Model bundle: a folder, or a name of `models list`.")],
    data: Annotated[
        list[Path] | None, typer.Option("--data", help="Normal video of the camera, not used in training.")
    ] = None,
    recent: Annotated[
        str | None,
        typer.Option("--recent", help="Instead: what `streamad run` scored lately, e.g. 24h; no video is read."),
    ] = None,
    history: Annotated[
        Path, typer.Option("--history", help="Folder of the recent scores (`history.folder` of the configuration).")
    ] = Path("runs/scores"),
    camera: Annotated[
        str | None, typer.Option("--camera", help="Whose recent scores; where there are several.")
    ] = None,
    keep_alerts: Annotated[
        bool, typer.Option("--keep-alerts", help="Recent alerts were false: count them as normal.")
    ] = False,
    at_least: Annotated[str, typer.Option("--at-least", help="Less recent scored time is refused.")] = "30m",
    alerts_per_day: Annotated[
        float | None,
        typer.Option(min=0.001, help="Budget of false alerts a day; default: 1, with --recent the calibration's own."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; default: the bundle's own calibration.")
    ] = None,
    min_duration: Annotated[
        float | None, typer.Option(min=0, help="Seconds over the threshold that make an alert; default: 0.5.")
    ] = None,
    cooldown: Annotated[
        float | None, typer.Option(min=0, help="Seconds after an alert in which a rise is the same one; default: 10.")
    ] = None,
    hysteresis: Annotated[
        float | None, typer.Option(min=0, max=0.99, help="How far the score must fall to end an alert; default: 0.2.")
    ] = None,
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
    bit_depth: BitDepthOption = "16",
    as_json: JsonOption = False,
) -> None:
    """Set a camera's threshold from its normal video, or from its recent scores, and a budget of false alerts."""
    if (recent is None) == (not data):
        raise UsageError(
            "give either --data or --recent", hint="--data NORMAL_VIDEO, or --recent 24h for what `streamad run` scored"
        )
    from streamad.workflows.calibrate import save_into_bundle
    from streamad.workflows.recalibrate import keep_previous, notes_on

    if out is not None:
        output_file(out)
    else:
        output_folder(load_bundle(model).path)

    notes: list[str] = []
    clips = Clips(())
    if recent is not None:
        from datetime import UTC, datetime

        from streamad.workflows.recalibrate import calibrate_on_recent, only_camera, seconds_of

        if local is not None:
            raise UsageError(
                "--recent keeps the calibration's own statistics of places", hint="leave out --local, or give --data"
            )
        span, least = seconds_of(recent), seconds_of(at_least)
        bundle = load_bundle(model)
        current = out if out is not None and out.exists() else bundle.calibration_path
        calibration, known = calibrate_on_recent(
            bundle,
            None if current is None else Calibration.load(current),
            folder=history,
            camera=camera or only_camera(history),
            now=datetime.now(UTC),
            recent_seconds=span,
            least_seconds=least,
            keep_alerts=keep_alerts,
            alerts_per_day=alerts_per_day,
            min_duration_seconds=min_duration,
            cooldown_seconds=cooldown,
            hysteresis=hysteresis,
        )
        notes = notes_on(known)
    else:
        clips = clips_of(data or [], fps, bit_depth)
        bundle, calibration, clips = _on_video(
            model, clips, fps, engine_spec(engine, threads, precision), alerts_per_day or 1.0, local,
            min_duration_seconds=0.5 if min_duration is None else min_duration,
            cooldown_seconds=10.0 if cooldown is None else cooldown,
            hysteresis=0.2 if hysteresis is None else hysteresis,
        )  # fmt: skip
    target = bundle.path / CALIBRATION if out is None else out
    previous = keep_previous(target)
    if out is None:
        save_into_bundle(bundle, calibration)
        target = bundle.path
    else:
        calibration.save(out)
    for note in notes:
        say(f"note: {note}")
    if previous is not None:
        say(f"the calibration before is kept as {previous}")
    for warning in calibration.warnings:
        say(f"note: {warning}")
    shown = calibration.calibrated
    if as_json:
        emit({
            "calibration": str(target), "threshold": calibration.shown_threshold, "release": shown(calibration.release),
            "interval": [shown(calibration.threshold_low), shown(calibration.threshold_high)],
            "median": shown(calibration.median), "raw_threshold": calibration.threshold,
            "alerts_per_day": calibration.alerts_per_day, "frames": calibration.frames, "clips": calibration.clips,
            "duration_seconds": calibration.duration_seconds, "extrapolation": calibration.extrapolation,
            "local": calibration.local is not None, "warnings": [*notes, *calibration.warnings],
            "previous": None if previous is None else str(previous), **clips.report(),
        })  # fmt: skip
    else:
        say(
            f"{target}: {calibration.summary} (95 % interval of the threshold: "
            f"{number(shown(calibration.threshold_low))} to {number(shown(calibration.threshold_high))}), "
            f"from {counted(calibration.frames, 'frame')}"
            + ("; each place has its own statistics" if calibration.local is not None else "")
        )
    end_with(clips)


def _on_video(
    model: str,
    clips: Clips,
    fps: float,
    engine: EngineSpec,
    alerts_per_day: float,
    local: bool | None,
    **rules: float,
) -> tuple[Bundle, Calibration, Clips]:
    """Score normal video as it would be scored live, and calibrate on that; a clip deleted meanwhile is left out."""
    from streamad.calibration import AlertPolicySpec
    from streamad.inference import open_model
    from streamad.workflows.calibrate import calibrate_model
    from streamad.workflows.learn import look_at_clips

    lost: list[LeftOut] = []
    rate = look_at_clips(clips.clips, fps, one_rate=True).fps
    with open_model(model, engine, hint="throughput") as loaded, progress_bar() as bar:
        task = bar.add_task("scoring normal video", total=len(clips.clips))
        calibration = calibrate_model(
            loaded,
            clips.specs,
            source=clips.summary,
            fps=rate,
            alerts_per_day=alerts_per_day,
            rules=AlertPolicySpec.of(**rules),
            local=local,
            lost=lambda clip, error: lost.append(LeftOut(clips.specs[clip].path, error.reason, str(error))),
            progress=lambda clip, _, __: bar.update(task, completed=clip),
        )
    clips = replace(clips, left_out=(*clips.left_out, *lost))
    for sentence in replace(clips, left_out=tuple(lost)).failures():
        say(f"note: {sentence}")
    return loaded.bundle, calibration, clips
