"""A bundle with the engine that runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from streamad.bundle import Bundle, load_bundle
from streamad.calibration import PerLocationStatistics
from streamad.detectors import CameraScorer, camera_scorer, detector_of
from streamad.detectors.per_location_scorer import PerLocationScorer
from streamad.engines import (
    Engine,
    EngineSpec,
    StatefulEngine,
    open_engine,
    open_stateful_engine,
    runs_streaming,
)
from streamad.errors import EngineError
from streamad.inference.batching import Batcher
from streamad.inference.frame_queue import FrameQueue, OnBatch
from streamad.inference.gated_scorer import gated
from streamad.inference.stateful_queue import StatefulQueue
from streamad.sources.quality import QualitySpec


class Model:
    """A loaded model: its bundle and its engine, warm.

    Attributes:
        bundle: the checked bundle.
        engine: what runs its network; one that carries state runs its streaming form.

    Args:
        bundle: the checked bundle.
        engine: what runs its network.
        hint: "throughput" fills runs of a network that carries state, "latency" starts what is there.
    """

    def __init__(
        self, bundle: Bundle, engine: Engine | StatefulEngine, hint: Literal["latency", "throughput"] = "latency"
    ) -> None:
        self.bundle = bundle
        self.engine = engine
        self._hint = hint

    def scorer(
        self, camera: str, local: PerLocationStatistics | None = None, *, quality: QualitySpec | None = None
    ) -> CameraScorer:
        """A fresh scorer for one camera, behind the frame-quality gate.

        Args:
            camera: its configured id.
            local: of its calibration: cells are then held against what is normal at their place.
            quality: the gate's configuration; None: as shipped.
        """
        scorer = camera_scorer(self.bundle, camera, streaming=isinstance(self.engine, StatefulEngine))
        if local is not None:
            scorer = PerLocationScorer(scorer, local, camera)
        return gated(scorer, self.bundle, quality, camera=camera)

    def queue(self, on_batch: OnBatch | None = None) -> FrameQueue:
        """What takes frames to the engine and their scores back."""
        if isinstance(self.engine, StatefulEngine):
            return StatefulQueue(self.engine, on_batch, full_runs=self._hint == "throughput")
        return Batcher(self.engine, on_batch)

    def warm_up(self) -> None:
        """Run every static batch size once, so that the first frame does not wait for it."""
        if isinstance(self.engine, StatefulEngine):
            self.engine.warm_up()
            return
        shape = self.bundle.manifest.input
        for size in self.engine.batch_sizes:
            self.engine.infer(np.zeros((size, shape.channels, shape.height, shape.width), np.float32))

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_model(
    name: str | Path | Bundle,
    engine: EngineSpec | None = None,
    *,
    hint: Literal["latency", "throughput"] = "latency",
    streaming: bool | None = None,
) -> Model:
    """Load a bundle, check it, and open its engine.

    Args:
        name: path or name of the bundle, or the loaded bundle.
        engine: which engine; None is auto.
        hint: latency for live cameras, throughput for files.
        streaming: run the form of the network that takes one frame at a time and carries the rest; None: where the
            bundle has it. The scores are the same; False serves comparisons.

    Raises:
        BundleError: the bundle is missing or damaged.
        EngineError: the engine cannot run here.
    """
    bundle = name if isinstance(name, Bundle) else load_bundle(name)
    if bundle.manifest.fusion is not None:
        from streamad.inference.fused_model import FusedModel  # a model of models: it builds on this module

        return FusedModel(bundle, [open_model(m, engine, hint=hint, streaming=streaming) for m in bundle.members()])

    def build() -> Any:
        return detector_of(bundle).network(bundle.manifest)

    if streaming is None:
        streaming = bundle.streaming_path is not None and runs_streaming(engine)
    if streaming:
        return Model(bundle, _carrying(bundle, engine, hint, build), hint)
    return Model(bundle, open_engine(bundle, engine, hint=hint, build_network=build), hint)


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
