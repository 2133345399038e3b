"""`streamad learn`: from a camera to a calibrated model, one command."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from streamad.cli.common import (
    BitDepthOption,
    BudgetOption,
    FpsOption,
    JsonOption,
    OptionsOption,
    bundle_folder,
    clips_of,
    emit,
    end_with,
    how_to_watch,
    parse_pairs,
    progress_bar,
    say,
)
from streamad.detectors import BUILT_IN, DEFAULT
from streamad.errors import UsageError
from streamad.formatting import span
from streamad.sources import Clips, SourceSpec, parse_source

CAMERA_MINUTES = 10.0
"""Recorded of a camera where --minutes is not given; files are learned whole."""

SAY_SECONDS = 30.0
"""Where there is no terminal to draw on, a line says how far the recording is this often."""


def learn(
    sources: Annotated[
        list[str], typer.Argument(help="A camera (rtsp://…, /dev/video0), or files and folders of normal video.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle, models/NAME.")],
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.5,
            max=1440,
            help="Minutes of normal video; default: 10 of a camera, all of files.",
            show_default=False,
        ),
    ] = None,
    detector: Annotated[
        str, typer.Option(help=f"{', '.join(BUILT_IN)}, or a plugin; all of these but {DEFAULT} need the train extra.")
    ] = DEFAULT,
    profile: Annotated[str, typer.Option(help="What is recorded now, e.g. night: each is kept and learned.")] = "day",
    alerts_per_day: BudgetOption = 1.0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget earlier recordings of this bundle.")] = False,
    keep_minutes: Annotated[
        float,
        typer.Option(
            min=1, help="Most minutes of recordings kept for the next time, of each profile, drawn by chance."
        ),
    ] = 30.0,
    max_gigabytes: Annotated[float, typer.Option(min=0.05, help="Most disk that all recordings may take.")] = 4.0,
    username_env: Annotated[str | None, typer.Option(help="Environment variable of the camera's user.")] = None,
    password_env: Annotated[str | None, typer.Option(help="Environment variable of its password.")] = None,
    transport: Annotated[str, typer.Option(help="tcp or udp, of rtsp.")] = "tcp",
    train_minutes: Annotated[
        float, typer.Option(min=0.1, help="Most minutes for the training of a network; motion needs fewer.")
    ] = 5.0,
    option: OptionsOption = None,
    data_name: Annotated[str, typer.Option(help="Name of the video, for the record.")] = "own camera",
    license: Annotated[str, typer.Option(help="Terms of the video, for the record.")] = "own recording",
    fps: FpsOption = 25.0,
    bit_depth: BitDepthOption = "16",
    as_json: JsonOption = False,
) -> None:
    """Record normal video, check it, fit a detector, calibrate it, and report what it will and will not see.

    Files are learned whole. The interrupted recording of a camera is continued by the same command. Run again with the
    same --out, the model learns what is new and keeps what it knew.
    """
    from streamad.detectors import TrainedDetector, find_detector
    from streamad.files import locked
    from streamad.workflows.learn import LearnPlan, RecordingStore, capture, look_at_clips
    from streamad.workflows.learn import learn as learn_from
    from streamad.workflows.learn.learn import (
        GUESS_SECONDS,
        RECORDINGS,
        finished,
        require_enough,
        require_length,
        require_time,
        require_trainer,
    )

    method = find_detector(detector)
    folder = bundle_folder(out, versioned=True)
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", profile):
        raise UsageError(f"{profile!r} is not a valid name for a profile", hint="for example day, night, weekend")
    plan = LearnPlan(
        folder.name, detector, alerts_per_day, data_name, license, options=parse_pairs(option),
        train_seconds=60 * train_minutes,
    )  # fmt: skip
    require_trainer(plan)
    specs, words, clips = _sources(sources, fps, bit_depth, username_env, password_env, transport)
    live = not clips.clips
    given = None if live else look_at_clips(clips.clips, fps, one_rate=method.one_rate)
    if given is not None:
        method.require_rate(given.fps)
    if isinstance(method, TrainedDetector):
        say(
            f"{detector}: a quarter of the video is held out for the threshold; with less than "
            f"{4 * GUESS_SECONDS / 60:.0f} minutes in all, the threshold is a guess"
        )
    wanted = 60 * minutes if minutes is not None else 60 * CAMERA_MINUTES if live else None
    possible = require_time(plan)
    if possible is not None:
        say(f"{detector}: about {possible} steps of training fit into {train_minutes:g} minutes here")
    max_bytes = round(max_gigabytes * 1e9)
    started = time.monotonic()
    with locked(folder) as alone:
        if not alone:
            raise UsageError(f"another process learns into {folder}", hint="wait for it, or give another --out")
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
            said = started

            def tell(done: float, _: float | None, problem: str) -> None:
                nonlocal said
                shown = done if whole is None else min(done, whole)
                bar.update(task, completed=shown, description=f"{doing} {problem}".strip())
                if bar.disable and time.monotonic() - said >= SAY_SECONDS:
                    said = time.monotonic()
                    of = "" if whole is None else f" of {span(whole)}"
                    say(f"{doing}: {span(done)}{of}" + (f" ({problem})" if problem else ""))

            found = capture(
                specs, recordings, seconds=wanted, profile=profile, words=words,
                max_bytes=max_bytes, keep_seconds=60 * keep_minutes,
                given_seconds=None if given is None else given.seconds, check_rate=method.require_rate, progress=tell,
            )  # fmt: skip
            for part in found.left_out:
                say(f"note: {part.message}")
            clips = replace(clips, left_out=(*clips.left_out, *found.left_out))
            require_enough(found, recordings)
            if found.problem:
                say(f"note: {found.problem}; continuing with {span(found.seconds)}")
            recorded = time.monotonic()
            tasks = {}

            def step(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    tasks[stage] = bar.add_task(stage, total=total)
                    if bar.disable:
                        say(f"{stage} …")
                bar.update(tasks[stage], completed=done, total=total)

            try:
                learned = learn_from(
                    plan, recordings, folder, place=found.place, survey=found.survey, progress=step
                )  # fmt: skip
            except UsageError:  # too little for this detector: the next run adds to it
                finished(recordings, found)
                raise
            finished(recordings, found)
            # Only now: all that was recorded this time was learned from.
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
    for warning in learned.calibration.warnings:
        say(f"note: {warning}")
    say(f"{folder}: {learned.calibration.summary}, {ended - recorded:.0f} s after the {doing}; {how_to_watch(folder)}")
    end_with(clips)


def _sources(
    given: list[str],
    fps: float,
    bit_depth: str,
    username_env: str | None,
    password_env: str | None,
    transport: str,
) -> tuple[Sequence[SourceSpec], str, Clips]:
    """The sources, what they are in words, without credentials, and the clips where they are files.

    Raises:
        UsageError: several cameras, cameras and files together, or options that exclude each other.
    """
    parsed = [parse_source(text) for text in given]
    cameras = [spec for spec in parsed if spec.live]
    if cameras:
        if len(parsed) > 1:
            raise UsageError(
                "a model belongs to one camera: give one camera, or files of one", hint="learn each into its own --out"
            )
        changes = {"username_env": username_env, "password_env": password_env, "transport": transport}
        (camera,) = cameras
        if camera.type == "rtsp":
            try:
                camera = type(camera).model_validate({
                    **camera.model_dump(), "url": camera.url, **{k: v for k, v in changes.items() if v is not None},
                })  # fmt: skip
            except ValidationError as error:
                faults = "; ".join(str(fault["msg"]).removeprefix("Value error, ") for fault in error.errors())
                raise UsageError(f"the options do not fit the camera: {faults}") from None
            return [camera], str(camera.url), Clips(())
        return [camera], str(camera.device) if camera.type == "device" else camera.type, Clips(())
    clips = clips_of([Path(text) for text in given], fps, bit_depth)
    return clips.specs, clips.summary, clips
