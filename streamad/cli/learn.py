"""`streamad learn`: from a camera to a calibrated model, one command."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from streamad.cli.common import (
    BudgetOption,
    FpsOption,
    JsonOption,
    OptionsOption,
    clips_of,
    emit,
    end_with,
    output_folder,
    parse_pairs,
    progress_bar,
    say,
)
from streamad.errors import UsageError
from streamad.sources import Clips, SourceSpec, parse_source

SAY_SECONDS = 30.0
"""Where there is no terminal to draw on, a line says how far the recording is this often."""


def learn(
    sources: Annotated[
        list[str], typer.Argument(help="A camera (rtsp://…, /dev/video0), or files and folders of normal video.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle, models/NAME.")],
    minutes: Annotated[float, typer.Option(min=0.5, max=1440, help="Minutes of normal video to record.")] = 10.0,
    detector: Annotated[str, typer.Option(help="motion; or adacl, alps, learned_noise, igd (train extra).")] = "motion",
    profile: Annotated[str, typer.Option(help="What is recorded now, e.g. night: each is kept and learned.")] = "day",
    alerts_per_day: BudgetOption = 1.0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget earlier recordings of this bundle.")] = False,
    keep_minutes: Annotated[
        float, typer.Option(min=1, help="Most minutes of recordings kept for each profile, drawn by chance.")
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
    licence: Annotated[str, typer.Option(help="Terms of the video, for the record.")] = "own recording",
    fps: FpsOption = 25.0,
    as_json: JsonOption = False,
) -> None:
    """Record normal video, look it over, fit a detector, calibrate it, and say what it will and will not see.

    Interrupted, the recording of a camera is gone on with by the same command. Run again with the same --out, the model
    learns what is new and keeps what it knew.
    """
    from streamad.detectors import detector_parts
    from streamad.files import locked
    from streamad.pipeline.learning import LearnPlan, Recordings, capture
    from streamad.pipeline.learning import learn as learn_from
    from streamad.pipeline.learning.learn import RECORDINGS, finished, require_enough, require_time, require_trainer

    detector_parts(detector)
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", out.name):
        raise UsageError(
            f"{out.name!r} is no name for a bundle", hint="lower-case letters, digits, dots, dashes: --out models/gate"
        )
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", profile):
        raise UsageError(f"{profile!r} is no name for a profile", hint="for example day, night, weekend")
    plan = LearnPlan(
        out.name, detector, alerts_per_day, data_name, licence, options=parse_pairs(option),
        train_seconds=60 * train_minutes,
    )  # fmt: skip
    require_trainer(plan)
    specs, words, clips = _sources(sources, fps, username_env, password_env, transport)
    folder = output_folder(out)
    possible = require_time(plan)
    if possible is not None:
        say(f"{detector}: about {possible} steps of training fit into {train_minutes:g} minutes here")
    started = time.monotonic()
    with locked(folder) as alone:
        if not alone:
            raise UsageError(f"another process learns into {folder}", hint="wait for it, or give another --out")
        if fresh:
            shutil.rmtree(folder / RECORDINGS, ignore_errors=True)
        recordings = Recordings(folder / RECORDINGS)
        with progress_bar() as bar:
            task = bar.add_task("recording", total=round(60 * minutes))
            said = started

            def tell(done: float, wanted: float, problem: str) -> None:
                nonlocal said
                bar.update(task, completed=min(done, wanted), description=f"recording {problem}".strip())
                if bar.disable and time.monotonic() - said >= SAY_SECONDS:
                    said = time.monotonic()
                    say(f"recorded {done:.0f} of {wanted:.0f} s" + (f" ({problem})" if problem else ""))

            found = capture(
                specs, recordings, seconds=60 * minutes, profile=profile, words=words,
                max_bytes=round(max_gigabytes * 1e9), progress=tell,
            )  # fmt: skip
            require_enough(found)
            if found.problem:
                say(f"note: {found.problem}; going on with {found.seconds / 60:.1f} minutes")
            recorded = time.monotonic()
            dropped = recordings.thin(keep_seconds=60 * keep_minutes, keep_bytes=round(max_gigabytes * 1e9))
            tasks = {}

            def step(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    tasks[stage] = bar.add_task(stage, total=total)
                    if bar.disable:
                        say(f"{stage} …")
                bar.update(tasks[stage], completed=done, total=total)

            learned = learn_from(
                plan,
                recordings,
                folder,
                place=found.place,
                survey=found.survey,
                progress=step,
            )
            finished(recordings, found)
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
    say(
        f"{folder}: {learned.calibration.summary}, "
        f"{ended - recorded:.0f} s after the recording; watch with `model: {folder}` and `streamad run`"
    )
    end_with(clips)


def _sources(
    given: list[str], fps: float, username_env: str | None, password_env: str | None, transport: str
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
    clips = clips_of([Path(text) for text in given], fps)
    return clips.specs, clips.words, clips
