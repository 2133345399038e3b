"""Model: a bundle with the engine that runs it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from streamad.alerts.tracker import EventChange
from streamad.bundle import Bundle, combined_sha256, load_bundle
from streamad.calibration import AlertPolicy, AlertPolicySpec, Calibration, PerLocationStatistics
from streamad.detectors import CameraScorer, camera_scorer, detector_of
from streamad.detectors.per_location_scorer import PerLocationScorer
from streamad.detectors.zoned_scorer import CurrentZones
from streamad.engines import (
    Engine,
    EngineSpec,
    StatefulEngine,
    open_engine,
    open_stateful_engine,
    runs_streaming,
)
from streamad.errors import EngineError, OutputError
from streamad.frame import Frame
from streamad.inference.alerting import resolve_policy
from streamad.inference.batching import Batcher
from streamad.inference.frame_queue import FrameQueue, OnBatch
from streamad.inference.gated_scorer import gated
from streamad.inference.session import Session
from streamad.inference.stateful_queue import StatefulQueue
from streamad.protocols import Closeable
from streamad.scoring import FrameScore
from streamad.sources import Source, SourceSpec
from streamad.sources.quality import QualitySpec
from streamad.zones import ZoneSpec


class Model(Closeable):
    """A loaded model: its bundle and its engine.

    Attributes:
        bundle: The checked bundle.
        engine: Runs the network; one that carries state runs the streaming form.

    Args:
        bundle: The checked bundle.
        engine: Runs the network.
        hint: "throughput" fills runs of a network that carries state, "latency" starts what is there.
        engine_spec: How the engine was chosen. Default: automatically.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine | StatefulEngine,
        hint: Literal["latency", "throughput"] = "latency",
        *,
        engine_spec: EngineSpec | None = None,
    ) -> None:
        self.bundle = bundle
        self.engine = engine
        self.engine_spec = engine_spec or EngineSpec()
        self._hint = hint

    @property
    def name(self) -> str:
        """Name of the bundle."""
        return self.bundle.name

    @cached_property
    def calibration(self) -> Calibration | None:
        """The bundle's own calibration; None if it has none.

        Raises:
            CalibrationError: It is damaged, or belongs to another model.
        """
        if self.bundle.calibration_path is None:
            return None
        calibration = Calibration.load(self.bundle.calibration_path)
        calibration.require_model(combined_sha256(self.bundle))
        return calibration

    def policy(
        self,
        *,
        camera: str = "camera",
        calibration: Path | Calibration | None = None,
        alerts_per_day: float | None = None,
        threshold: float | None = None,
        rules: AlertPolicySpec | None = None,
    ) -> AlertPolicy | None:
        """When a score becomes an alert.

        Args:
            camera: The camera's id, for messages.
            calibration: The camera's calibration. Default: the bundle's own.
            alerts_per_day: Budget of false alerts. Default: the calibration's.
            threshold: Raw score to use instead of a calibration.
            rules: Durations, cooldown and hysteresis. Default: `AlertPolicySpec()`.

        Returns:
            The policy; None if there is neither a calibration nor a threshold.

        Raises:
            CalibrationError: The calibration belongs to another model, or a budget is given without one.
        """
        given = calibration or self.calibration
        if given is None and threshold is None and alerts_per_day is None:
            return None
        return resolve_policy(
            self.bundle,
            rules or AlertPolicySpec(),
            camera=camera,
            calibration=calibration,
            alerts_per_day=alerts_per_day,
            threshold=threshold,
        )

    def session(
        self,
        *,
        camera: str = "camera",
        calibration: Path | Calibration | None = None,
        alerts_per_day: float | None = None,
        threshold: float | None = None,
        rules: AlertPolicySpec | None = None,
        quality: QualitySpec | None = None,
        zones: Sequence[ZoneSpec] = (),
        on_event: Callable[[EventChange], None] | None = None,
        fps: float | None = None,
    ) -> Session:
        """Start scoring one camera: frames in, scores and events out.

        Without a calibration or a threshold the session scores frames and raises no alerts.

        Args:
            camera: Id that scores and events carry.
            calibration: See `policy`.
            alerts_per_day: See `policy`.
            threshold: See `policy`.
            rules: See `policy`.
            quality: Configuration of the frame-quality gate. Default: as shipped.
            zones: The parts of the picture that count. Default: all of it.
            on_event: Called with every change of an event.
            fps: Frames per second of pictures that come without a time. Default: the rate the model was trained at.

        Raises:
            CalibrationError: See `policy`.
        """
        policy = self.policy(
            camera=camera, calibration=calibration, alerts_per_day=alerts_per_day, threshold=threshold, rules=rules
        )
        return Session(self, policy, camera=camera, quality=quality, zones=zones, on_event=on_event, fps=fps)

    def score(
        self,
        source: str | Path | SourceSpec | Source | Iterable[Frame],
        *,
        camera: str = "video",
        calibration: Path | Calibration | None = None,
        alerts_per_day: float | None = None,
        threshold: float | None = None,
        rules: AlertPolicySpec | None = None,
        zones: Sequence[ZoneSpec] = (),
        on_event: Callable[[EventChange], None] | None = None,
    ) -> Iterator[FrameScore]:
        """Score every frame of a source.

        Without a calibration or a threshold, `is_alert` is False everywhere.

        Args:
            source: A path or an address, a specification, an open source, or frames.
            camera: Id that scores and events carry.
            calibration: See `policy`.
            alerts_per_day: See `policy`.
            threshold: See `policy`.
            rules: See `policy`.
            zones: The parts of the picture that count. Default: all of it.
            on_event: Called with every change of an event.

        Yields:
            One score per frame, in order. `score` is NaN where a frame has none; `skipped_reason` says why.

        Raises:
            SourceError: The source cannot be opened or read.
            EngineError: The engine failed.
            CalibrationError: See `policy`.
        """
        session = self.session(
            camera=camera, calibration=calibration, alerts_per_day=alerts_per_day, threshold=threshold, rules=rules,
            zones=zones, on_event=on_event,
        )  # fmt: skip
        with session, closing(session.run_source(source)) as results:
            for result in results:
                yield result.score

    def save(self, folder: str | Path) -> Path:
        """Copy the bundle, with its calibration, into a folder that does not exist or is empty.

        Returns:
            The folder; `streamad.load` takes it.

        Raises:
            OutputError: The folder holds something, or cannot be written to.
        """
        target = Path(folder)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise OutputError(f"{target} exists and is not an empty folder", hint="give a new folder")
        try:
            shutil.copytree(self.bundle.path, target, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write to {target}: {error.strerror or error}") from error
        self.bundle = load_bundle(target)
        return target

    def scorer(
        self,
        camera: str,
        local: PerLocationStatistics | None = None,
        *,
        quality: QualitySpec | None = None,
        zones: CurrentZones | None = None,
    ) -> CameraScorer:
        """Make a new scorer for one camera, behind the frame-quality gate.

        Args:
            camera: The configured id.
            local: Per-location statistics from the camera's calibration; each location is then scored relative to them.
            quality: The gate's configuration. Default: as shipped.
            zones: The camera's zones, which may be replaced later. None: it has none and will have none.
        """
        scorer = camera_scorer(self.bundle, camera, streaming=isinstance(self.engine, StatefulEngine), zones=zones)
        if local is not None:
            scorer = PerLocationScorer(scorer, local, camera)
        return gated(scorer, self.bundle, quality, camera=camera)

    def queue(self, on_batch: OnBatch | None = None) -> FrameQueue:
        """Make a queue to the engine."""
        if isinstance(self.engine, StatefulEngine):
            return StatefulQueue(self.engine, on_batch, full_runs=self._hint == "throughput")
        return Batcher(self.engine, on_batch)

    def warm_up(self) -> None:
        """Run every static batch size once, so that the first frame does not wait for that."""
        if isinstance(self.engine, StatefulEngine):
            self.engine.warm_up()
            return
        shape = self.bundle.manifest.input
        for size in self.engine.batch_sizes:
            self.engine.infer(np.zeros((size, shape.channels, shape.height, shape.width), np.float32))

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()


def open_model(
    name: str | Path | Bundle,
    engine: EngineSpec | None = None,
    *,
    hint: Literal["latency", "throughput"] = "latency",
    streaming: bool | None = None,
) -> Model:
    """Load a bundle, check it, and open its engine.

    Args:
        name: Path or name of the bundle, or the loaded bundle.
        engine: Which engine. Default: auto.
        hint: "latency" for live cameras, "throughput" for files.
        streaming: Run the form of the network that takes one frame at a time and carries state. Default: if the bundle
            has it. The scores are the same; False serves comparisons.

    Raises:
        BundleError: The bundle is missing or damaged.
        EngineError: The engine cannot run here.
    """
    bundle = name if isinstance(name, Bundle) else load_bundle(name)
    if bundle.manifest.fusion is not None:
        from streamad.inference.fused_model import FusedModel  # a model of models, which builds on this module

        return FusedModel(bundle, [open_model(m, engine, hint=hint, streaming=streaming) for m in bundle.members()])

    def build() -> Any:
        return detector_of(bundle).network(bundle.manifest)

    if streaming is None:
        streaming = bundle.streaming_path is not None and runs_streaming(engine)
    if streaming:
        return Model(bundle, _carrying(bundle, engine, hint, build), hint, engine_spec=engine)
    return Model(bundle, open_engine(bundle, engine, hint=hint, build_network=build), hint, engine_spec=engine)


def _carrying(
    bundle: Bundle, spec: EngineSpec | None, hint: Literal["latency", "throughput"], build: Callable[[], Any]
) -> StatefulEngine:
    def load() -> Any:
        from streamad.engines.torch_engine import load_weights

        return load_weights(build, bundle.weights_path)

    def convert(network: Any) -> Any:
        form = detector_of(bundle).streaming
        if form is None:
            raise EngineError(f"the detector {bundle.manifest.detector} has no streaming form")
        return form.network(network, bundle.manifest)

    return open_stateful_engine(bundle, spec, hint=hint, load_network=load, convert=convert)
