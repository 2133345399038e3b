"""Alert rules, events, their store and the sinks that receive them."""

from streamad.alerts.event import Event, EventKind, EventState, new_event_id
from streamad.alerts.health import HealthChange, HealthEvent, HealthTracker
from streamad.alerts.rule import AlertRule, AlertState, AlertTransition, Severity
from streamad.alerts.spec import EventsSpec, RuleSpec
from streamad.alerts.store import EventStore
from streamad.alerts.tracker import EventChange, EventTracker

__all__ = [
    "AlertRule",
    "AlertState",
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
    "RuleSpec",
    "Severity",
    "new_event_id",
]
