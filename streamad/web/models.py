"""The documents of the API, as the OpenAPI description has them.

Events, health events and the status are described by the types that the rest of streamad uses; only what the API adds
to them is here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.dataclasses import dataclass

from streamad.accounts import Role
from streamad.alerts import Event, HealthEvent, Verdict
from streamad.alerts.audit import Authentication
from streamad.observability.status import CameraStatus

MarkKind = Literal["false-alarm", "reviewed", "none"]


def verdict_of(kind: MarkKind) -> Verdict:
    """The verdict that the store has for a kind of mark."""
    return "false_alarm" if kind == "false-alarm" else kind


class Document(BaseModel):
    """Base of the models here."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Problem(Document):
    """Why a request was not answered."""

    error: str
    """What is wrong."""
    hint: str | None
    """What to do about it."""
    fields: dict[str, str] = Field(default_factory=dict)
    """What is wrong with the body's values, by their place, such as `zones.0.min_size`."""


class MarkDocument(Document):
    """A person's judgment of an event."""

    kind: MarkKind
    """"none" withdraws the marks before it."""
    by: str
    """Who judged."""
    at: datetime
    """When."""
    note: str | None
    """Why, in words."""


class MarkChange(Document):
    """A judgment to make."""

    kind: MarkKind
    """"none" withdraws the marks before it."""
    note: str = Field("", max_length=2000)
    """Why, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDocument(Event):
    """An anomaly, with the names of its evidence files and its newest mark: null without one or if it was withdrawn."""

    evidence: list[str]
    mark: MarkDocument | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDetail(EventDocument):
    """An anomaly with all marks ever made, oldest first."""

    marks: list[MarkDocument]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthEventDocument(HealthEvent):
    """A period in which a camera's frames were rejected, or its scores had drifted."""

    type: Literal["health"]  # type: ignore[misc]


class EventPage(Document):
    """One page of events, newest first."""

    events: list[EventDocument]
    total: int
    """Number of events that the filter selects, on all pages."""
    next: str | None
    """The `cursor` of the next page; null on the last one."""


class HealthEventPage(Document):
    """One page of health events, newest first."""

    events: list[HealthEventDocument]
    total: int
    """Number of events that the filter selects, on all pages."""
    next: str | None
    """The `cursor` of the next page; null on the last one."""


class CameraList(Document):
    """All cameras."""

    cameras: list[CameraStatus]


class Timeline(Document):
    """A camera's highest scores, oldest first."""

    camera: str
    """The camera's id."""
    step_seconds: int
    """Length of a period."""
    points: list[tuple[int, float, float | None]]
    """Unix time of the period's beginning, highest displayed score, threshold at that moment."""


class Budget(Document):
    """A budget of false alerts, and the threshold that it would have now."""

    alerts_per_day: float
    """The budget."""
    vouched_alerts_per_day: float
    """What the threshold is set for, until enough video was seen for the budget."""
    threshold: float
    """The threshold, on the scale on which scores are shown."""


class BudgetList(Document):
    """Budgets from the lowest to the highest; empty without a calibration."""

    budgets: list[Budget]


class Probe(Document):
    """The answer to a probe."""

    ok: bool
    """Whether the check passed."""
    reason: str
    """Explanation; if the check failed, what is missing."""


class AuditDocument(Document):
    """One change."""

    at: datetime
    """When."""
    who: str
    """Name of the user or token."""
    authentication: Authentication
    """How they were recognized; "command": by the login name on the command line."""
    address: str | None
    """Address of the client; null for a command."""
    action: str
    """What was done: "event.mark", "login", "user.add", ..."""
    target: str | None
    """What it was done to: the id of an event, the name of a user or camera."""
    detail: dict[str, JsonValue]
    """Further values, by action."""


class AuditPage(Document):
    """One page of the audit trail, newest first."""

    entries: list[AuditDocument]
    next: str | None
    """The `cursor` of the next page; null on the last one."""


class Login(Document):
    """Name and password."""

    name: str = Field(max_length=64)
    password: str = Field(max_length=1024)


class Me(Document):
    """Who makes the request, and what they may do."""

    name: str | None
    """Name of the user or token; null without a login."""
    role: Role
    """What they may do; each role may do what those before it may: metrics, viewer, operator, admin."""
    authentication: Authentication
    """How they were recognized."""
    csrf_token: str | None
    """Value for the header `X-CSRF-Token` of requests that change something. Null where none is needed."""
    login: bool
    """Whether users can log in here."""


class PushServer(Document):
    """What a browser needs to subscribe to notifications."""

    key: str
    """The server's public key (VAPID), base64url: the browser's `applicationServerKey`."""


class PushKeys(Document):
    """The keys of a browser's `PushSubscription`, base64url."""

    p256dh: str = Field(max_length=128)
    """Public key of the device."""
    auth: str = Field(max_length=64)
    """Secret that is shared with the device."""


class PushEndpoint(Document):
    """Where a device is reached."""

    endpoint: str = Field(max_length=2048)
    """`endpoint` of the browser's `PushSubscription`: an address at its push service; a secret."""


class PushDevice(PushEndpoint):
    """A device to notify, as the browser's `PushSubscription` describes it."""

    keys: PushKeys
    """Its keys."""
