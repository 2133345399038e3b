"""Writing a model that was fitted in closed form as a bundle; needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamad.bundle import CARD, ONNX, WEIGHTS, Bundle, Manifest, Parity, write_manifest
from streamad.engines.base import Engine, batch_sizes_for
from streamad.engines.openvino_engine import OpenVinoEngine
from streamad.errors import EngineError, OutputError
from streamad.files import write_atomic

Array = npt.NDArray[np.float32]


def make_folder(out: Path) -> None:
    """Make the folder of a bundle, before time is spent on fitting.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror}", hint="give another folder") from error


def write_fitted_bundle(
    out: Path,
    manifest: Manifest,
    *,
    weights: Mapping[str, npt.NDArray[np.generic]],
    write_network: Callable[[Path], None],
    reference: Callable[[Array], Array],
    inputs: Array,
    card: Callable[[Manifest], str],
) -> Bundle:
    """Write the bundle of a fitted model, with the parity of its network measured.

    Args:
        out: Folder of the bundle.
        manifest: Its manifest, without parity and files.
        weights: What was fitted, by name.
        write_network: Writes the network to an ONNX file.
        reference: The model in NumPy: from inputs to outputs.
        inputs: (n, channels, height, width) inputs to compare on, from normal video.
        card: Makes the model card, as `Detector.card` does.

    Raises:
        EngineError: A module is missing, or the network does not run.
    """
    try:
        from safetensors.numpy import save

        write_atomic(out / WEIGHTS, save(dict(weights)))  # its own save_file lets nobody else read the file
        write_network(out / ONNX)
    except ModuleNotFoundError as error:
        raise EngineError(
            f"writing a model needs the module {error.name}", hint="reinstall streamad with its dependencies"
        ) from error
    engine = OpenVinoEngine(out / ONNX, batch_sizes=batch_sizes_for(manifest.tiling.kind))
    try:
        parity = _parity(engine, reference, inputs)
    finally:
        engine.close()
    manifest = manifest.model_copy(update={"parity": (parity,)})
    write_atomic(out / CARD, card(manifest))
    return write_manifest(out, manifest)


def _parity(engine: Engine, reference: Callable[[Array], Array], inputs: Array) -> Parity:
    """Measure the largest difference between the engine and the model in NumPy, in every static batch size."""
    expected = reference(inputs)
    worst = 0.0
    for size in engine.batch_sizes:
        for start in range(0, len(inputs), size):
            got = engine.infer(inputs[start : start + size])
            worst = max(worst, float(np.abs(got - expected[start : start + size]).max()))
    info = engine.info
    return Parity(
        engine=info.name,
        precision=info.precision,
        version=info.version,
        tiles=len(inputs),
        max_abs_output=worst,
        batch_sizes=engine.batch_sizes,
    )
