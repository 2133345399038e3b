"""Networks that carry state, run by OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from streamad.engines.base import EngineInfo
from streamad.engines.host_stateful import HostStatefulEngine
from streamad.engines.openvino_engine import check_int8, first_inference, precision_config, reason
from streamad.engines.openvino_runs import set_run
from streamad.engines.state_buffers import FRAMES, Array, StateBuffer, parse_state_buffers
from streamad.engines.stateful import CAMERA_SIZES, RUN_SIZES
from streamad.errors import EngineError


class OpenVinoStatefulEngine(HostStatefulEngine):
    """A network compiled by OpenVINO for static runs; it reads and writes the carried values where they lie.

    Args:
        onnx: the network.
        context: frames before a frame that its answer depends on.
        device: OpenVINO's device name.
        precision: fp32; bf16 where the device has it; int8 for a network that was quantized.
        threads: CPU threads; None lets OpenVINO choose.
        run_sizes: see `StatefulEngine`.
        camera_sizes: see `StatefulEngine`; the network is compiled for every pair of sizes.
        why: why this engine was taken.

    Raises:
        EngineError: OpenVINO cannot read or compile the network, or has no such device.
    """

    def __init__(
        self,
        onnx: Path,
        context: int,
        *,
        device: str = "CPU",
        precision: str = "fp32",
        threads: int | None = None,
        run_sizes: tuple[int, ...] = RUN_SIZES,
        camera_sizes: tuple[int, ...] = CAMERA_SIZES,
        why: str = "",
    ) -> None:
        super().__init__(context, run_sizes, camera_sizes)
        import openvino as ov  # slow to import (0.3 s): only who runs it pays

        self._tensor = ov.Tensor
        core = ov.Core()
        # One run at a time on all threads; in the precision asked for also where the CPU could do less.
        config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", **precision_config(core, device, precision)}
        if threads is not None and device == "CPU":
            config["INFERENCE_NUM_THREADS"] = threads
        self._requests: dict[tuple[int, int], Any] = {}  # by frames and cameras of a run
        self._spare: dict[tuple[int, int], dict[str, Array]] = {}
        try:
            model = core.read_model(onnx)
            self._carried = parse_state_buffers(port.any_name for port in model.inputs)
            sources = {delay.source for delay in self._carried}
            for run in product(run_sizes, camera_sizes):
                compiled = core.compile_model(set_run(model, *run), device, config)
                if precision == "int8":
                    check_int8(compiled, onnx, device)
                self._requests[run] = compiled.create_infer_request()
                self._spare[run] = {
                    port.any_name: np.empty(tuple(port.shape), np.float32)
                    for port in compiled.outputs
                    if not sources & port.names
                }
                ports = [*compiled.inputs, *compiled.outputs]
                # A port has the name that it was declared with and perhaps those of values that it is the same as.
                self._shape_of = {name: tuple(port.shape)[1:] for port in ports for name in port.names}
            full_name = str(core.get_property(device, "FULL_DEVICE_NAME"))
        except RuntimeError as error:
            raise EngineError(
                f"OpenVINO cannot run {onnx} on {device}: {reason(error)}",
                hint="`streamad doctor` lists the devices; export the bundle again if the file is damaged",
            ) from error
        self._info = EngineInfo(
            "openvino", f"{device} ({full_name.strip()})", precision, str(ov.__version__).split("-")[0], why
        )
        first_inference(lambda: self.advance(self.new_state(), np.zeros((1, *self._shape_of[FRAMES]), np.float32)))

    @property
    def info(self) -> EngineInfo:
        """What really runs."""
        return self._info

    def close(self) -> None:
        """Free everything."""
        super().close()
        self._requests.clear()

    def _state_buffers(self) -> tuple[StateBuffer, ...]:
        return self._carried

    def _shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self._shape_of

    def _compute(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], cameras: int) -> None:
        run = len(inputs[FRAMES]) // cameras, cameras
        request = self._requests[run]
        # A request keeps what it was given last: memory that is gone by now, where an output is not asked for again.
        given = {**self._spare[run], **inputs, **outputs}
        try:
            for name, values in given.items():
                request.set_tensor(name, self._tensor(values, shared_memory=True))
            # Started and waited for, not `infer()`, which computes in this thread and is slower beside other work.
            request.start_async()
            request.wait()
        except RuntimeError as error:
            raise EngineError(
                f"OpenVINO failed on a run of {run[0]} frames of {cameras} cameras: {reason(error)}"
            ) from error
