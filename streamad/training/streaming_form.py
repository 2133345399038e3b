"""The streaming form of a trained network: written, and compared with the network that it was made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from streamad.bundle import CARD, STREAMING, Bundle, Manifest, Parity, write_manifest
from streamad.detectors import detector_parts
from streamad.detectors.base import load_part
from streamad.engines.export import measure_stateful_parity, wants_half_weights
from streamad.engines.openvino_stateful import OpenVinoStatefulEngine
from streamad.errors import UsageError
from streamad.files import write_atomic
from streamad.training.card import card


def write_streaming_form(
    network: nn.Module, manifest: Manifest, path: Path, windows: npt.NDArray[np.float32]
) -> Parity | None:
    """Write the form of a network that carries state, where its detector has one, and measure its parity with torch.

    Args:
        network: trained, as it is exported; on windows.
        manifest: of its bundle.
        path: the ONNX file to write.
        windows: (n, frames, height, width) float32 inputs to compare on.

    Returns:
        The parity; None where the detector has no such form, and nothing is written.
    """
    writer = detector_parts(manifest.detector).streaming_graph
    if writer is None:
        return None
    load_part(writer)(network, manifest, path, wants_half_weights(network))
    engine = OpenVinoStatefulEngine(path, (manifest.tiling.window or 1) - 1)
    try:
        return measure_stateful_parity(engine, network, windows)
    finally:
        engine.close()


def add_streaming_form(bundle: Bundle, network: nn.Module, windows: npt.NDArray[np.float32]) -> tuple[Bundle, Parity]:
    """Put the streaming form into a bundle that was made without it; network, weights and calibration stay as they are.

    Raises:
        UsageError: the bundle's detector has no such form.
    """
    parity = write_streaming_form(network, bundle.manifest, bundle.path / STREAMING, windows)
    if parity is None:
        raise UsageError(f"the detector {bundle.manifest.detector} has no streaming form to add to {bundle.name}")
    others = tuple(p for p in bundle.manifest.parity if p.file != STREAMING)
    manifest = bundle.manifest.model_copy(update={"parity": (*others, parity)})
    write_atomic(bundle.path / CARD, card(manifest))
    return write_manifest(bundle.path, manifest), parity
