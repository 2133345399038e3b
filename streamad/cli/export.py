"""`streamad export`: a bundle's network for an engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamad.cli.common import JsonOption, emit, output_folder, say
from streamad.errors import EngineError, UsageError

if TYPE_CHECKING:
    from streamad.bundle import Bundle


def export(
    model: Annotated[str, typer.Argument(help="Model bundle: a folder, or a name of `models list`.")],
    engine: Annotated[str, typer.Option("--engine", help="onnx or openvino.")] = "openvino",
    precision: Annotated[str, typer.Option("--precision", help="fp32.")] = "fp32",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the files.")] = Path("runs/export"),
    add_streaming: Annotated[
        bool,
        typer.Option("--add-streaming", help="Put the streaming form into the bundle itself; nothing else is written."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a bundle's network from its trained weights for an engine, and measure its parity with torch."""
    if engine not in ("onnx", "openvino"):
        raise UsageError(f"--engine {engine!r}: expected onnx or openvino")
    if precision != "fp32":
        raise UsageError(f"--precision {precision!r}: this version exports fp32")
    try:
        from streamad.engines.torch_engine import load_weights
        from streamad.training.streaming_form import add_streaming_form
    except ModuleNotFoundError as error:
        raise EngineError(f"export needs the module {error.name}", hint="pip install 'streamad[train]'") from error
    import numpy as np

    from streamad.bundle import load_bundle
    from streamad.detectors import detector_parts
    from streamad.detectors.base import load_part

    bundle = load_bundle(model)
    manifest = bundle.manifest
    network = load_weights(lambda: load_part(detector_parts(manifest.detector).network)(manifest), bundle.weights_path)
    shape = (manifest.input.channels, manifest.input.height, manifest.input.width)
    # Tiles over the whole input range: a bundle carries no picture of anybody's camera.
    count = 256 if manifest.tiling.kind == "cells" else 2
    pixels = np.random.default_rng(0).uniform(0, 255, (count, *shape)).astype(np.float32)
    tiles = pixels / np.float32(manifest.input.scale) + np.float32(manifest.input.offset)
    if add_streaming:
        added, parity = add_streaming_form(bundle, network, tiles)
        files: list[dict[str, Any]] = [{"file": str(added.streaming_path), "parity": parity.model_dump()}]
    else:
        files = _write(bundle, network, tiles, engine, output_folder(out))
    if as_json:
        emit({"engine": engine, "precision": precision, **files[0], "files": files})
        return
    for entry in files:
        found = entry["parity"]
        say(
            f"{entry['file']}: largest difference to torch {found['max_abs_output']:.1e} over {found['tiles']} random "
            "tiles"
        )


def _write(bundle: Bundle, network: Any, tiles: Any, engine: str, folder: Path) -> list[dict[str, Any]]:
    """Write the network, and its streaming form where there is one; each with its parity."""
    from streamad.engines.base import batch_sizes_for
    from streamad.engines.export import export_onnx, export_openvino, measure_parity, wants_half_weights
    from streamad.engines.openvino_engine import OpenVinoEngine
    from streamad.training.streaming_form import write_streaming_form

    manifest = bundle.manifest
    path = folder / f"{bundle.name}.onnx"
    export_onnx(network, tiles.shape[1:], path, half_weights=wants_half_weights(network))
    streaming = folder / f"{bundle.name}-streaming.onnx"
    second = write_streaming_form(network, manifest, streaming, tiles)
    running = OpenVinoEngine(path, batch_sizes=batch_sizes_for(manifest.tiling.kind))
    try:
        first = measure_parity(running, network, tiles)
    finally:
        running.close()
    files = [(path, first)] if second is None else [(path, first), (streaming, second)]
    if engine == "openvino":
        for source, _ in files:
            export_openvino(source, source.with_suffix(".xml"))
            source.unlink()
    suffix = ".xml" if engine == "openvino" else ".onnx"
    return [{"file": str(p.with_suffix(suffix)), "parity": parity.model_dump()} for p, parity in files]
