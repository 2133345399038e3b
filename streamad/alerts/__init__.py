"""Alerts, events, their store and the sinks that receive them."""

from streamad.alerts.event import Event, EventKind, EventState, new_event_id
from streamad.alerts.health import HealthChange, HealthEvent, HealthTracker
from streamad.alerts.spec import EventsSpec
from streamad.alerts.state_machine import AlertState, AlertStateMachine, AlertTransition, Severity
from streamad.alerts.store import EventStore
from streamad.alerts.tracker import EventChange, EventTracker

__all__ = [
    "AlertState",
    "AlertStateMachine",
    "AlertTransition",
    "Event",
    "EventChange",
    "EventKind",
    "EventState",
    "EventStore",
    "EventTracker",
    "EventsSpec",
    "HealthChange",
    "HealthEvent",
    "HealthTracker",
    "Severity",
    "new_event_id",
]
