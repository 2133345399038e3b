"""Routes of the configuration: a camera's zones, hours and threshold, changing them, and reloading the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Body, HTTPException
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from streamad.accounts import Role
from streamad.errors import ConfigError, StreamadError
from streamad.hours import Hours, TimeZoneName
from streamad.live.config_change import ConfigChange
from streamad.observability.status import finite
from streamad.redaction import redact
from streamad.web.access import Identity, requires
from streamad.web.answers import NO_STORE, Refusal, no_store, problems
from streamad.web.models import Document, Problem
from streamad.workflows.reload import ReadOnlyError
from streamad.zones import ZoneSpec

MAX_HOURS = 32
"""Most hours that a camera, or a profile, is given here."""

Operator = Annotated[Identity, requires(Role.OPERATOR)]
Admin = Annotated[Identity, requires(Role.ADMIN)]


class ProfileDocument(Document):
    """A time in which a camera has another calibration."""

    name: str
    """Its name."""
    hours: list[Hours] = Field(min_length=1, max_length=MAX_HOURS)
    """When it is used."""
    calibration: str
    """File of the calibration."""


class CameraSettings(Document):
    """How a camera is watched."""

    id: str
    """The camera's id."""
    zones: list[ZoneSpec]
    """The parts of its picture that count; empty: all of it."""
    time_zone: str | None
    """Time zone of the hours; null: the machine's."""
    local_time: datetime
    """The time now in that zone."""
    active: list[Hours]
    """The hours in which it raises alerts; empty: always."""
    profiles: list[ProfileDocument]
    """Calibrations for some hours."""
    profile: str | None
    """The profile that is active now."""
    is_active: bool
    """Whether it raises alerts now."""
    next_change_at: float | None
    """Unix time at which it begins or ends to raise alerts; null without such hours."""
    alerts_per_day: float | None
    """The budget of false alerts that was asked for; null with a bare threshold."""
    vouched_alerts_per_day: float | None
    """The budget that the threshold is set for, until enough video was seen for the one that was asked for."""
    threshold: float
    """Raw score from which a frame is anomalous."""
    display_threshold: float
    """The same on the scale on which scores are shown."""
    is_editable: bool
    """Whether the configuration's file can be changed here; where not, changes are answered with 409."""


class ZonesChange(Document):
    """Zones to set."""

    zones: list[ZoneSpec] = Field(max_length=32)
    """All zones of the camera."""


class SettingsChange(Document):
    """Settings to change; those that are left out stay. Null removes a setting from the file."""

    alerts_per_day: float | None = Field(None, allow_inf_nan=False)
    """Budget of false alerts."""
    threshold: float | None = Field(None, allow_inf_nan=False)
    """Raw score from which a frame is anomalous, in place of a calibration."""
    time_zone: TimeZoneName = None
    """Time zone of the hours, such as Europe/Berlin; null: the machine's."""
    active: list[Hours] | None = Field(None, max_length=MAX_HOURS)
    """The hours in which it raises alerts; null or empty: always."""
    profiles: list[ProfileDocument] | None = Field(None, max_length=16)
    """All profiles of the camera, each with a calibration that one of its profiles has already."""


class Fault(Document):
    """A mistake in the configuration."""

    line: int
    """Its line."""
    message: str
    """What is wrong."""


class ConfigProblem(Problem):
    """Why the configuration was not changed."""

    faults: list[Fault] = Field(default_factory=list)
    """Every mistake in the file, with its line."""
    yaml: str | None = None
    """What to write into a file that cannot be changed here."""


class ReloadReport(Document):
    """What a reload has changed."""

    added: list[str]
    """Ids of new cameras."""
    removed: list[str]
    """Ids of cameras that are gone."""
    restarted: list[str]
    """Ids of cameras that are connected again."""
    changed: list[str]
    """Ids of cameras with other zones, hours or alerts."""
    restart_needed: list[str]
    """Settings that take effect at the next start of the program."""


class Configurable(Protocol):
    """A watch whose configuration can be changed."""

    def reload(self) -> ConfigChange:
        """Read the file again, and watch by it."""

    def edit(self, camera: str, settings: Mapping[str, Any]) -> ConfigChange:
        """Write settings of a camera into the file, and reload it."""


def configuration_router(
    configuration: Configurable | None,
    settings: Callable[[str], Mapping[str, Any] | None],
    record: Callable[..., None],
) -> APIRouter:
    """Create the routes.

    Args:
        configuration: What changes the configuration. Without, nothing can be changed.
        settings: Returns the `CameraSettings` of a camera; None if there is no such camera.
        record: Adds to the audit trail what an identity did, as `audit.record` with its store.
    """
    router = APIRouter(tags=["configuration"])
    unchanged: dict[int | str, dict[str, Any]] = {status: {"model": ConfigProblem} for status in (409, 422)}

    def found(camera: str) -> Mapping[str, Any]:
        document = settings(camera)
        if document is None:
            raise HTTPException(404, f"no camera {camera!r}", headers=NO_STORE)
        return document

    def changing() -> Configurable:
        if configuration is None:
            raise HTTPException(404, "this watch has no configuration file", headers=NO_STORE)
        return configuration

    def edited(camera: str, change: Mapping[str, Any], who: Identity, action: str) -> Response:
        found(camera)
        try:
            changing().edit(camera, change)
        except StreamadError as error:
            return _refused(error)
        record(who, action, camera, change)
        return no_store(finite(dict(found(camera))))

    @router.get("/cameras/{camera}", response_model=CameraSettings, responses=problems(404, 422))
    def get_camera(camera: str) -> Response:
        """How a camera is watched: its zones, hours, profiles, budget and threshold."""
        return no_store(finite(dict(found(camera))))

    changes: dict[str, Any] = {
        "response_model": CameraSettings,
        "responses": problems(401, 403, 404) | unchanged,
    }

    @router.put("/cameras/{camera}/zones", **changes)
    def set_zones(camera: str, change: Annotated[ZonesChange, Body()], who: Operator) -> Response:
        """Set the zones of a camera, in the configuration's file too; they hold from the next frame on."""
        zones = [zone.model_dump(mode="json", exclude_defaults=True) | {"type": zone.type} for zone in change.zones]
        ordered = [{key: zone[key] for key in ZoneSpec.model_fields if key in zone} for zone in zones]
        return edited(camera, {"zones": ordered or None}, who, "camera.zones")

    @router.put("/cameras/{camera}/settings", **changes)
    def set_settings(camera: str, change: Annotated[SettingsChange, Body()], who: Operator) -> Response:
        """Set a camera's budget of false alerts, threshold, hours or profiles, in the configuration's file too."""
        given = change.model_dump(mode="json", exclude_unset=True)
        if not given:
            raise HTTPException(422, "nothing to change", headers=NO_STORE)
        known = {profile["calibration"] for profile in found(camera)["profiles"]}
        for number, profile in enumerate(given.get("profiles") or ()):
            if profile["calibration"] not in known:  # which files are read is not for an operator to say
                message = f"no profile of this camera has the calibration {profile['calibration']}"
                where = f"profiles.{number}.calibration"
                hint = "add the profile in the configuration's file"
                raise Refusal(422, f"{where}: {message}", hint, NO_STORE, {where: message})
        for key in ("active", "profiles"):
            if key in given:
                given[key] = given[key] or None
        return edited(camera, given, who, "camera.settings")

    @router.post("/reload", response_model=ReloadReport, responses=problems(401, 403, 404) | unchanged)
    def reload_configuration(who: Admin) -> Response:
        """Read the configuration's file again; cameras that it does not change go on undisturbed."""
        try:
            change = changing().reload()
        except StreamadError as error:
            return _refused(error)
        report = {name: list(getattr(change, name)) for name in ReloadReport.model_fields}
        record(who, "config.reload", None, report)
        return no_store(report)

    return router


def _refused(error: StreamadError) -> JSONResponse:
    """The answer to a change that was not made."""
    details = error.details if isinstance(error, ConfigError) else {}
    document = {
        "error": redact(str(error)),
        "hint": None if error.hint is None else redact(error.hint),
        "faults": details.get("faults", []),
        "yaml": error.yaml if isinstance(error, ReadOnlyError) else None,
    }
    return JSONResponse(document, status_code=409 if isinstance(error, ReadOnlyError) else 422, headers=NO_STORE)
