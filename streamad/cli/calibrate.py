"""`streamad calibrate`: a threshold from normal scores and a budget of false alerts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from streamad.cli.common import (
    BitDepthOption,
    EngineOption,
    FpsOption,
    JsonOption,
    ModelArgument,
    PrecisionOption,
    ThreadsOption,
    ZonesOption,
    clips_of,
    emit,
    end_with,
    engine_spec,
    output_file,
    output_folder,
    progress_bar,
    say,
    say_notes,
    stage_progress,
    zones_of,
)
from streamad.cli.help import opt
from streamad.errors import UsageError
from streamad.formatting import counted, number

if TYPE_CHECKING:
    from streamad.bundle import Bundle
    from streamad.calibration import AlertPolicySpec, Calibration
    from streamad.engines import EngineSpec
    from streamad.sources import Clips
    from streamad.zones import ZoneSpec

RECENT = "Recent scores"


def calibrate(
    model: ModelArgument,
    data: Annotated[
        list[Path] | None,
        opt("--data", unit="PATH", help="Normal video of the camera, not used in training; repeatable."),
    ] = None,
    recent: Annotated[
        str | None,
        opt(
            "--recent",
            unit="DURATION",
            help="In place of video: the scores of `streamad run` from the last so long, for example 24h.",
            panel=RECENT,
        ),
    ] = None,
    history: Annotated[
        Path,
        opt("--history", unit="DIR", help="Folder of the scores; `history.folder` of the configuration.", panel=RECENT),
    ] = Path("runs/scores"),
    camera: Annotated[
        str | None,
        opt("--camera", unit="ID", help="The camera. Default: the only one.", panel=RECENT),
    ] = None,
    keep_alerts: Annotated[
        bool, opt("--keep-alerts", help="Recent alerts were false: count their scores as normal.", panel=RECENT)
    ] = False,
    events: Annotated[
        Path | None,
        opt(
            "--events",
            unit="FILE",
            help="Store of the events, whose false alarms count as normal; `events.path` of the configuration. "
            "Default: runs/events.sqlite.",
            panel=RECENT,
        ),
    ] = None,
    at_least: Annotated[
        str,
        opt("--at-least", unit="DURATION", help="Shortest scored time that is accepted: 90m, 24h or 3d.", panel=RECENT),
    ] = "30m",
    alerts_per_day: Annotated[
        float | None,
        opt(
            min=0.001,
            unit="RATE",
            help="Budget of false alerts per day. Default: 1; with --recent, the calibration's.",
            panel="Alerts",
        ),
    ] = None,
    min_duration: Annotated[
        float | None,
        opt(min=0, unit="SECONDS", help="Time above the threshold that raises an alert. Default: 0.8.", panel="Alerts"),
    ] = None,
    fast_duration: Annotated[
        float | None,
        opt(
            min=0,
            unit="SECONDS",
            help="Time above the higher, fast threshold that raises one; from --min-duration on, there is none. "
            "Default: 0.12.",
            panel="Alerts",
        ),
    ] = None,
    cooldown: Annotated[
        float | None,
        opt(
            min=0,
            unit="SECONDS",
            help="Time after an alert in which a rise continues that alert. Default: 10.",
            panel="Alerts",
        ),
    ] = None,
    hysteresis: Annotated[
        float | None,
        opt(
            min=0,
            max=0.99,
            unit="SHARE",
            help="Fall that ends an alert, as a share of the threshold's height above the median. Default: 0.2.",
            panel="Alerts",
        ),
    ] = None,
    zones: ZonesOption = None,
    local: Annotated[
        bool | None,
        opt(
            "--local/--no-local",
            help="Calibrate per location in the frame. Default: if it helps the detector.",
            panel="Alerts",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        opt("--out", "-o", unit="FILE", help="Calibration to write. Default: the bundle's own.", panel="Output"),
    ] = None,
    as_json: JsonOption = False,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    fps: FpsOption = 25.0,
    bit_depth: BitDepthOption = "16",
) -> None:
    """Set a camera's threshold for a budget of false alerts.

    Uses normal video of the camera (--data), or the scores that `streamad run` recorded (--recent).

    Examples:
        streamad calibrate models/gate --data normal/ --alerts-per-day 1
        streamad calibrate models/gate --recent 24h --camera gate
    """
    if (recent is None) == (not data):
        raise UsageError(
            "give either --data or --recent", hint="--data NORMAL_VIDEO, or --recent 24h for scores of `streamad run`"
        )
    from streamad.bundle import CALIBRATION, load_bundle
    from streamad.calibration import AlertPolicySpec, Calibration
    from streamad.sources import Clips
    from streamad.workflows.calibrate import save_into_bundle
    from streamad.workflows.recalibrate import keep_previous, notes_on

    if out is not None:
        output_file(out)
    else:
        output_folder(load_bundle(model).path)

    given = {
        "min_duration_seconds": min_duration, "fast_duration_seconds": fast_duration,
        "cooldown_seconds": cooldown, "hysteresis": hysteresis,
    }  # fmt: skip
    rules = AlertPolicySpec.of(**{name: value for name, value in given.items() if value is not None})
    watched = zones_of(zones, camera)
    notes: list[str] = []
    clips = Clips(())
    if recent is not None:
        from datetime import UTC, datetime

        from streamad.alerts import EventsSpec, false_alarms
        from streamad.workflows.recalibrate import calibrate_on_recent, only_camera, seconds_of

        if local is not None:
            raise UsageError(
                "--recent keeps the calibration's per-location statistics", hint="omit --local, or give --data"
            )
        if events is not None and not events.is_file():
            raise UsageError(
                f"event store {events} does not exist", hint="--events takes events.path of the configuration"
            )
        span, least = seconds_of(recent), seconds_of(at_least)
        bundle = load_bundle(model)
        current = out if out is not None and out.exists() else bundle.calibration_path
        old = None if current is None else Calibration.load(current)
        name = camera or only_camera(history)
        calibration, known = calibrate_on_recent(
            bundle,
            old,
            folder=history,
            camera=name,
            now=datetime.now(UTC),
            recent_seconds=span,
            least_seconds=least,
            keep_alerts=keep_alerts,
            false_alarms=false_alarms(events or EventsSpec().path, name),
            alerts_per_day=alerts_per_day,
            zones=watched,
            rules=rules if old is None else old.rules.model_copy(update=rules.model_dump(exclude_unset=True)),
        )
        notes = notes_on(known)
    else:
        clips = clips_of(data or [], fps, bit_depth)
        bundle, calibration, clips = _on_video(
            model, clips, fps, engine_spec(engine, threads, precision), alerts_per_day or 1.0, local, rules, watched
        )
    target = bundle.path / CALIBRATION if out is None else out
    previous = keep_previous(target)
    if out is None:
        save_into_bundle(bundle, calibration)
        target = bundle.path
    else:
        calibration.save(out)
    say_notes(notes)
    if previous is not None:
        say(f"the previous calibration is kept as {previous}")
    say_notes(calibration.warnings)
    shown = calibration.calibrated
    if as_json:
        emit({
            "calibration": str(target), "threshold": calibration.shown_threshold, "release": shown(calibration.release),
            "interval": [shown(calibration.threshold_low), shown(calibration.threshold_high)],
            "median": shown(calibration.median), "raw_threshold": calibration.threshold,
            "alerts_per_day": calibration.alerts_per_day,
            "vouched_alerts_per_day": calibration.vouched_alerts_per_day,
            "seconds_to_budget": calibration.seconds_to_budget,
            "frames": calibration.frames, "clips": calibration.clips,
            "duration_seconds": calibration.duration_seconds, "extrapolation": calibration.extrapolation,
            "local": calibration.local is not None, "warnings": [*notes, *calibration.warnings],
            "previous": None if previous is None else str(previous), **clips.report(),
        })  # fmt: skip
    else:
        say(
            f"{target}: {calibration.summary} (95 % interval of the threshold: "
            f"{number(shown(calibration.threshold_low))} to {number(shown(calibration.threshold_high))}), "
            f"from {counted(calibration.frames, 'frame')}"
            + ("; with per-location statistics" if calibration.local is not None else "")
        )
    end_with(clips)


def _on_video(
    model: str,
    clips: Clips,
    fps: float,
    engine: EngineSpec,
    alerts_per_day: float,
    local: bool | None,
    rules: AlertPolicySpec,
    zones: tuple[ZoneSpec, ...],
) -> tuple[Bundle, Calibration, Clips]:
    """Score normal video as it would be scored live, and calibrate on the scores; a clip that vanishes is left out."""
    from streamad.inference import open_model
    from streamad.sources import LeftOut
    from streamad.sources.frame_rate import look_at_clips
    from streamad.workflows.calibrate import calibrate_model

    lost: list[LeftOut] = []
    rate = look_at_clips(clips.clips, fps, one_rate=True).fps
    with open_model(model, engine, hint="throughput") as loaded, progress_bar() as bar:
        calibration = calibrate_model(
            loaded,
            clips.specs,
            source=clips.summary,
            fps=rate,
            alerts_per_day=alerts_per_day,
            rules=rules,
            local=local,
            zones=zones,
            lost=lambda clip, error: lost.append(LeftOut(clips.specs[clip].path, error.reason, str(error))),
            progress=stage_progress(bar),
        )
    clips = replace(clips, left_out=(*clips.left_out, *lost))
    say_notes(replace(clips, left_out=tuple(lost)).failures())
    return loaded.bundle, calibration, clips
