"""The configuration of `streamad run`: one YAML file, checked against a schema before anything starts.

Each package defines the schema of its part. This module composes them, reads the file, and reports each mistake with
its line. `${NAME}` in a value is replaced by the environment variable NAME.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from streamad.alerts.evidence import EvidenceSpec
from streamad.alerts.sinks import NotifierSpec, OutboxSpec, SinkSpec, WebPushSinkSpec
from streamad.alerts.store import EventsSpec
from streamad.calibration.drift import DriftSpec
from streamad.calibration.policy import AlertPolicySpec
from streamad.calibration.score_history import HistorySpec
from streamad.engines.factory import EngineSpec
from streamad.errors import ConfigError, suggestion
from streamad.formatting import counted
from streamad.hours import Hours, TimeZoneName
from streamad.observability.endpoints import WebSpec
from streamad.observability.logging import LoggingSpec
from streamad.plugins import SINKS, SOURCES, plugin_names
from streamad.redaction import redact
from streamad.sources.credentials import clean
from streamad.sources.quality import QualitySpec
from streamad.sources.spec import ReconnectSpec, RtspSpec, SourceSpec
from streamad.yaml_document import Location, YamlDocument
from streamad.zones import ZoneList

CAMERA_ID = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_MAX_BYTES = 4 << 20
_QUOTED = r"'([^']+)'"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class ProfileSpec(BaseModel):
    """A time in which a camera has another calibration, such as the night."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(pattern=CAMERA_ID, max_length=64, description="name of the profile, such as night")
    hours: tuple[Hours, ...] = Field(min_length=1, description="when it is used, by the camera's `time_zone`")
    calibration: Path = Field(description="the calibration that is used then")


class CameraSpec(BaseModel):
    """One camera."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    id: str = Field(pattern=CAMERA_ID, max_length=64, description="name of the camera in events, metrics and pages")
    source: SourceSpec = Field(description="where its frames come from")
    evidence_source: RtspSpec | None = Field(
        None,
        description="a second stream of the camera, usually its main one, that clips are kept of without decoding it; "
        "empty: `source`",
    )
    model: str | None = Field(None, description="its model bundle, path or name; empty: the common one")
    calibration: Path | None = Field(None, description="its calibration; empty: the bundle's")
    alerts_per_day: float | None = Field(
        None, gt=0, le=100_000, description="budget of false alerts per day; empty: the calibration's"
    )
    threshold: float | None = Field(
        None,
        allow_inf_nan=False,
        description="raw score from which a frame is anomalous, in place of a calibration",
    )
    rules: AlertPolicySpec | None = Field(None, description="its alert rules; empty: the common ones")
    quality: QualitySpec | None = Field(None, description="its frame-quality gate; empty: the common one")
    zones: ZoneList = Field((), description="the parts of its picture that count; empty: all of it")
    time_zone: TimeZoneName = Field(
        None, description="time zone of `active` and `profiles`, such as Europe/Berlin; empty: the machine's"
    )
    active: tuple[Hours, ...] = Field((), description="the hours in which it raises alerts; empty: always")
    profiles: tuple[ProfileSpec, ...] = Field(
        (),
        max_length=16,
        description="calibrations for some hours, of which the first that fits is used; at other times, `calibration`",
    )

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if self.threshold is not None and (self.alerts_per_day is not None or self.calibration is not None):
            raise ValueError("`threshold` cannot be combined with `calibration` or `alerts_per_day`")
        if self.threshold is not None and self.profiles:
            raise ValueError("`threshold` cannot be combined with `profiles`, which have calibrations of their own")
        return self

    @field_validator("profiles")
    @classmethod
    def _different_names(cls, profiles: tuple[ProfileSpec, ...]) -> tuple[ProfileSpec, ...]:
        names = [profile.name for profile in profiles]
        if doubled := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two profiles are named {doubled!r}")
        return profiles


class Config(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    version: Literal[1] = Field(1, description="version of this schema")
    model: str | None = Field(None, description="model bundle of all cameras without their own, path or name")
    engine: EngineSpec = Field(default_factory=lambda: EngineSpec(), description="what runs the networks")
    cameras: tuple[CameraSpec, ...] = Field(min_length=1, description="the cameras")
    rules: AlertPolicySpec = Field(
        default_factory=lambda: AlertPolicySpec(), description="when a score becomes an alert"
    )
    quality: QualitySpec = Field(
        default_factory=lambda: QualitySpec(), description="when frames are rejected because of a faulty picture"
    )
    drift: DriftSpec = Field(
        default_factory=lambda: DriftSpec(), description="when scores no longer match the calibration"
    )
    history: HistorySpec = Field(default_factory=lambda: HistorySpec(), description="recent scores, for recalibration")
    reconnect: ReconnectSpec = Field(
        default_factory=lambda: ReconnectSpec(), description="waits between attempts to reconnect"
    )
    events: EventsSpec = Field(default_factory=lambda: EventsSpec(), description="where events are kept")
    evidence: EvidenceSpec = Field(
        default_factory=lambda: EvidenceSpec(), description="what is kept of events for a person to judge"
    )
    sinks: tuple[SinkSpec, ...] = Field((), description="where events are sent")
    outbox: OutboxSpec = Field(
        default_factory=lambda: OutboxSpec(), description="where notifications wait until they were sent"
    )
    web: WebSpec = Field(default_factory=lambda: WebSpec(), description="page, metrics and health")
    logging: LoggingSpec = Field(default_factory=lambda: LoggingSpec(), description="the program's log")

    @model_validator(mode="after")
    def _every_camera_has_a_model(self) -> Self:
        for camera in self.cameras:
            if camera.model is None and self.model is None:
                raise ValueError(f"camera {camera.id!r} has no `model`, and there is no common `model`")
        return self

    @model_validator(mode="after")
    def _one_place_a_camera(self) -> Self:
        if self.quality.reference is not None and sum(camera.quality is None for camera in self.cameras) > 1:
            raise ValueError("`quality.reference` shows one camera's view: set `quality` for each camera")
        return self

    @model_validator(mode="after")
    def _sinks_are_told_apart(self) -> Self:
        known, names = {camera.id for camera in self.cameras}, set[str]()
        for sink in self.sinks:
            if not isinstance(sink, NotifierSpec):
                continue
            if sink.label in names:
                raise ValueError(f"two sinks are named {sink.label!r}: give each a `name` of its own")
            names.add(sink.label)
            for camera in sink.cameras:
                if camera not in known:
                    hint = _did_you_mean(camera, known)
                    raise ValueError(f"sink {sink.label!r} is for camera {camera!r}, which does not exist{hint}")
        return self

    @model_validator(mode="after")
    def _push_has_a_page(self) -> Self:
        pushes = [sink for sink in self.sinks if isinstance(sink, WebPushSinkSpec)]
        if len(pushes) > 1:
            raise ValueError("two sinks are of type webpush: the page has one switch for them")
        if pushes and not (self.web.enabled and self.web.has_logins):
            raise ValueError(
                "a sink of type webpush needs a page on which people log in: set `web.users`, or `web.proxy`"
            )
        return self

    @property
    def push(self) -> WebPushSinkSpec | None:
        """The sink that tells browsers; None if there is none."""
        return next((sink for sink in self.sinks if isinstance(sink, WebPushSinkSpec)), None)

    def model_of(self, camera: CameraSpec) -> str:
        """The name or path of a camera's bundle."""
        name = camera.model or self.model
        assert name is not None  # checked by _every_camera_has_a_model
        return name

    def rules_of(self, camera: CameraSpec) -> AlertPolicySpec:
        """A camera's alert rules."""
        return camera.rules or self.rules

    def quality_of(self, camera: CameraSpec) -> QualitySpec:
        """A camera's frame-quality gate."""
        return camera.quality or self.quality


def load_config(path: Path) -> Config:
    """Read and check a configuration; see `read_config`."""
    return read_config(path)[0]


def read_config(path: Path) -> tuple[Config, YamlDocument]:
    """Read and check a configuration; also returns the document, which knows the lines.

    Relative paths in it are relative to the working directory.

    Raises:
        ConfigError: The file is missing or invalid; the message lists every mistake with its line.
    """
    hint = "save it as UTF-8 text"
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
        text = raw.decode()
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        what = f"line {line} is not UTF-8"
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            what = 'it is UTF-16 ("Unicode" on Windows)'
        raise ConfigError(f"cannot read the configuration {path}: {what}", hint=hint) from None
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"cannot read the configuration {path}: it is larger than {_MAX_BYTES >> 20} MiB")
    return _check(YamlDocument(text, name=str(path)))


def parse_config(text: str, *, name: str = "configuration") -> Config:
    """Check a configuration given as YAML text; see `read_config`.

    Args:
        text: YAML.
        name: The file's name, for messages.
    """
    return _check(YamlDocument(text, name=name))[0]


def _check(document: YamlDocument) -> tuple[Config, YamlDocument]:
    faults: list[tuple[int, str]] = [*document.faults, *_duplicate_cameras(document)]
    unset = dict(_substitute(document.content))
    faults += [(document.line(place), message) for place, message in unset.items()]
    config, errors = _validated(document.content)
    reported = {document.known(error["loc"]) for error in errors} | set(unset)
    faults += [(document.line(place), message) for place, message in _misread(document) if place not in reported]
    for error in errors:
        place = document.known(_place(error))
        # A list is not too short because its entries are invalid, and an unset variable is not a malformed address.
        is_consequence = error["type"] == "too_short" and any(
            len(t) > len(place) and t[: len(place)] == place for t in reported
        )
        if not is_consequence and place not in unset:
            faults.append((document.line(place), _message(error, place, document)))
    if config is not None and not faults:
        return config, document
    raise faults_error(document.name, faults, "is not a valid configuration")


def _validated(content: dict[str, Any]) -> tuple[Config | None, list[Any]]:
    """The configuration, or pydantic's errors except those of keys that are not text, which the document reports."""
    try:
        return Config.model_validate(content), []
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        return None, [e for e in found if e["type"] != "invalid_key"]


def faults_error(name: str, faults: list[tuple[int, str]], what: str) -> ConfigError:
    """The error that lists all faults, one per line.

    Args:
        name: The file.
        faults: (line, message) of each.
        what: Completes "NAME …:", the first line of the message.
    """
    found = listed([(line, redact(message)) for line, message in faults])
    lines = "\n".join(f"  {name}:{fault['line']}: {fault['message']}" for fault in found)
    return ConfigError(
        f"{name} {what}:\n{lines}",
        hint="`streamad config init --print` shows a commented example; docs/how-to/configure.md",
        details={"faults": found},
    )


def listed(findings: list[tuple[int, str]]) -> list[dict[str, Any]]:
    """Findings, given as (line, message), without duplicates and in order, as `--json` prints them."""
    return [{"line": line, "message": message} for line, message in sorted(set(findings))]


def _place(error: Any) -> Location:
    """Pydantic's location of an error; for an unknown `type`, that of `type` itself."""
    return (*error["loc"], "type") if error["type"] == "union_tag_invalid" else tuple(error["loc"])


def _message(error: Any, place: Location, document: YamlDocument) -> str:
    """The message of one of pydantic's errors, for people who write YAML."""
    kind, location = error["type"], tuple(error["loc"])
    name = str(location[-1]) if location else ""
    where = ".".join(str(part) for part in place)
    if kind == "extra_forbidden":
        return f"{where}: unknown setting{_suggestion(location)}"
    if kind == "missing":
        return f"{f'{where}.' if where else ''}{name}: required setting is missing"
    reading = document.reading(place)
    if kind == "union_tag_not_found":
        return f"{where}.type: required setting is missing: one of {_tags(location)}"
    if kind == "union_tag_invalid":
        given, known = redact(str(error["ctx"]["tag"])), error["ctx"]["expected_tags"]
        known = ", ".join([known, *_plugin_types(location)])
        message = f"got {given!r}, expected one of {known}{_did_you_mean(given, re.findall(_QUOTED, known))}"
    elif kind == "literal_error":
        message = str(error["msg"])
        if isinstance(value := document.value(place), str):
            message += _did_you_mean(value, re.findall(_QUOTED, error["ctx"]["expected"]))
    elif kind in ("model_type", "model_attributes_type"):
        options = _options(_schema(location))
        inner = f"`type` ({_tags(location)})" if len(options) > 1 else ", ".join(list(_fields(options[0]))[:4])
        message = f"expected nested settings, such as {inner}, each on an indented line"
    elif kind == "too_short":
        message = f"expected {counted(error['ctx']['min_length'], 'entry', 'entries')} or more"
    elif kind == "tuple_type":
        message = "expected a list, each entry on a line that starts with `- `"
    else:
        message = str(error["msg"]).removeprefix("Value error, ")
    if reading is not None and document.is_empty(place):
        message += f"; {reading}: omit the setting, or give it a value"
    elif reading is not None and kind in _TEXT_EXPECTED:
        return f"{where}: {reading}; put it in quotes"
    elif reading is not None:
        message += f"; {reading}"
    return f"{where}: {message}" if where else message


_TEXT_EXPECTED = ("string_type", "path_type", "is_instance_of", "literal_error", "union_tag_invalid", "value_error")
"""Pydantic's errors for a value that must be text."""


def _suggestion(location: Location) -> str:
    """The setting that was probably meant: a similar name in the same place, or the same name in another."""
    name = str(location[-1])
    here = {field for option in _options(_schema(location[:-1])) for field in _fields(option)}
    if similar := _did_you_mean(name, here):
        return similar.replace("'", "`")
    homes = [path for path in _homes(Config) if path[-1] == name]
    near = [path for path in homes if path[0] == location[0]]  # within the same part of the file
    elsewhere = list(dict.fromkeys(".".join(path) for path in near or homes))
    return f"; it belongs in {' or '.join(f'`{path}`' for path in elsewhere[:3])}" if elsewhere else ""


def _did_you_mean(given: str, known: Iterable[str]) -> str:
    """A suggestion to append to a message; empty if nothing is similar."""
    hint = suggestion(given, known)
    return f"; {hint}" if hint else ""


def _options(annotation: Any) -> tuple[Any, ...]:
    """The types that an annotation allows."""
    if get_origin(annotation) is Annotated:
        return _options(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return tuple(option for member in get_args(annotation) for option in _options(member))
    return (annotation,)


def _fields(option: Any) -> dict[str, Any]:
    """The settings of a type; empty if it is not a model."""
    return dict(option.model_fields) if isinstance(option, type) and issubclass(option, BaseModel) else {}


def _schema(location: Location) -> Any:
    """The annotation of a location, with or without parts that name the type of a union; None if it does not exist."""
    found: Any = Config
    for part in location:
        options = _options(found)
        fields = [_fields(option)[part].annotation for option in options if part in _fields(option)]
        tagged = [o for o in options if "type" in _fields(o) and _fields(o)["type"].default == part]
        entries = [get_args(option)[0] for option in options if get_origin(option) is tuple and isinstance(part, int)]
        candidates = fields or tagged or entries
        if not candidates:
            return None
        found = candidates[0]
    return found


def _tags(location: Location) -> str:
    """The types in a union."""
    types = [_fields(option)["type"].default for option in _options(_schema(location)) if "type" in _fields(option)]
    return ", ".join([repr(name) for name in types if isinstance(name, str)] + _plugin_types(location))


def _plugin_types(location: Location) -> list[str]:
    """The types that installed plugins add to a union."""
    return [repr(name) for name in plugin_names(SINKS if "sinks" in location else SOURCES)]


def _homes(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every setting of a model and of the models in it, without list indices."""
    for name, field in model.model_fields.items():
        yield (*path, name)
        for option in _options(field.annotation):
            inner = get_args(option)[0] if get_origin(option) is tuple else option
            for part in _options(inner):
                if _fields(part):
                    yield from _homes(part, (*path, name))


def _misread(document: YamlDocument) -> Iterator[tuple[Location, str]]:
    """Values that match the schema, but that YAML reads differently than people do."""
    for place, _ in document.scalars():
        options = _options(_schema(place))
        if not {int, float} & set(options):
            continue
        where = ".".join(map(str, place))
        if document.is_truth_value(place) and bool not in options:
            yield place, f"{where}: expected a number; {document.reading(place)}"
        elif document.misread_number(place):
            yield place, f"{where}: {document.reading(place)}; write it as a decimal number"


def _duplicate_cameras(document: YamlDocument) -> Iterator[tuple[int, str]]:
    seen: dict[str, int] = {}
    for place, node in document.scalars():
        if len(place) == 3 and (place[0], place[2]) == ("cameras", "id"):
            line = document.line(place)
            if node.value in seen:
                yield line, f"camera id {node.value!r} is also used on line {seen[node.value]}"
            seen.setdefault(node.value, line)


def _substitute(node: Any, path: Location = (), seen: set[int] | None = None) -> Iterator[tuple[Location, str]]:
    """Replace ${NAME} in place; yields the location and a message for each variable that is not set.

    What an alias repeats is one object and is visited once, so that a value from the environment is not expanded again.
    """
    seen = set() if seen is None else seen
    if not isinstance(node, dict | list) or id(node) in seen:
        return
    seen.add(id(node))
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        here = (*path, key if isinstance(node, list) else str(key))
        if isinstance(value, str):
            names = _VARIABLE.findall(value)
            missing = [name for name in names if name not in os.environ]
            garbled = [name for name in names if any("\ud800" <= c <= "\udfff" for c in os.environ.get(name, ""))]
            if missing or garbled:
                problem = "is not set" if missing else "is not UTF-8 text"
                yield here, f"{key}: the environment variable {(missing or garbled)[0]} {problem}"
            else:
                node[key] = _VARIABLE.sub(lambda match: clean(os.environ[match[1]]), value)
        else:
            yield from _substitute(value, here, seen)
