"""A bundle with the engine that runs it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from streamad.bundle import Bundle, load_bundle
from streamad.detectors import CameraScorer, camera_scorer, detector_parts
from streamad.detectors.base import load_part
from streamad.engines import Engine, EngineSpec, open_engine


class Model:
    """A loaded model: its bundle and its engine, warm.

    Attributes:
        bundle: the checked bundle.
        engine: what runs its network.
    """

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self.bundle = bundle
        self.engine = engine

    def scorer(self, camera: str) -> CameraScorer:
        """A fresh scorer for one camera."""
        return camera_scorer(self.bundle, camera)

    def warm_up(self) -> None:
        """Run every static batch size once, so that the first frame does not wait for it."""
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
) -> Model:
    """Load a bundle, check it, and open its engine.

    Args:
        name: path or name of the bundle, or the loaded bundle.
        engine: which engine; None is auto.
        hint: latency for live cameras, throughput for files.

    Raises:
        BundleError: the bundle is missing or damaged.
        EngineError: the engine cannot run here.
    """
    bundle = name if isinstance(name, Bundle) else load_bundle(name)

    def build() -> Any:
        return load_part(detector_parts(bundle.manifest.detector).network)(bundle.manifest)

    return Model(bundle, open_engine(bundle, engine, hint=hint, build_network=build))
