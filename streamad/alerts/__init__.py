"""Alerts, events, the event store, and the sinks that receive events."""

from streamad.alerts.event import Event, EventKind, EventState, new_event_id
from streamad.alerts.health import HealthChange, HealthEvent, HealthTracker
from streamad.alerts.marks import Mark, Verdict, add_mark, false_alarms, newest_marks, read_marks
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
    "Mark",
    "Severity",
    "Sink",
    "SinkFanout",
    "SinkSpec",
    "Verdict",
    "add_mark",
    "build_sink",
    "false_alarms",
    "new_event_id",
    "newest_marks",
    "read_marks",
]
