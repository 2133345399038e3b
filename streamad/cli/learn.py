"""`streamad learn`: from a camera to a calibrated model with one command."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from streamad.cli.common import (
    BitDepthOption,
    BudgetOption,
    FpsOption,
    JsonOption,
    OptionsOption,
    ZonesCameraOption,
    ZonesOption,
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
    zones_of,
)
from streamad.cli.completion import complete_detector, complete_from
from streamad.cli.help import arg, opt
from streamad.detectors import BUILT_IN, DEFAULT
from streamad.errors import UsageError
from streamad.formatting import span

if TYPE_CHECKING:
    from streamad.sources import Clips, SourceSpec

CAMERA_MINUTES = 10.0
"""Default length of a recording. Files are learned whole."""

SAY_SECONDS = 30.0
"""Time between two lines about the progress of a recording, if there is no terminal."""


def learn(
    sources: Annotated[
        list[str], arg(unit="SOURCE", help="A camera (rtsp://…, /dev/video0), or files and folders of normal video.")
    ],
    out: Annotated[Path, opt("--out", "-o", unit="DIR", help="Folder of the model; its last part is the name.")],
    as_json: JsonOption = False,
    minutes: Annotated[
        float | None,
        opt(
            min=0.5,
            max=1440,
            unit="MINUTES",
            help="Minutes of normal video. Default: 10 for a camera, all of files.",
            panel="Recording",
        ),
    ] = None,
    profile: Annotated[
        str,
        opt(
            unit="NAME",
            help="Name of the conditions recorded now, such as night. All profiles are kept and learned.",
            panel="Recording",
        ),
    ] = "day",
    fresh: Annotated[bool, opt("--fresh", help="Delete earlier recordings of this model.", panel="Recording")] = False,
    keep_minutes: Annotated[
        float,
        opt(
            min=1,
            unit="MINUTES",
            help="Most minutes of recordings kept for the next run, per profile, chosen at random.",
            panel="Recording",
        ),
    ] = 30.0,
    max_gigabytes: Annotated[
        float, opt(min=0.05, unit="GB", help="Most disk space for recordings.", panel="Recording")
    ] = 4.0,
    username_env: Annotated[
        str | None, opt(unit="NAME", help="Environment variable with the camera's user name.", panel="Camera")
    ] = None,
    password_env: Annotated[
        str | None, opt(unit="NAME", help="Environment variable with its password.", panel="Camera")
    ] = None,
    secret_file: Annotated[
        Path | None, opt(unit="FILE", help="File with user:password on one line, instead.", panel="Camera")
    ] = None,
    transport: Annotated[
        str,
        opt(unit="NAME", help="RTSP transport: tcp or udp.", complete=complete_from(("tcp", "udp")), panel="Camera"),
    ] = "tcp",
    detector: Annotated[
        str,
        opt(
            unit="NAME",
            help=f"{', '.join(BUILT_IN)}, or a plugin. All but {DEFAULT} need the train extra.",
            complete=complete_detector,
            panel="Training",
        ),
    ] = DEFAULT,
    train_minutes: Annotated[
        float, opt(min=0.1, unit="MINUTES", help=f"Most minutes of training. {DEFAULT} needs less.", panel="Training")
    ] = 5.0,
    option: OptionsOption = None,
    alerts_per_day: BudgetOption = 1.0,
    zones: ZonesOption = None,
    camera: ZonesCameraOption = None,
    data_name: Annotated[str, opt(unit="TEXT", help="Name of the video.", panel="Model card")] = "own camera",
    license: Annotated[str, opt(unit="TEXT", help="License of the video.", panel="Model card")] = "own recording",
    fps: FpsOption = 25.0,
    bit_depth: BitDepthOption = "16",
) -> None:
    """Learn a model for a camera from its normal video.

    Records the camera, or reads files; checks the video, fits a detector, calibrates it, and reports what it will and
    will not detect. If interrupted, the same command continues the recording. Run again with the same --out, it adds
    the new video to what the model has learned.

    Examples:
        streamad learn rtsp://camera.example/stream1 --minutes 10 --out models/gate
        streamad learn normal/ --out models/gate
    """
    from streamad.detectors import TrainedDetector, find_detector
    from streamad.files import locked
    from streamad.sources.frame_rate import look_at_clips
    from streamad.workflows.learn import (
        GUESS_SECONDS,
        RECORDINGS,
        LearnPlan,
        RecordingStore,
        capture,
        finished,
        require_enough,
        require_length,
        require_time,
        require_trainer,
    )
    from streamad.workflows.learn import learn as learn_from

    method = find_detector(detector)
    folder = bundle_folder(out, versioned=True)
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", profile):
        raise UsageError(f"{profile!r} is not a valid name for a profile", hint="for example day, night, weekend")
    plan = LearnPlan(
        folder.name, detector, alerts_per_day, data_name, license, options=parse_pairs(option),
        train_seconds=60 * train_minutes, zones=zones_of(zones, camera),
    )  # fmt: skip
    require_trainer(plan)
    specs, words, clips = _sources(sources, fps, bit_depth, username_env, password_env, secret_file, transport)
    live = not clips.clips
    given = None if live else look_at_clips(clips.clips, fps, one_rate=method.one_rate)
    if given is not None:
        method.require_rate(given.fps)
    if isinstance(method, TrainedDetector):
        say(
            f"{detector}: a quarter of the video is held out for the threshold; with less than "
            f"{4 * GUESS_SECONDS / 60:.0f} minutes of video, the threshold is unreliable"
        )
    wanted = 60 * minutes if minutes is not None else 60 * CAMERA_MINUTES if live else None
    possible = require_time(plan)
    if possible is not None:
        say(f"{detector}: about {possible} steps of training fit into {train_minutes:g} minutes here")
    max_bytes = round(max_gigabytes * 1e9)
    started = time.monotonic()
    with locked(folder) as alone:
        if not alone:
            raise UsageError(f"another process is writing to {folder}", hint="wait for it, or give another --out")
        recordings = RecordingStore(folder / RECORDINGS)
        if given is not None and given.seconds is not None:
            require_length(given.seconds + (0.0 if fresh else recordings.seconds))
        if fresh:
            shutil.rmtree(folder / RECORDINGS, ignore_errors=True)
            recordings = RecordingStore(folder / RECORDINGS)
        with progress_bar() as bar:
            doing = "recording" if live else "reading"
            whole = wanted or (None if given is None else given.seconds)
            task = bar.add_task(doing, total=None if whole is None else round(whole))
            reported = started

            def on_progress(stage: str, done: float, _: float | None) -> None:
                nonlocal reported
                bar.update(task, completed=done if whole is None else min(done, whole), description=stage)
                if bar.disable and time.monotonic() - reported >= SAY_SECONDS:
                    reported = time.monotonic()
                    of = "" if whole is None else f" of {span(whole)}"
                    say(f"{stage}: {span(done)}{of}")

            found = capture(
                specs, recordings, seconds=wanted, profile=profile, words=words,
                max_bytes=max_bytes, keep_seconds=60 * keep_minutes,
                given_seconds=None if given is None else given.seconds, check_rate=method.require_rate,
                progress=on_progress,
            )  # fmt: skip
            say_notes(part.message for part in found.left_out)
            clips = replace(clips, left_out=(*clips.left_out, *found.left_out))
            require_enough(found, recordings)
            if found.problem:
                say(f"note: {found.problem}; continuing with {span(found.seconds)}")
            recorded = time.monotonic()
            try:
                learned = learn_from(
                    plan, recordings, folder, place=found.place, survey=found.survey,
                    progress=stage_progress(bar, announce=True),
                )  # fmt: skip
            except UsageError:  # too little video for this detector: the next run adds to it
                finished(recordings, found)
                raise
            finished(recordings, found)
            # Not earlier: everything that was recorded this time is learned first.
            dropped = recordings.thin(keep_seconds=60 * keep_minutes, keep_bytes=max_bytes)
    ended = time.monotonic()
    if as_json:
        emit({
            "bundle": str(folder), **learned.report, "recorded_seconds": found.seconds, "reconnects": found.reconnects,
            "clips_dropped": dropped, "recording_took_seconds": recorded - started,
            "learning_took_seconds": ended - recorded, **clips.report(),
        })  # fmt: skip
        end_with(clips)
        return
    for sentence in learned.words:
        say(f"· {sentence}")
    say_notes(learned.calibration.warnings)
    say(f"{folder}: {learned.calibration.summary}, {ended - recorded:.0f} s after the {doing}; {how_to_watch(folder)}")
    end_with(clips)


def _sources(
    given: list[str],
    fps: float,
    bit_depth: str,
    username_env: str | None,
    password_env: str | None,
    secret_file: Path | None,
    transport: str,
) -> tuple[Sequence[SourceSpec], str, Clips]:
    """The sources, their description without credentials, and the clips if they are files.

    Raises:
        UsageError: Several cameras, cameras together with files, or conflicting options.
    """
    from pydantic import ValidationError

    from streamad.sources import Clips, DeviceSpec, PluginSource, RtspSpec, parse_source

    parsed = [parse_source(text) for text in given]
    cameras = [spec for spec in parsed if spec.live or isinstance(spec, PluginSource)]
    if cameras:
        if len(parsed) > 1:
            raise UsageError(
                "a model belongs to one camera: give one camera, or files of one camera",
                hint="learn each camera with an --out of its own",
            )
        changes = {
            "username_env": username_env,
            "password_env": password_env,
            "secret_file": secret_file,
            "transport": transport,
        }
        (camera,) = cameras
        if isinstance(camera, RtspSpec):
            try:
                camera = type(camera).model_validate({
                    **camera.model_dump(), "url": camera.url, **{k: v for k, v in changes.items() if v is not None},
                })  # fmt: skip
            except ValidationError as error:
                faults = "; ".join(str(fault["msg"]).removeprefix("Value error, ") for fault in error.errors())
                raise UsageError(f"invalid options for the camera: {faults}") from None
            return [camera], str(camera.url), Clips(())
        return [camera], str(camera.device) if isinstance(camera, DeviceSpec) else camera.type, Clips(())
    clips = clips_of([Path(text) for text in given], fps, bit_depth)
    return clips.specs, clips.summary, clips
