"""The checks of `streamad config check` beyond the schema: everything local that a configuration refers to."""

from __future__ import annotations

import logging
import os
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from streamad.alerts.database import APPLICATION_ID
from streamad.alerts.sinks import NotifierSpec
from streamad.config import Config
from streamad.errors import ConfigError, EngineError, OutputError, StreamadError
from streamad.files import open_regular
from streamad.frame import Frame
from streamad.inference.alerting import resolve_policy
from streamad.inference.model import Model, open_model
from streamad.observability.endpoints import is_loopback
from streamad.sources import DeviceSpec, ReconnectSpec, RtspSpec, SourceAuthError, SupervisedSource, stop_all, wait_any
from streamad.sources.credentials import suspicious_characters
from streamad.web import Logins, WebSpec, listen
from streamad.web.tls import certificate_of
from streamad.workflows.tighten import tightened
from streamad.yaml_document import Location
from streamad.zones import Zones

FRAME_SECONDS = 20.0
"""Longest wait for the first frame of a source."""
_AT_ONCE = 4
"""Sources opened at the same time; each is a process of its own."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check.

    Attributes:
        kind: "fault" prevents `streamad run` from working, "warning" does not, "unchecked" was not checked.
        place: The setting that it is about.
        message: The result, without the name of the setting.
    """

    kind: Literal["fault", "warning", "unchecked"]
    place: Location
    message: str


def check_config(config: Config, *, connect: bool) -> Iterator[Finding]:
    """Open everything that a configuration refers to: sources, credentials, models, calibrations, outputs, the port.

    Nothing is written, and no host is contacted unless `connect` is set.

    Args:
        config: A configuration that matches the schema.
        connect: Whether to open cameras and devices, too.
    """
    yield from _credentials(config)
    frames: dict[int, Frame] = {}
    for index, got in _first_frames(config, connect=connect):
        if isinstance(got, Frame):
            frames[index] = got
        else:
            yield Finding("fault", ("cameras", index, "source"), got)
    yield from _not_opened(config, connect=connect)
    yield from _models(config, frames)
    yield from _receivers(config)
    yield from _outputs(config)
    if config.web.enabled:
        yield from _logins(config.web)
        try:
            listen(config.web.host, config.web.port).close()
        except OutputError as error:
            yield Finding("fault", ("web", "port"), _sentence(error))


def _logins(web: WebSpec) -> Iterator[Finding]:
    """What keeps people from logging in, and what lets everybody in."""
    checks: dict[str, Callable[[], object]] = {
        "users": Logins(web).check,
        "tls_certificate": lambda: certificate_of(web),
    }
    for place, check in checks.items():
        try:
            check()
        except ConfigError as error:
            yield Finding("fault", ("web", place), _sentence(error))
    if web.anonymous == "anywhere" and not is_loopback(web.host):
        yield Finding(
            "warning", ("web", "anonymous"), f"everyone who can connect to {web.host} sees events and pictures"
        )


def _credentials(config: Config) -> Iterator[Finding]:
    named = [
        (("cameras", index, name), source)
        for index, camera in enumerate(config.cameras)
        for name, source in (("source", camera.source), ("evidence_source", camera.evidence_source))
    ]
    for where, source in named:
        if not isinstance(source, RtspSpec):
            continue
        place = (*where, "secret_file" if source.secret_file is not None else "password_env")
        try:
            given = source.credentials()
        except SourceAuthError as error:
            yield Finding("fault", place, _sentence(error))
            continue
        for name, text in zip(("user", "password"), given or (), strict=False):
            yield from (Finding("warning", place, f"the {name} {odd}") for odd in suspicious_characters(text))
            if not text:
                yield Finding("warning", place, f"the {name} is empty")
        if exposed := source.exposed_secret():
            yield Finding("warning", place, exposed)
        if source.ca_file is not None:
            try:
                ssl.create_default_context(cafile=str(source.ca_file))
            except OSError as error:  # ssl.SSLError is one
                reason = error.strerror if error.filename or not isinstance(error, ssl.SSLError) else "no certificates"
                yield Finding("fault", (*where, "ca_file"), f"{source.ca_file}: {reason}")


def _first_frames(config: Config, *, connect: bool) -> Iterator[tuple[int, Frame | str]]:
    """(index of the camera, its first frame or an error message) of every source that may be opened."""
    wanted = [k for k, camera in enumerate(config.cameras) if connect or not camera.source.live]
    for start in range(0, len(wanted), _AT_ONCE):
        # One attempt each: the check reports the present state.
        waiting = {
            k: SupervisedSource(config.cameras[k].id, config.cameras[k].source, ReconnectSpec(max_attempts=1))
            for k in wanted[start : start + _AT_ONCE]
        }
        sources, end = list(waiting.values()), time.monotonic() + FRAME_SECONDS
        try:
            for source in sources:
                source.start()
            while waiting and time.monotonic() < end:
                for index, source in list(waiting.items()):
                    frame, status = source.poll(), source.status
                    if frame is not None:
                        yield index, frame
                    elif source.over:
                        yield index, status.message or "ended before its first frame"
                    else:
                        continue
                    del waiting[index]
                wait_any(list(waiting.values()), 0.1)
            for index in waiting:
                yield index, f"no frame within {FRAME_SECONDS:g} s"
        finally:
            stop_all(sources)


def _not_opened(config: Config, *, connect: bool) -> Iterator[Finding]:
    for index, camera in enumerate(config.cameras):
        source, place = camera.source, ("cameras", index, "source")
        if connect or not source.live:
            continue
        if isinstance(source, DeviceSpec):
            if not source.device.exists():
                yield Finding("fault", (*place, "device"), f"{source.device} does not exist")
            elif not os.access(source.device, os.R_OK | os.W_OK):
                yield Finding("fault", (*place, "device"), f"no permission to open {source.device} (group `video`?)")
            yield Finding("unchecked", place, f"whether {source.device} delivers frames")
        elif isinstance(source, RtspSpec):
            yield Finding("unchecked", place, f"whether {source.url} answers and accepts the credentials")


def _models(config: Config, frames: dict[int, Frame]) -> Iterator[Finding]:
    """Open each model as `streamad run` would, and try each camera's threshold, scorer and first frame on it."""
    models: dict[str, Model | None] = {}
    logged = _Logged()
    live = any(camera.source.live for camera in config.cameras)
    with ExitStack() as stack:
        log = logging.getLogger(resolve_policy.__module__)
        log.addHandler(logged)
        stack.callback(log.removeHandler, logged)
        for index, camera in enumerate(config.cameras):
            name = config.model_of(camera)
            if name not in models:
                models[name] = None
                try:
                    models[name] = stack.enter_context(
                        open_model(name, config.engine, hint="latency" if live else "throughput")
                    )
                except StreamadError as error:
                    own: Location = ("cameras", index, "model") if camera.model else ("model",)
                    yield Finding("fault", ("engine",) if isinstance(error, EngineError) else own, _sentence(error))
            model = models[name]
            if model is None:
                continue
            try:
                for number, profile in enumerate(camera.profiles):
                    try:
                        resolve_policy(
                            model.bundle,
                            config.rules_of(camera),
                            camera=camera.id,
                            calibration=profile.calibration,
                            alerts_per_day=camera.alerts_per_day,
                            zones=camera.zones,
                        )
                    except StreamadError as error:
                        yield Finding("fault", ("cameras", index, "profiles", number, "calibration"), _sentence(error))
                settings = resolve_policy(
                    model.bundle,
                    config.rules_of(camera),
                    camera=camera.id,
                    calibration=camera.calibration,
                    alerts_per_day=camera.alerts_per_day,
                    threshold=camera.threshold,
                    zones=camera.zones,
                )
                known = settings.calibration
                if known is not None and camera.source.drops:
                    known = tightened(config, camera, model.bundle, known) or known
                if known is not None and known.seconds_to_budget:
                    yield Finding("warning", ("cameras", index, "alerts_per_day"), known.budget)
                scorer = model.scorer(camera.id, settings.per_location, quality=config.quality_of(camera))
                found = scorer.preprocess(frames[index]) if index in frames else None
                boxes = None if found is None or found.locations is None or not camera.zones else found.boxes
                if boxes is not None and (problem := Zones(camera.zones).problem(boxes)):
                    yield Finding("fault", ("cameras", index, "zones"), problem)
            except StreamadError as error:
                yield Finding("fault", ("cameras", index, "calibration"), _sentence(error))
            yield from (Finding("warning", ("cameras", index), message) for message in logged.taken())


def _receivers(config: Config) -> Iterator[Finding]:
    """What the sinks that notify refer to; no receiver is contacted."""
    for index, sink in enumerate(config.sinks):
        if not isinstance(sink, NotifierSpec):
            continue
        if problem := sink.problem():
            yield Finding("fault", ("sinks", index), problem)
        else:
            yield Finding("unchecked", ("sinks", index), f"whether {sink.label} accepts: `streamad sinks test` asks it")


class _Logged(logging.Handler):
    """Collects the warnings that a module logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self._messages.append(record.getMessage())

    def taken(self) -> list[str]:
        """The messages since the last call."""
        messages, self._messages = self._messages, []
        return messages


def _outputs(config: Config) -> Iterator[Finding]:
    files: dict[Location, Path] = {("events", "path"): config.events.path}
    for index, sink in enumerate(config.sinks):
        if (path := getattr(sink, "path", None)) is not None:
            files[("sinks", index, "path")] = path
    if config.quality.reference is not None:
        files[("quality", "reference")] = config.quality.reference
    for index, camera in enumerate(config.cameras):
        if camera.quality is not None and camera.quality.reference is not None:
            files[("cameras", index, "quality", "reference")] = camera.quality.reference
    folders: dict[Location, Path] = {("history", "folder"): config.history.folder} if config.history.hours else {}
    if any(isinstance(sink, NotifierSpec) for sink in config.sinks):
        folders["outbox", "folder"] = config.outbox.folder
    for place, path in {**files, **folders}.items():
        if problem := _write_problem(path, is_folder=place in folders):
            yield Finding("fault", place, f"cannot write to {path}: {problem}")
    taken: dict[Path, Location] = {}
    for place, path in files.items():
        other = taken.setdefault(path.absolute(), place)
        if other != place:
            yield Finding("fault", place, f"{path} is also written by `{'.'.join(map(str, other))}`")
    if config.events.path.is_file() and (problem := _store_problem(config.events.path)):
        yield Finding("fault", ("events", "path"), f"{config.events.path}: {problem}")


def _write_problem(path: Path, *, is_folder: bool) -> str | None:
    """Why a file or folder cannot be written, found without writing; None if it can."""
    try:
        if path.exists():
            if path.is_dir() != is_folder:
                return "not a folder" if is_folder else "is a folder"
            return None if os.access(path, os.W_OK | (os.X_OK if is_folder else 0)) else "no permission"
        parent = next(folder for folder in path.absolute().parents if folder.exists())
        if not parent.is_dir():
            return f"{parent} is not a folder"
        if not os.access(parent, os.W_OK | os.X_OK):
            return f"no permission to create it in {parent}"
        space = os.statvfs(parent)
    except OSError as error:
        return error.strerror or str(error)
    return "the disk is full" if space.f_blocks and not space.f_bavail else None


def _store_problem(path: Path) -> str | None:
    """Why an existing file is not an event store, by the header that SQLite documents; None if it is."""
    try:
        with open_regular(path) as file:
            header = file.read(100)
    except OSError as error:
        return error.strerror
    except ValueError as error:
        return str(error)
    application = int.from_bytes(header[68:72], "big")
    if header and (not header.startswith(b"SQLite format 3\0") or application not in (0, APPLICATION_ID)):
        return "not an event store"
    return None


def _sentence(error: StreamadError) -> str:
    """An error and its hint on one line."""
    text = f"{error} ({error.hint})" if error.hint else str(error)
    return " ".join(text.split())
