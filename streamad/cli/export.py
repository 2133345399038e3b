"""`streamad export`: a bundle's network for an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamad.cli.common import JsonOption, emit, output_folder, say
from streamad.errors import EngineError, UsageError


def export(
    model: Annotated[str, typer.Argument(help="Model bundle: a folder, or a name of `models list`.")],
    engine: Annotated[str, typer.Option("--engine", help="onnx or openvino.")] = "openvino",
    precision: Annotated[str, typer.Option("--precision", help="fp32.")] = "fp32",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the files.")] = Path("runs/export"),
    as_json: JsonOption = False,
) -> None:
    """Write a bundle's network from its trained weights for an engine, and measure its parity with torch."""
    if engine not in ("onnx", "openvino"):
        raise UsageError(f"--engine {engine!r}: expected onnx or openvino")
    if precision != "fp32":
        raise UsageError(f"--precision {precision!r}: this version exports fp32")
    try:
        from streamad.engines.export import (
            export_onnx,
            export_openvino,
            measure_parity,
            wants_half_weights,
        )
        from streamad.engines.torch_engine import load_weights
    except ModuleNotFoundError as error:
        raise EngineError(f"export needs the module {error.name}", hint="pip install 'streamad[train]'") from error
    import numpy as np

    from streamad.bundle import load_bundle
    from streamad.detectors import detector_parts
    from streamad.detectors.base import load_part
    from streamad.engines.base import batch_sizes_for
    from streamad.engines.openvino_engine import OpenVinoEngine

    bundle = load_bundle(model)
    manifest = bundle.manifest
    folder = output_folder(out)
    network = load_weights(lambda: load_part(detector_parts(manifest.detector).network)(manifest), bundle.weights_path)
    shape = (manifest.input.channels, manifest.input.height, manifest.input.width)
    path = folder / f"{bundle.name}.onnx"
    cells = manifest.tiling.kind == "cells"
    export_onnx(network, shape, path, half_weights=wants_half_weights(network))
    if engine == "openvino":
        onnx, path = path, folder / f"{bundle.name}.xml"
        export_openvino(onnx, path)
        onnx.unlink()
    # Tiles over the whole input range: a bundle carries no picture of anybody's camera.
    pixels = np.random.default_rng(0).uniform(0, 255, (256 if cells else 2, *shape)).astype(np.float32)
    tiles = pixels / np.float32(manifest.input.scale) + np.float32(manifest.input.offset)
    running = OpenVinoEngine(path, batch_sizes=batch_sizes_for(manifest.tiling.kind))
    try:
        parity = measure_parity(running, network, tiles)
    finally:
        running.close()
    if as_json:
        emit({"file": str(path), "engine": engine, "precision": precision, "parity": parity.model_dump()})
    else:
        say(f"{path}: largest difference to torch {parity.max_abs_output:.1e} over {parity.tiles} random tiles")
