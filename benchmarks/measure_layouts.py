"""Cost per frame of the streaming network in several memory layouts, measured in turns.

    python benchmarks/measure_layouts.py learned-noise-ped2 --rounds 5 --threads 1

Each layout is written from the bundle's weights and run by OpenVINO with its state. On a machine with other work,
processor time is the most reliable; with one thread, no thread waits for another.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from streamad.bundle import load_bundle
from streamad.detectors import detector_of
from streamad.detectors.learned_noise.streaming import folded_layers, shapes_and_state_buffers
from streamad.detectors.learned_noise.streaming_graph import GraphOperations, export_streaming, write_form
from streamad.detectors.learned_noise.subpixel_graph import export_quantizable
from streamad.engines.graph_writer import GraphWriter
from streamad.engines.openvino_stateful import OpenVinoStatefulEngine
from streamad.engines.state_buffers import state_buffer_name
from streamad.engines.stateful import StreamChunk
from streamad.engines.torch_engine import load_weights
from streamad.errors import BundleError

RUNS = (1, 2, 4, 8)
CAMERAS = (4,)
TURN_SECONDS = 0.5


class ChannelsFirst(GraphOperations):
    """The form whose state values have ONNX's layout."""

    def _carry_out(self, value: str, name: str, length: int | str) -> None:
        self._graph.output(value, name, (length, *self._shapes[name]))

    def _carry_in(self, name: str, frames: int, length: int | str) -> str:
        return self._graph.input(state_buffer_name(name, frames), (length, *self._shapes[name]))


def export_channels_first(network: Any, manifest: Any, path: Path) -> None:
    layers = folded_layers(network.reconstructor)
    shapes, _ = shapes_and_state_buffers(layers, manifest.input.height, manifest.input.width)
    graph = GraphWriter("streaming")
    write_form(graph, ChannelsFirst(graph, layers, False, shapes), shapes, "frames", path)


Contender = tuple[OpenVinoStatefulEngine, int, int]


def engines(model: str, folder: Path, threads: int | None, precisions: list[str]) -> dict[str, Contender]:
    """Map each layout to (engine, frames per camera in a run, cameras in a run)."""
    bundle = load_bundle(model)
    network = load_weights(lambda: detector_of(bundle).network(bundle.manifest), bundle.weights_path)
    context = (bundle.manifest.tiling.window or 1) - 1
    native, phases, first = (folder / f"{name}.onnx" for name in ("native", "phases", "first"))
    export_channels_first(network, bundle.manifest, first)
    export_streaming(network, bundle.manifest, native, False)
    export_quantizable(network, bundle.manifest, phases)
    found: dict[str, Contender] = {}

    def runs(name: str, path: Path, precision: str, counts: tuple[int, ...], cameras: tuple[int, ...]) -> None:
        for frames, side in [*((count, 1) for count in counts), *((1, number) for number in cameras)]:
            engine = OpenVinoStatefulEngine(
                path,
                context,
                precision=precision,
                threads=threads,
                run_sizes=(1, frames) if frames > 1 else (1,),
                camera_sizes=(1, side) if side > 1 else (1,),
            )
            how = f"runs of {frames}" if side == 1 else f"{side} cameras in a run"
            found[f"{precision}, {name}, {how}"] = engine, frames, side

    for precision in (p for p in precisions if p != "int8"):
        runs("transposed convolutions", native, precision, RUNS, CAMERAS)
        runs("carried channels first", first, precision, (1,), ())
        runs("four convolutions for each", phases, precision, (1,), ())
    if "int8" in precisions:
        try:
            path = bundle.network_path("int8", streaming=True)
        except BundleError:
            return found
        runs("four convolutions for each", path, "int8", RUNS, CAMERAS)
    return found


def measure(engine: OpenVinoStatefulEngine, count: int, states: list[Any], frames: Any) -> tuple[float, float]:
    """Return (milliseconds, processor milliseconds) per frame of one turn."""
    pieces = [StreamChunk(state, frames[:count]) for state in states]
    done, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < TURN_SECONDS:
        engine.run_together(pieces)
        done += count * len(states)
    return 1e3 * (time.perf_counter() - wall) / done, 1e3 * (time.process_time() - cpu) / done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16", "int8"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = engines(given.model, Path(folder), given.threads, given.precisions)
        states = {name: [engine.new_state() for _ in range(side)] for name, (engine, _, side) in found.items()}
        shape = next(iter(found.values()))[0].frame_shape
        frames = np.random.default_rng(0).uniform(-1, 1, (max(RUNS), *shape)).astype(np.float32)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in found}
        for number in range(given.rounds + 1):
            for name, (engine, count, _) in found.items():
                time.sleep(0.1)
                turn = measure(engine, count, states[name], frames)
                if number:  # the first round is a warm-up
                    times[name].append(turn)
        for engine, _, _ in found.values():
            engine.close()
    for name, turns in times.items():
        wall, cpu = np.median(np.array(turns), axis=0)
        print(json.dumps({"layout": name, "ms": round(float(wall), 2), "cpu_ms": round(float(cpu), 2)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
