"""Prometheus metrics, health, logging and the status document."""

from streamad.observability.health import Health, HealthReport
from streamad.observability.logging import LoggingSpec, setup_logging
from streamad.observability.metrics import CameraMetrics, Metrics
from streamad.observability.redaction import redact
from streamad.observability.status import CameraStatus, StatusDocument, finite

__all__ = [
    "CameraMetrics",
    "CameraStatus",
    "Health",
    "HealthReport",
    "LoggingSpec",
    "Metrics",
    "StatusDocument",
    "finite",
    "redact",
    "setup_logging",
]
