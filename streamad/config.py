"""The configuration of `streamad run`: one YAML file, checked against a schema before anything starts.

Every room owns the schema of its part; this module composes them, reads the file and says where it is wrong, with the
line. `${NAME}` in a value is replaced by the environment variable NAME.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from streamad.alerts.sinks.spec import SinkSpec
from streamad.alerts.spec import EventsSpec, RuleSpec
from streamad.engines.factory import EngineSpec
from streamad.errors import ConfigError
from streamad.observability.endpoints import WebSpec
from streamad.observability.logging import LoggingSpec
from streamad.observability.redaction import redact
from streamad.scoring.drift import DriftSpec
from streamad.scoring.history import HistorySpec
from streamad.sources.quality.spec import QualitySpec
from streamad.sources.spec import ReconnectSpec, SourceSpec

CAMERA_ID = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_KEY_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class CameraSpec(BaseModel):
    """One camera."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    id: str = Field(pattern=CAMERA_ID, max_length=64, description="name of the camera in events, metrics and pages")
    source: SourceSpec = Field(description="where its frames come from")
    model: str | None = Field(None, description="its model bundle, path or name; empty: the common one")
    calibration: Path | None = Field(None, description="its calibration; empty: the one shipped with the bundle")
    alerts_per_day: float | None = Field(
        None, gt=0, le=100_000, description="budget of false alerts; empty: the calibration's own"
    )
    threshold: float | None = Field(
        None, description="raw score from which a frame is anomalous, where there is no calibration"
    )
    rules: RuleSpec | None = Field(None, description="its own rules; empty: the common ones")
    quality: QualitySpec | None = Field(None, description="its own frame-quality gate; empty: the common one")

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if self.threshold is not None and (self.alerts_per_day is not None or self.calibration is not None):
            raise ValueError("`threshold` excludes `calibration` and `alerts_per_day`: give one or the other")
        return self


class Config(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    version: Literal[1] = Field(1, description="version of this schema")
    model: str | None = Field(None, description="model bundle of all cameras that name none, path or name")
    engine: EngineSpec = Field(default_factory=lambda: EngineSpec(), description="what runs the networks")
    cameras: tuple[CameraSpec, ...] = Field(min_length=1, description="the cameras")
    rules: RuleSpec = Field(default_factory=lambda: RuleSpec(), description="when a score becomes an alert")
    quality: QualitySpec = Field(
        default_factory=lambda: QualitySpec(), description="when frames are held back because the picture is at fault"
    )
    drift: DriftSpec = Field(
        default_factory=lambda: DriftSpec(), description="when scores no longer come from what was calibrated on"
    )
    history: HistorySpec = Field(
        default_factory=lambda: HistorySpec(), description="the recent scores, kept for `streamad calibrate --recent`"
    )
    reconnect: ReconnectSpec = Field(default_factory=lambda: ReconnectSpec(), description="waits between attempts")
    events: EventsSpec = Field(default_factory=lambda: EventsSpec(), description="where events are kept")
    sinks: tuple[SinkSpec, ...] = Field((), description="where events are sent")
    web: WebSpec = Field(default_factory=lambda: WebSpec(), description="page, metrics and health")
    logging: LoggingSpec = Field(default_factory=lambda: LoggingSpec(), description="the program's log")

    @model_validator(mode="after")
    def _every_camera_has_a_model(self) -> Self:
        for camera in self.cameras:
            if camera.model is None and self.model is None:
                raise ValueError(f"camera {camera.id!r} names no model and there is no common `model`")
        return self

    @model_validator(mode="after")
    def _one_place_a_camera(self) -> Self:
        if self.quality.reference is not None and sum(camera.quality is None for camera in self.cameras) > 1:
            raise ValueError("`quality.reference` is one camera's: give each camera a `quality` of its own")
        return self

    def model_of(self, camera: CameraSpec) -> str:
        """Name or path of a camera's bundle."""
        name = camera.model or self.model
        assert name is not None  # the validator's word
        return name

    def rules_of(self, camera: CameraSpec) -> RuleSpec:
        """A camera's rules."""
        return camera.rules or self.rules

    def quality_of(self, camera: CameraSpec) -> QualitySpec:
        """A camera's frame-quality gate."""
        return camera.quality or self.quality


def load_config(path: Path) -> Config:
    """Read and check a configuration.

    Relative paths in it are taken from the working directory.

    Raises:
        ConfigError: the file is missing or wrong; the message names every fault with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read the configuration {path}: {reason}") from error
    return parse_config(text, name=str(path))


def parse_config(text: str, *, name: str = "configuration") -> Config:
    """Check a configuration given as YAML text; see `load_config`.

    Args:
        text: YAML.
        name: the file's name, for messages.
    """
    try:
        root, document = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"{name}: expected a mapping of settings", hint="see configs/ for commented examples")
        faults = list(_odd_keys(root)) + list(_duplicate_cameras(root))
        lines = dict(_lines(root, ()))
        faults += list(_substitute(document, lines))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark is not None else name
        raise ConfigError(f"{where}: not valid YAML: {getattr(error, 'problem', None) or error}") from error
    except RecursionError:
        raise ConfigError(f"{name}: not valid YAML: nested too deeply, or an alias that holds itself") from None
    except ConfigError:
        raise
    except ValueError as error:  # PyYAML lets the standard library's own error through for a date such as 2024-99-99
        raise ConfigError(f"{name}: not valid YAML: {error}", hint="put such a value in quotes") from error
    if not faults:
        try:
            return Config.model_validate(document)
        except ValidationError as error:
            faults = [
                (_line_of(_place(e), lines), _words(e)) for e in error.errors(include_url=False, include_input=False)
            ]
    listed = "\n".join(f"  {name}:{line}: {fault}" for line, fault in sorted(set(faults)))
    raise ConfigError(
        f"{name} is not a valid configuration:\n{listed}",
        hint="configs/ holds commented examples; docs/configuration.md",
    )


def _lines(node: yaml.Node, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """(location, line) of every value and key."""
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            yield from _lines(value, here)
            yield here, key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _lines(value, (*path, number))


def _line_of(location: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int]) -> int:
    """Line of the nearest known part of a pydantic location, which also holds names of union members."""
    known: tuple[str | int, ...] = ()
    for part in location:
        if (*known, part) in lines:
            known = (*known, part)
    return lines[known]


def _place(error: Any) -> tuple[str | int, ...]:
    """Pydantic's location; of an unknown `type`, the `type` itself."""
    return (*error["loc"], "type") if error["type"] == "union_tag_invalid" else error["loc"]


def _words(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{where}: there is no such setting"
    if error["type"] == "missing":
        return f"{where}: this setting is needed"
    if error["type"] == "union_tag_invalid":
        given, known = redact(str(error["ctx"]["tag"])), error["ctx"]["expected_tags"]
        return f"{where}.type: got {given!r}, expected one of {known}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _odd_keys(node: yaml.Node) -> Iterator[tuple[int, str]]:
    """Keys that are no text, and keys given twice: YAML takes the last one without a word."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag not in _KEY_TAGS:
                kind = key.tag.rpartition(":")[2]
                yield line, f"{key.value}: a setting's name must be text, YAML reads this as {kind}"
            if key.value in seen:
                yield line, f"{key.value}: given before, on line {seen[key.value]}"
            seen.setdefault(key.value, line)
            yield from _odd_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _odd_keys(value)


def _duplicate_cameras(root: yaml.MappingNode) -> Iterator[tuple[int, str]]:
    cameras = next((value for key, value in root.value if key.value == "cameras"), None)
    if not isinstance(cameras, yaml.SequenceNode):
        return
    seen: dict[str, int] = {}
    for camera in cameras.value:
        if not isinstance(camera, yaml.MappingNode):
            continue
        for key, value in camera.value:
            if key.value != "id" or not isinstance(value, yaml.ScalarNode):
                continue
            line = value.start_mark.line + 1
            if value.value in seen:
                yield line, f"camera id {value.value!r} is taken by the camera on line {seen[value.value]}"
            seen.setdefault(value.value, line)


def _substitute(
    node: Any, lines: dict[tuple[str | int, ...], int], path: tuple[str | int, ...] = ()
) -> Iterator[tuple[int, str]]:
    """Replace ${NAME} in place; yields the variables that are not set."""
    items: Any = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        here = (*path, key)
        if isinstance(value, str):
            missing = [name for name in _VARIABLE.findall(value) if name not in os.environ]
            for name in missing:
                yield lines.get(here, 1), f"{key}: the environment variable {name} is not set"
            if not missing:
                node[key] = _VARIABLE.sub(lambda match: os.environ[match[1]], value)
        else:
            yield from _substitute(value, lines, here)
