"""Prometheus metrics, health, logging, and the status document."""

from streamad.observability.endpoints import WebSpec
from streamad.observability.health import Health, HealthReport
from streamad.observability.logging import LoggingSpec, background_stderr, setup_logging
from streamad.observability.metrics import CameraMetrics, Metrics
from streamad.observability.status import (
    AlertLabel,
    CameraState,
    CameraStatus,
    DriftStatus,
    EngineStatus,
    EventsStatus,
    ModelStatus,
    ReturnPeriodStatus,
    StatusDocument,
    finite,
)

__all__ = [
    "AlertLabel",
    "CameraMetrics",
    "CameraState",
    "CameraStatus",
    "DriftStatus",
    "EngineStatus",
    "EventsStatus",
    "Health",
    "HealthReport",
    "LoggingSpec",
    "Metrics",
    "ModelStatus",
    "ReturnPeriodStatus",
    "StatusDocument",
    "WebSpec",
    "background_stderr",
    "finite",
    "setup_logging",
]
