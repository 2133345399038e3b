"""`streamad score`: scores, plot and annotated video of files."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamad.cli.common import (
    BitDepthOption,
    EngineOption,
    FailOnAlertOption,
    FpsOption,
    FramesPerCallOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
    ZonesCameraOption,
    ZonesOption,
    causes,
    emit,
    end_with,
    engine_spec,
    one_of,
    out_option,
    output_folder,
    progress_bar,
    say,
    say_notes,
    source_of,
    stage_progress,
    table,
    zones_of,
)
from streamad.cli.completion import complete_from
from streamad.cli.help import arg, opt
from streamad.cli.main import report
from streamad.errors import ExitCode, StreamadError, UsageError
from streamad.formatting import counted

if TYPE_CHECKING:
    from streamad.calibration import AlertPolicy
    from streamad.sources import Clips, SourceSpec
    from streamad.workflows.score import FileResult

FIELDS = (
    "input", "frames", "scored", "skipped", "alerts", "highest", "frames_per_second", "csv", "plot", "video",
    "normalization", "problems", "events", "error",
)  # fmt: skip
"""The fields of an input in the JSON document. The table has those before `normalization`."""


def score(
    inputs: Annotated[list[str], arg(unit="INPUT", help="Video files, image folders, folders of those, or cameras.")],
    model: ModelOption,
    out: Annotated[Path, out_option("Folder for the outputs.")] = Path("runs/score"),
    csv: Annotated[bool, opt("--csv/--no-csv", help="Write a CSV with a line per frame.", panel="Output")] = True,
    plot: Annotated[bool, opt("--plot/--no-plot", help="Write a plot of the scores (PNG).", panel="Output")] = True,
    video: Annotated[
        bool, opt("--video/--no-video", help="Write the video with the anomaly map (MP4).", panel="Output")
    ] = True,
    normalization: Annotated[
        str | None,
        opt(
            unit="NAME",
            help="Scale of the column `score`: raw, per_video, running or calibrated. "
            "Default: calibrated if there is a calibration, else raw.",
            complete=complete_from(("raw", "per_video", "running", "calibrated")),
            panel="Output",
        ),
    ] = None,
    as_json: JsonOption = False,
    calibration: Annotated[
        Path | None, opt(unit="FILE", help="Calibration. Default: the bundle's.", panel="Alerts")
    ] = None,
    alerts_per_day: Annotated[
        float | None,
        opt(
            "--alerts-per-day",
            min=0.001,
            unit="RATE",
            help="Budget of false alerts per day. Default: the calibration's.",
            panel="Alerts",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        opt(unit="SCORE", help="Raw score that raises an alert, in place of a calibration.", panel="Alerts"),
    ] = None,
    fail_on_alert: FailOnAlertOption = False,
    zones: ZonesOption = None,
    camera: ZonesCameraOption = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    frames_per_call: FramesPerCallOption = None,
    fps: FpsOption = 25.0,
    bit_depth: BitDepthOption = "16",
) -> None:
    """Score every frame of videos or image folders.

    Writes for each input a CSV, a plot with threshold and alerts, and the video with the anomaly map.

    Examples:
        streamad score gate.mp4 --model motion-ped2
        streamad score gate.mp4 frames/ --model models/gate --no-video --fps 10 --json
    """
    from streamad.calibration import AlertPolicySpec
    from streamad.inference.alerting import resolve_policy
    from streamad.inference.model import open_model
    from streamad.scoring import NORMALIZATIONS
    from streamad.workflows.score import score_file

    scale = None if normalization is None else one_of("--normalization", normalization, NORMALIZATIONS)
    watched = zones_of(zones, camera)
    _check_threshold(threshold, calibration, alerts_per_day, normalization)
    sources, left_out = _sources(inputs, fps, bit_depth)
    names = _distinct(name for name, _ in sources)
    spec = engine_spec(engine, threads, precision, frames_per_call=frames_per_call)
    folder = output_folder(out)
    results: list[dict[str, Any]] = []
    failure: StreamadError | KeyboardInterrupt | None = None
    with open_model(model, spec, hint="throughput") as loaded:
        running = loaded.engine.info
        say(f"engine: {running.name} in {running.precision} on {running.device} ({running.why})")
        known = threshold is not None or calibration is not None or loaded.bundle.calibration_path is not None
        if normalization == "calibrated" or known:
            policy = resolve_policy(
                loaded.bundle,
                AlertPolicySpec(),
                camera=names[0],
                calibration=calibration,
                alerts_per_day=alerts_per_day,
                threshold=threshold,
                zones=watched,
            )
        else:
            policy = None
            say(f"the model {loaded.bundle.name} has no calibration: scores without alerts (see `streamad calibrate`)")
        say_notes(policy.calibration.warnings if policy and policy.calibration else ())
        calibrated = policy is not None and policy.calibration is not None
        chosen = scale or ("calibrated" if calibrated else "raw")
        with progress_bar() as bar:
            for name, (_, source) in zip(names, sources, strict=True):
                try:
                    if isinstance(source, StreamadError):
                        raise source
                    result = score_file(
                        source,
                        loaded,
                        name=name,
                        folder=folder,
                        policy=policy,
                        zones=watched,
                        normalization=chosen,
                        write_csv=csv,
                        write_plot=plot,
                        write_video=video,
                        progress=stage_progress(bar),
                    )
                except (StreamadError, KeyboardInterrupt) as error:
                    # One input failed, or Ctrl-C: report it and keep the results of the others.
                    results.append({**dict.fromkeys(FIELDS), "input": name, "error": report(error, name)})
                    failure = error if failure is None or isinstance(error, KeyboardInterrupt) else failure
                    if isinstance(error, KeyboardInterrupt):
                        break
                    continue
                for problem in result.problems:
                    say(f"{name}: {problem}")
                results.append(_result(name, result, policy, chosen))
        if as_json:
            info = loaded.engine.info
            emit(
                {
                    "model": loaded.bundle.name,
                    "model_sha256": loaded.bundle.sha256,
                    "engine": {"name": info.name, "device": info.device, "precision": info.precision, "why": info.why},
                    "threshold": None if policy is None else policy.display_score(policy.threshold),
                    "results": results,
                    **left_out.report(),
                    **(
                        {}
                        if failure is None
                        else {"error": next(r["error"] for r in results if r["error"] is not None)}
                    ),
                }
            )
        else:
            table([_row(result, with_error=failure is not None) for result in results])
    if failure is not None:
        raise typer.Exit(ExitCode.INTERRUPT if isinstance(failure, KeyboardInterrupt) else failure.exit_code)
    end_with(left_out)
    if fail_on_alert and any(result["alerts"] for result in results):
        raise typer.Exit(ExitCode.ALERTS_FOUND)


def _result(name: str, result: FileResult, policy: AlertPolicy | None, normalization: str) -> dict[str, Any]:
    """An input that was scored, in the JSON document."""
    rarest = policy.return_period(result.highest) if policy and result.highest is not None else None
    return {
        "input": name,
        "frames": result.frames,
        "scored": result.scored,
        "skipped": dict(result.skipped),
        "alerts": len(result.events),
        "highest": None if rarest is None else asdict(rarest) | {"text": str(rarest)},
        "frames_per_second": round(result.frames / result.seconds, 1),
        "csv": result.files.csv,
        "plot": result.files.plot,
        "video": result.files.video,
        "normalization": normalization,
        "problems": list(result.problems),
        "events": [event.to_dict() for event in result.events],
        "error": None,
    }


def _row(result: dict[str, Any], *, with_error: bool) -> dict[str, Any]:
    """The same as a row of the table."""
    row = {name: result[name] for name in FIELDS[: FIELDS.index("normalization")]}
    row["skipped"] = causes(result["skipped"] or {})
    row["highest"] = result["highest"] and result["highest"]["text"]
    if with_error:
        error = result["error"] or {}
        row["error"] = ": ".join(str(error[key]) for key in ("reason", "message") if key in error) or None
    return row


def _check_threshold(
    threshold: float | None, calibration: Path | None, alerts_per_day: float | None, normalization: str | None
) -> None:
    """Refuse options that need a calibration together with --threshold, which replaces it."""
    if threshold is None:
        return
    if not math.isfinite(threshold):
        raise UsageError(f"--threshold {threshold}: expected a finite number")
    for option, is_given in (
        ("--calibration", calibration is not None),
        ("--alerts-per-day", alerts_per_day is not None),
        ("--normalization calibrated", normalization == "calibrated"),
    ):
        if is_given:
            raise UsageError(f"--threshold and {option} cannot be combined")


def _sources(
    inputs: list[str], fps: float, bit_depth: str
) -> tuple[list[tuple[str, SourceSpec | StreamadError]], Clips]:
    """(name, source) of each input and of each clip in a folder, and what is left out of folders.

    A folder without a clip, or an ambiguous one, has its error in place of a source.
    """
    from streamad.sources import Clips, DeviceSpec, FileSpec, ImagesSpec, find_clips
    from streamad.sources.folders import IMAGE_SUFFIXES

    sources: list[tuple[str, SourceSpec | StreamadError]] = []
    folders: list[Clips] = []
    pictures = {text for text in inputs if Path(text).suffix.lower() in IMAGE_SUFFIXES and Path(text).is_file()}
    for number, text in enumerate(inputs):
        spec = source_of(text, fps, bit_depth)
        is_path = isinstance(spec, FileSpec | ImagesSpec | DeviceSpec)
        name = f"camera{number}" if not is_path else Path(text).stem if Path(text).suffix else Path(text).name
        if text in pictures and len(pictures) < len(set(inputs)):
            continue  # images beside recordings, from a shell's *
        if not isinstance(spec, ImagesSpec):
            sources.append((name, spec))
            continue
        try:
            found = find_clips([spec.path], fps)
        except StreamadError as error:
            sources.append((name, error))
            continue
        is_one = len(found.clips) == 1 and _path_of(found.clips[0][1]) == spec.path
        sources += [
            (name if is_one else clip, source_of(str(_path_of(one)), fps, bit_depth)) for clip, one in found.clips
        ]
        folders.append(found)
    notes = [note for found in folders for note in found.notes]
    if 0 < len(pictures) < len(set(inputs)):
        notes.append(f"{counted(len(pictures), 'image')} given with the videos left out")
    left_out = Clips((), tuple(item for found in folders for item in found.left_out), tuple(notes))
    say_notes((*left_out.notes, *left_out.failures()))
    return sources, left_out


def _path_of(spec: SourceSpec) -> Path:
    from streamad.sources import FileSpec, ImagesSpec

    assert isinstance(spec, FileSpec | ImagesSpec)  # all that a folder holds
    return spec.path


def _distinct(names: Iterable[str]) -> list[str]:
    """The names, with numbers appended to repeated ones."""
    answer: list[str] = []
    for base in names:
        name, again = base or "input", 2
        while name in answer:
            name, again = f"{base}-{again}", again + 1
        answer.append(name)
    return answer
