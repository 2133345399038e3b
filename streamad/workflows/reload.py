"""Reload: a running watch takes up a changed configuration, and touches no camera that did not change."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from streamad.alerts.sinks import NotifierSpec, SinkFanout
from streamad.bundle import Bundle, combined_sha256, load_bundle
from streamad.calibration import AlertPolicy
from streamad.config import CameraSpec, Config, parse_config, read_config
from streamad.errors import ConfigError, OutputError, StreamadError
from streamad.files import write_atomic
from streamad.inference.model import Model
from streamad.live.camera import calibrations_of
from streamad.live.config_change import ConfigChange
from streamad.live.monitor import Monitor, open_model_of, policies_of
from streamad.observability.metrics import Metrics
from streamad.workflows.learn_on import LearningOn
from streamad.workflows.recalibrate import ScoreHistoryRecorder
from streamad.workflows.tighten import Tightening
from streamad.yaml_edit import EditError, edited, edited_parts, rendered

APPLY_SECONDS = 60.0
"""Longest wait for the main loop to take up a change."""

_log = logging.getLogger(__name__)


class ReadOnlyError(OutputError):
    """The configuration cannot be changed here.

    Attributes:
        yaml: What to write into the file by hand.
    """

    def __init__(self, message: str, yaml: str) -> None:
        super().__init__(message, hint="paste the text into the configuration, and reload")
        self.yaml = yaml


class Reloading:
    """Reloads the configuration of a watch from its file, and changes settings of cameras in it.

    What a new configuration needs is read, opened and checked before anything changes. If it is not valid, the watch
    goes on as before. Thread-safe; blocks until the change is made, so it must not be called from the main loop.

    Args:
        path: The configuration's file. None: it cannot be reloaded.
        monitor: The watch.
        sinks: Its sinks.
        metrics: Where the outcome is counted.
        learning: Learns its models on.
        tightening: Sets its thresholds.
        history: Keeps its scores.
        wall_clock: Unix seconds.
    """

    def __init__(
        self,
        path: Path | None,
        monitor: Monitor,
        *,
        sinks: SinkFanout,
        metrics: Metrics,
        learning: LearningOn,
        tightening: Tightening,
        history: ScoreHistoryRecorder,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._monitor = monitor
        self._sinks = sinks
        self._metrics = metrics
        self._learning = learning
        self._tightening = tightening
        self._history = history
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        metrics.reloaded(True, wall_clock())

    def reload(self) -> ConfigChange:
        """Read the file again, and watch by it.

        Returns:
            What has changed.

        Raises:
            StreamadError: The file is not valid, or what it names cannot be opened; nothing was changed.
        """
        with self._lock:
            try:
                if self._path is None:
                    raise ConfigError("this watch was started without a file, so there is nothing to reload")
                change = self._take_up(read_config(self._path)[0])
            except StreamadError as error:
                self._metrics.reloaded(False, self._wall_clock())
                _log.error("the configuration was not reloaded, and the watch goes on as before: %s", error)
                raise
            self._metrics.reloaded(True, self._wall_clock())
            _log.info("configuration reloaded: %s", change)
            return change

    def reload_in_background(self) -> None:
        """`reload` in a thread of its own, for a signal handler; what is wrong is logged."""

        def attempt() -> None:
            try:
                self.reload()
            except StreamadError:
                return  # logged
            except Exception:  # noqa: BLE001 - the watch goes on
                _log.exception("the configuration was not reloaded, and the watch goes on as before")

        threading.Thread(target=attempt, name="reload", daemon=True).start()

    @property
    def is_editable(self) -> bool:
        """Whether the file can be changed."""
        path = None if self._path is None else self._path.resolve()
        return path is not None and os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)

    def edit(self, camera: str, settings: Mapping[str, Any]) -> ConfigChange:
        """Write settings of a camera into the file, and reload it.

        The file as it was is kept beside it, as NAME.previous.yaml.

        Args:
            camera: The camera's id.
            settings: New values, of JSON types; None removes a setting.

        Raises:
            ConfigError: The settings are not valid, or there is no such camera in the file; nothing was changed.
            ReadOnlyError: The file cannot be changed, or not in this place alone.
        """
        with self._lock:
            if self._path is None:
                raise ReadOnlyError("this watch was started without a file", _paste(camera, settings))
            config, document = read_config(self._path)
            text = self._path.read_bytes().decode()  # with its line ends
            number = next((k for k, spec in enumerate(config.cameras) if spec.id == camera), None)
            if number is None:
                raise ConfigError(f"{self._path} has no camera {camera!r}")
            new = text
            try:
                for key, value in settings.items():
                    new = edited(new, ("cameras", number), key, value, name=document.name)
            except EditError as error:
                raise ReadOnlyError(str(error), _paste(camera, settings)) from error
            checked = parse_config(new, name=document.name)
            new = _with_less_changed(text, config, checked, number, settings, name=document.name) or new
            target = self._path.resolve()
            if not self.is_editable:
                raise ReadOnlyError(f"{self._path} cannot be written to", _paste(camera, settings))
            prepared = self._prepared(checked)
            try:
                mode = target.stat().st_mode
                for path, content in (
                    (target.with_name(f"{target.stem}.previous{target.suffix}"), text),
                    (target, new),
                ):
                    write_atomic(path, content)
                    path.chmod(mode)
            except (OutputError, OSError) as error:
                prepared.close()
                raise ReadOnlyError(f"{self._path} cannot be written to: {error}", _paste(camera, settings)) from error
            change = prepared.apply()
            self._metrics.reloaded(True, self._wall_clock())
            _log.info("camera %s: %s set: %s", camera, ", ".join(settings), change)
            return change

    def _take_up(self, config: Config) -> ConfigChange:
        return self._prepared(config).apply()

    def _prepared(self, config: Config) -> _Prepared:
        return _Prepared(self, config)


class _Prepared:
    """A checked configuration with all that it needs opened, ready to be taken up."""

    def __init__(self, parts: Reloading, config: Config) -> None:
        self._parts, self._config = parts, config
        monitor = parts._monitor
        change = ConfigChange.between(monitor.config, config)
        self._models: dict[str, Model] = {}
        self._bundles: dict[str, Bundle] = {}
        self._policies: dict[str, dict[str | None, AlertPolicy]] = {}
        watched = {camera.spec.id: camera for camera in monitor.cameras}
        restarted, changed = list(change.restarted), list(change.changed)
        with ExitStack() as stack:
            for spec in config.cameras:
                bundle = self._bundle_of(spec, stack)
                if spec.id not in (*change.added, *restarted):
                    if config.model_of(spec) in self._models:  # made again under the same name
                        restarted.append(spec.id)
                        changed = [name for name in changed if name != spec.id]
                    elif spec.id not in changed and calibrations_of(spec, bundle) != watched[spec.id].calibrations:
                        changed.append(spec.id)
                if spec.id in (*change.added, *restarted, *changed):
                    self._policies[spec.id] = policies_of(config, spec, bundle)
            stack.pop_all()
        self._change = replace(change, restarted=tuple(restarted), changed=tuple(changed))

    def _bundle_of(self, spec: CameraSpec, stack: ExitStack) -> Bundle:
        """Return what lies on disk; its model is opened if it is not open, or is another one than before."""
        name = self._config.model_of(spec)
        if name not in self._bundles:
            model = self._parts._monitor.model(name)
            if model is not None and _is_current(model, found := load_bundle(name)):
                is_same = found.manifest == model.bundle.manifest
                self._bundles[name] = model.bundle if is_same else found  # with another calibration
            else:
                model = self._models[name] = open_model_of(self._config, name)
                stack.callback(model.close)
                model.warm_up()
                self._bundles[name] = model.bundle
        return self._bundles[name]

    def close(self) -> None:
        """Free what was opened."""
        for model in self._models.values():
            model.close()

    def apply(self) -> ConfigChange:
        """Have the main loop take it up, and wait for that."""
        done, failed = threading.Event(), list[BaseException]()

        def work() -> None:
            try:
                self._change_now()
            except BaseException as error:
                failed.append(error)
                raise
            finally:
                done.set()

        self._parts._monitor.call(work)
        if not done.wait(APPLY_SECONDS):
            raise OutputError(f"the main loop did not take up the configuration within {APPLY_SECONDS:g} s")
        if failed:
            raise OutputError(f"the configuration was taken up in part: {failed[0]}", hint="restart streamad")
        return self._change

    def _change_now(self) -> None:
        parts, change, config = self._parts, self._change, self._config
        for part in (parts._learning, parts._tightening):
            for name in (*change.removed, *change.restarted):
                part.forget(name)
        for name, bundle in self._bundles.items():
            if name not in self._models and (model := parts._monitor.model(name)) is not None:
                model.bundle = bundle
        parts._monitor.change(config, change, models=self._models, policies=self._policies)
        for name in (*change.removed, *change.restarted):
            parts._history.forget(name)
        for part in (parts._learning, parts._tightening):
            part.use(config)
            for camera in parts._monitor.cameras:
                if camera.spec.id in (*change.added, *change.restarted, *change.changed):
                    part.follow(camera)
        notifiers = [sink for sink in config.sinks if isinstance(sink, NotifierSpec)]
        parts._sinks.follow(notifiers, [camera.id for camera in config.cameras])


def _with_less_changed(
    text: str, old: Config, new: Config, number: int, settings: Mapping[str, Any], *, name: str
) -> str | None:
    """Write only the parts of a camera's settings that differ; None if that text would not mean the same as `new`."""
    before, after = (
        config.cameras[number].model_dump(mode="json", include=set(settings), exclude_defaults=True)
        for config in (old, new)
    )
    try:
        for key in settings:
            if before.get(key) != after.get(key):
                text = edited_parts(text, ("cameras", number), key, before.get(key), after.get(key), name=name)
        return text if parse_config(text, name=name) == new else None
    except ConfigError:
        return None


def _is_current(model: Model, found: Bundle) -> bool:
    """Whether an open model is what lies on disk, calibrations apart."""
    return found.path == model.bundle.path and combined_sha256(found) == combined_sha256(model.bundle)


def _paste(camera: str, settings: Mapping[str, Any]) -> str:
    """The settings as text for the configuration."""
    lines = "".join(rendered(key, value, 4) for key, value in settings.items() if value is not None)
    gone = "".join(f"    # without {key}\n" for key, value in settings.items() if value is None)
    return f"cameras:\n  - id: {camera}\n{lines}{gone}"
