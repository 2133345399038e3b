"""Stateful networks run by OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from streamad.engines.base import EngineInfo
from streamad.engines.host_stateful import HostStatefulEngine
from streamad.engines.openvino_engine import check_int8, compile_config, first_inference, reason
from streamad.engines.openvino_runs import specialize_model
from streamad.engines.state_buffers import FRAMES, Array, parse_state_buffers
from streamad.engines.stateful import CAMERA_SIZES, RUN_SIZES
from streamad.errors import EngineError


class OpenVinoStatefulEngine(HostStatefulEngine):
    """A stateful network compiled by OpenVINO for static runs. State is read and written in place.

    Args:
        onnx: The network file.
        context: Number of preceding frames on which a frame's output depends.
        device: OpenVINO's device name.
        precision: "fp32"; "bf16" if the device supports it; "int8" for a quantized network.
        threads: Number of CPU threads. Default: OpenVINO chooses.
        run_sizes: See `StatefulEngine`.
        camera_sizes: See `StatefulEngine`. The network is compiled for every pair of sizes.
        why: Why this engine was chosen.

    Raises:
        EngineError: If OpenVINO cannot read or compile the network, or does not have the device.
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
        import openvino as ov  # slow to import (0.3 s), so only when needed

        self._tensor = ov.Tensor
        core = ov.Core()
        # One run at a time on all threads, in the requested precision even if the CPU supports a lower one.
        config = compile_config(core, device, precision, threads, "latency")
        self._requests: dict[tuple[int, int], Any] = {}  # by (frames, cameras) of a run
        self._spare: dict[tuple[int, int], dict[str, Array]] = {}
        try:
            model = core.read_model(onnx)
            self._state_buffers = parse_state_buffers(port.any_name for port in model.inputs)
            sources = {delay.source for delay in self._state_buffers}
            for run in product(run_sizes, camera_sizes):
                compiled = core.compile_model(specialize_model(model, *run), device, config)
                if precision == "int8":
                    check_int8(compiled, onnx, device)
                self._requests[run] = compiled.create_infer_request()
                self._spare[run] = {
                    port.any_name: np.empty(tuple(port.shape), np.float32)
                    for port in compiled.outputs
                    if not sources & port.names
                }
                ports = [*compiled.inputs, *compiled.outputs]
                # A port has its declared name and possibly the names of identical values.
                self._shapes = {name: tuple(port.shape)[1:] for port in ports for name in port.names}
            full_name = str(core.get_property(device, "FULL_DEVICE_NAME"))
        except RuntimeError as error:
            raise EngineError(
                f"OpenVINO cannot run {onnx} on {device}: {reason(error)}",
                hint="`streamad doctor` lists the devices; export the bundle again if the file is damaged",
            ) from error
        self._info = EngineInfo(
            "openvino", f"{device} ({full_name.strip()})", precision, str(ov.__version__).split("-")[0], why
        )
        first_inference(lambda: self.advance(self.new_state(), np.zeros((1, *self._shapes[FRAMES]), np.float32)))

    def close(self) -> None:
        """Free everything."""
        super().close()
        self._requests.clear()

    def _compute(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], cameras: int) -> None:
        run = len(inputs[FRAMES]) // cameras, cameras
        request = self._requests[run]
        # A request keeps its previous tensors. Rebind unused outputs to spare arrays, because that memory may be freed.
        given = {**self._spare[run], **inputs, **outputs}
        try:
            for name, values in given.items():
                request.set_tensor(name, self._tensor(values, shared_memory=True))
            # Do not use `infer()`: it computes in this thread, which is slower beside other work.
            request.start_async()
            request.wait()
        except RuntimeError as error:
            raise EngineError(
                f"OpenVINO failed on a run of {run[0]} frames of {cameras} cameras: {reason(error)}"
            ) from error
