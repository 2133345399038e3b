"""Alerts, events, the event store, and the sinks that receive events."""

from streamad.alerts.event import Event, EventKind, EventState, new_event_id
from streamad.alerts.health import HealthChange, HealthEvent, HealthTracker
from streamad.alerts.sinks import JsonlSink, LogSink, Sink, SinkFanout, SinkSpec, build_sink
from streamad.alerts.state_machine import AlertState, AlertStateMachine, AlertTransition, Severity
from streamad.alerts.store import EventsSpec, EventStore
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
    "JsonlSink",
    "LogSink",
    "Severity",
    "Sink",
    "SinkFanout",
    "SinkSpec",
    "build_sink",
    "new_event_id",
]
