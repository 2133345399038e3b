"""An engine in NumPy for this detector's models: it reads the weights, and needs no ONNX runtime."""

from __future__ import annotations

import numpy as np

from framediff.model import Model
from streamad.bundle import Bundle
from streamad.engines import EngineInfo, EnginePlugin, EngineSpec
from streamad.engines.base import Batch, Engine
from streamad.engines.threaded import ThreadedEngine
from streamad.errors import EngineError


class NumpyEngine(ThreadedEngine):
    """Runs the model in this process, one batch after the other."""

    def __init__(self, model: Model, batch_sizes: tuple[int, ...], info: EngineInfo) -> None:
        super().__init__(batch_sizes)
        self._model = model
        self._info = info

    def infer(self, batch: Batch) -> Batch:
        """See `Engine.infer`."""
        return self._model(batch)


class NumpyEnginePlugin(EnginePlugin):
    """The engine as the registry knows it."""

    name = "frame_difference_numpy"  # as in pyproject.toml

    def open(self, bundle: Bundle, spec: EngineSpec, *, batch_sizes: tuple[int, ...], why: str) -> Engine:
        """See `EnginePlugin.open`."""
        if bundle.manifest.detector != "frame_difference":
            raise EngineError(f"the engine {self.name} runs no models of {bundle.manifest.detector}")
        from safetensors.numpy import load_file

        weights = load_file(bundle.weights_path)
        model = Model(weights["mean"], weights["deviation"])
        return NumpyEngine(model, batch_sizes, EngineInfo(self.name, "CPU", "fp32", np.__version__, why))


ENGINE = NumpyEnginePlugin()
