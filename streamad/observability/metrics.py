"""Prometheus metrics under the project's fixed names, in their own registry."""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.registry import Collector

from streamad import __version__
from streamad.writing import Outcome

FRAME_STAGES = ("decoded", "scored")
SEVERITIES = ("warning", "critical")
HEALTH_TOPICS = ("quality", "drift", "fault")
TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"

# Buckets are dense where decisions are made: a stage has to fit into a frame interval (33-40 ms), an alert
# into a second; a batch is a power of two, up to the 900 cells of a 30 x 30 grid.
STAGE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.033, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, 10.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class _Exposed(Collector):
    """The registry without the `_created` series, which would double the size of the page and are not used."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


class Metrics:
    """All series of one process. Thread-safe.

    A camera is always identified by its configured id, never by its URL. Nothing is registered globally, so a process
    can have several instances.
    """

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._exposed = _Exposed(registry)
        self._cameras: dict[str, CameraMetrics] = {}
        self._lock = threading.Lock()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(name, text, labels, buckets=buckets, registry=registry)

        self.frames = counter("streamad_frames_total", "Frames that passed a stage.", "camera", "stage")
        self.frames_dropped = counter(
            "streamad_frames_dropped_total", "Frames dropped before they were scored.", "camera", "reason"
        )
        self.reconnects = counter("streamad_reconnects_total", "Attempts to reconnect, by cause.", "camera", "reason")
        self.gaps = counter("streamad_gaps_total", "Gaps in the stream at which the frame history restarts.", "camera")
        self.scores_withheld = counter(
            "streamad_scores_withheld_total", "Frames without a score, by reason.", "camera", "reason"
        )
        self.frame_quality = counter(
            "streamad_frame_quality_total", "Frames rejected by the frame-quality gate, by fault.", "camera", "reason"
        )
        self.health_events = counter(
            "streamad_health_events_total",
            "Health events opened: faults of the picture, drift, cameras given up.",
            "camera",
            "topic",
        )
        self.alerts = counter("streamad_alerts_total", "Alerts opened, by severity when opened.", "camera", "severity")
        self.notifications = counter(
            "streamad_notifications_total", "Events passed to a sink, by outcome.", "sink", "outcome"
        )
        self.inference_errors = counter(
            "streamad_inference_errors_total", "Frames that the engine failed on.", "engine"
        )
        self.camera_faults = counter(
            "streamad_camera_faults_total", "Exceptions while a camera's frames were processed.", "camera"
        )
        self.internal_errors = counter(
            "streamad_internal_errors_total", "Exceptions in a part that watching continues without.", "part"
        )
        self.event_store_errors = counter(
            "streamad_event_store_errors_total", "Failed attempts to write events to disk."
        )
        self.output_errors = counter(
            "streamad_output_errors_total", "Failed attempts to write an output, by cause.", "output", "reason"
        )
        self.output_dropped = counter(
            "streamad_output_dropped_total", "Items of an output that were discarded.", "output", "reason"
        )
        self.camera_up = gauge("streamad_camera_up", "1 while the camera delivers frames, otherwise 0.", "camera")
        self.evidence_source_up = gauge(
            "streamad_evidence_source_up",
            "1 while the second stream, which clips are kept of, delivers packets, otherwise 0.",
            "camera",
        )
        self.last_frame = gauge(
            "streamad_last_frame_timestamp_seconds",
            "Unix time of the newest frame, 0 before the first.",
            "camera",
        )
        self.camera_overloaded = gauge(
            "streamad_camera_overloaded", "1 while the machine cannot keep up with the camera, otherwise 0.", "camera"
        )
        self.overloaded = gauge(
            "streamad_overloaded", "1 while the machine cannot keep up with one or more cameras, otherwise 0."
        )
        self.queue_length = gauge("streamad_queue_length", "Items waiting in a queue.", "queue")
        self.anomaly_score = gauge(
            "streamad_anomaly_score", "Newest anomaly score, NaN where skipped; higher is worse.", "camera"
        )
        self.anomaly_threshold = gauge(
            "streamad_anomaly_threshold", "Score from which a frame counts as anomalous.", "camera"
        )
        self.alert_active = gauge("streamad_alert_active", "1 while an alert is open, otherwise 0.", "camera")
        self.quality_hold = gauge(
            "streamad_quality_hold_active", "1 while frames are rejected as faulty, otherwise 0.", "camera"
        )
        self.score_drift_ratio = gauge(
            "streamad_score_drift_ratio",
            "Share of recent frames above the calibration's 90 % quantile, divided by 10 %; 1: unchanged.",
            "camera",
        )
        self.score_share = gauge(
            "streamad_score_quantile_share",
            "Share of recent frames above a quantile of the calibration; 1 - quantile: unchanged.",
            "camera",
            "quantile",
        )
        self.score_drifted = gauge(
            "streamad_score_drifted",
            "1 if the last window of scores differs from the calibration, 0 if not, NaN before the first.",
            "camera",
        )
        self.reload_successful = gauge(
            "streamad_config_last_reload_successful",
            "1 if the configuration was read at the last attempt, otherwise 0.",
        )
        self.reload_time = gauge(
            "streamad_config_last_reload_success_timestamp_seconds",
            "Unix time at which the active configuration was read.",
        )
        self.build_info = gauge("streamad_build_info", "Always 1; the running version.", "version", "python")
        self.model_info = gauge(
            "streamad_model_info",
            "Always 1; the model, the engine that runs it, and the reason for that choice.",
            *("model", "sha256", "detector", "engine", "device", "precision", "why"),
        )
        self.stage_duration = histogram(
            "streamad_stage_duration_seconds", "Time that a stage takes for one batch.", STAGE_BUCKETS, "stage"
        )
        self.end_to_end_latency = histogram(
            "streamad_end_to_end_latency_seconds",
            "Time from the decoded frame to its score.",
            LATENCY_BUCKETS,
            "camera",
        )
        self.batch_size = histogram("streamad_batch_size", "Inputs per call of the engine.", BATCH_BUCKETS)
        self.build_info.labels(version=__version__, python=platform.python_version()).set(1)
        ProcessCollector(registry=registry)

    def camera(self, camera: str) -> CameraMetrics:
        """Return the handle of one camera, the same at every call; its series are created here, with counters at 0."""
        with self._lock:
            if camera not in self._cameras:
                self._cameras[camera] = CameraMetrics(self, camera)
            return self._cameras[camera]

    def remove_camera(self, camera: str) -> None:
        """Delete all series of a camera that is no longer watched."""
        with self._lock:
            self._cameras.pop(camera, None)
            for family in vars(self).values():
                if isinstance(family, Counter | Gauge | Histogram) and "camera" in family._labelnames:
                    family.remove_by_labels({"camera": camera})

    def reloaded(self, is_good: bool, unix_seconds: float) -> None:
        """Set whether the last reload of the configuration succeeded, and when."""
        self.reload_successful.set(1 if is_good else 0)
        if is_good:
            self.reload_time.set(unix_seconds)

    def set_models(self, models: Iterable[Mapping[str, str]]) -> None:
        """Publish the labels of every model that is running now; errors of their engines are counted from 0."""
        self.model_info.clear()
        for labels in models:
            self.inference_errors.labels(engine=labels["engine"])
            self.model_info.labels(**labels).set(1)

    def wrote(self, output: str, outcome: Outcome, amount: int, reason: str) -> None:
        """Count the outcome of an output's items; the `on_outcome` of a `BackgroundWriter`."""
        if outcome == "failed":
            self.output_errors.labels(output=output, reason=reason).inc(amount)
        elif outcome == "dropped":
            self.output_dropped.labels(output=output, reason=reason).inc(amount)

    def notified(self, sink: str, outcome: Outcome | Literal["suppressed"], amount: int, reason: str) -> None:
        """Count the outcome of a sink's items, including deliveries and what its routing suppresses."""
        label = "delivered" if outcome == "written" else outcome
        self.notifications.labels(sink=sink, outcome=label).inc(amount)
        if outcome != "suppressed":
            self.wrote(sink, outcome, amount, reason)

    def render(self) -> bytes:
        """All series in Prometheus text format 0.0.4."""
        return generate_latest(self._exposed)

    def negotiate(self, accept: str) -> tuple[bytes, str]:
        """All series in the format that an Accept header prefers, with its content type.

        OpenMetrics 1.0 if requested, otherwise the text format.
        """
        if "application/openmetrics-text" not in accept:
            return self.render(), TEXT_FORMAT
        encode, content_type = choose_encoder(accept)
        return encode(self._exposed), content_type


class CameraMetrics:
    """The series of one camera, with their labels resolved once for use in the hot path.

    Created by `Metrics.camera`.
    """

    def __init__(self, metrics: Metrics, camera: str) -> None:
        self._metrics = metrics
        self._camera = camera
        self._counters: dict[tuple[Counter, str], Counter] = {}
        for stage in FRAME_STAGES:
            self._counter(metrics.frames, stage)
        for severity in SEVERITIES:
            self._counter(metrics.alerts, severity)
        for topic in HEALTH_TOPICS:
            self._counter(metrics.health_events, topic)
        self._gaps = metrics.gaps.labels(camera)
        self._faults = metrics.camera_faults.labels(camera)
        self._up = metrics.camera_up.labels(camera)
        self._overloaded = metrics.camera_overloaded.labels(camera)
        self._last_frame = metrics.last_frame.labels(camera)
        self._quality_hold = metrics.quality_hold.labels(camera)
        self._alert_active = metrics.alert_active.labels(camera)
        self._latency = metrics.end_to_end_latency.labels(camera)
        self._score = metrics.anomaly_score.labels(camera)
        self._threshold = metrics.anomaly_threshold.labels(camera)
        self._drift = metrics.score_drift_ratio.labels(camera)
        self._drifted = metrics.score_drifted.labels(camera)
        for unknown in (self._score, self._threshold, self._drift, self._drifted):
            unknown.set(float("nan"))  # 0 would be a false statement

    def frame(self, stage: str) -> None:
        """Count a frame that passed `stage`: "decoded" or "scored"."""
        self._increase(self._metrics.frames, stage)

    def received(self, unix_seconds: float) -> None:
        """Set the time of the newest frame."""
        self._last_frame.set(unix_seconds)

    def dropped(self, reason: str, amount: int = 1) -> None:
        """Count frames dropped."""
        self._increase(self._metrics.frames_dropped, reason, amount)

    def reconnect(self, reason: str) -> None:
        """Count a reconnect by the failure that caused it."""
        self._increase(self._metrics.reconnects, reason)

    def gap(self) -> None:
        """Count a gap at which the frame history restarts."""
        self._gaps.inc()

    def fault(self) -> None:
        """Count an exception while processing a frame."""
        self._faults.inc()

    def set_overloaded(self, overloaded: bool) -> None:
        """Set whether the machine cannot keep up with the camera."""
        self._overloaded.set(1 if overloaded else 0)

    def skipped(self, reason: str) -> None:
        """Count a frame without a score; the score becomes NaN."""
        self._increase(self._metrics.scores_withheld, reason)
        self._score.set(float("nan"))

    def held(self, reason: str | None) -> None:
        """Count a frame that the quality gate rejected; None: the frame was good."""
        if reason is not None:
            self._increase(self._metrics.frame_quality, reason)
        self._quality_hold.set(0 if reason is None else 1)

    def health_event(self, topic: str) -> None:
        """Count a health event that opened."""
        self._increase(self._metrics.health_events, topic)

    def alert(self, severity: str) -> None:
        """Count an alert that opened."""
        self._increase(self._metrics.alerts, severity)

    def set_alert_active(self, active: bool) -> None:
        """Set whether an alert is open."""
        self._alert_active.set(1 if active else 0)

    def set_up(self, up: bool) -> None:
        """Set whether the camera delivers frames."""
        self._up.set(1 if up else 0)

    def set_evidence_source_up(self, up: bool | None) -> None:
        """Set whether the second stream, which clips are kept of, is up; None: the camera has none, and no series."""
        family = self._metrics.evidence_source_up
        if up is None:
            family.remove_by_labels({"camera": self._camera})
        else:
            family.labels(self._camera).set(1 if up else 0)

    def set_score(self, score: float) -> None:
        """Set the newest score; NaN: currently none."""
        self._score.set(score)

    def set_threshold(self, threshold: float) -> None:
        """Set the active threshold."""
        self._threshold.set(threshold)

    def set_drift(self, ratio: float, shares: Mapping[float, float] | None = None) -> None:
        """Set the drift ratio (1: as calibrated) and the share of frames above each quantile of the calibration."""
        self._drift.set(ratio)
        for quantile, share in (shares or {}).items():
            self._metrics.score_share.labels(self._camera, f"{quantile:g}").set(share)

    def set_drifted(self, drifted: bool) -> None:
        """Set whether the last window of scores had drifted."""
        self._drifted.set(1 if drifted else 0)

    def latency(self, seconds: float) -> None:
        """Record the end-to-end latency of one frame."""
        self._latency.observe(seconds)

    def _increase(self, family: Counter, label: str, amount: int = 1) -> None:
        self._counter(family, label).inc(amount)

    def _counter(self, family: Counter, label: str) -> Counter:
        child = self._counters.get((family, label))
        if child is None:
            child = self._counters[(family, label)] = family.labels(self._camera, label)
        return child
