"""Create the 8-bit variant of a bundle's network: calibrated on video, compared with PyTorch on other parts of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamad.bundle import Bundle, Parity, write_manifest
from streamad.detectors import Detector, camera_scorer, detector_of
from streamad.engines import EngineSpec, open_engine, open_stateful_engine
from streamad.engines.int8 import Sample, write_int8
from streamad.errors import EngineError, UsageError
from streamad.inference.reading import open_frames
from streamad.preprocessing import ModelInput
from streamad.sources import SourceSpec

PIECES = 256
"""Number of frames to keep of the video, up to twice as many: half for calibration, half for the comparison. NNCF's
default is 300 samples; on UCSD Ped2, the activation ranges do not change beyond 100."""

STREAMING_PIECES = 32
"""The same for stateful networks, in pieces of video: the network's context, then `FOLLOWING` frames."""

FOLLOWING = 4
"""Frames of a piece that follow its context and are used for calibration."""

COMPARED = 8
"""Number of windows to compare with PyTorch: each takes about a second at full width."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Carried:
    """Calibration inputs of a stateful network, computed again in each iteration.

    Attributes:
        network: The network's float32 form.
        context: Number of earlier frames that an output depends on.
        pieces: Pieces of video, (frames, height, width) each.
    """

    network: Path
    context: int
    pieces: Sequence[Array]

    def __len__(self) -> int:
        return sum(len(piece) - self.context for piece in self.pieces)

    def __iter__(self) -> Iterator[Sample]:
        from streamad.engines.openvino_stateful import OpenVinoStatefulEngine

        with closing(OpenVinoStatefulEngine(self.network, self.context)) as engine:
            for piece in self.pieces:
                state = engine.new_state()
                for number, frame in enumerate(piece[:, None, None]):
                    if number >= self.context:
                        yield engine.next_inputs(state, frame)
                    engine.advance(state, frame)


def add_int8(bundle: Bundle, clips: Sequence[SourceSpec]) -> tuple[Bundle, Path, Parity]:
    """Write the 8-bit variant of a bundle's network into the bundle, with its parity with PyTorch.

    If the network has a stateful form, that form is quantized, else the network itself. Every other piece of the video
    is used for calibration, the rest for the comparison.

    Args:
        bundle: The model; its network, weights and calibration are not changed.
        clips: Normal video of the model's camera.

    Returns:
        The updated bundle, the variant's file, and its parity.

    Raises:
        UsageError: The clips give the network too few inputs, or the detector's streaming form has no 8-bit variant.
        EngineError: NNCF is not installed, or OpenVINO does not compute in 8 bits on this machine.
        SourceError: A clip cannot be read.
    """
    detector = detector_of(bundle)
    carrying = bundle.streaming_path is not None
    pieces = _pieces(bundle, clips, carrying)
    if len(pieces) < 2:
        raise UsageError(
            f"the clips give {bundle.name} too little to see: {len(pieces)} pieces, 2 are needed",
            hint="give longer clips of its camera, in which something moves",
        )
    with tempfile.TemporaryDirectory(dir=bundle.path, prefix=".int8-") as folder:
        made = Path(folder) / bundle.variant_file("int8", streaming=carrying)
        network = _network(bundle, detector)
        if carrying:
            _quantize_stateful(bundle, detector, network, pieces[::2], made)
        else:
            batches = pieces[::2]
            name = _input_name(bundle.onnx_path)
            write_int8(bundle.onnx_path, made, [{name: batch} for batch in batches], len(batches))
        written = []
        for file in sorted(made.parent.glob(f"{made.stem}.*")):  # .bin before .xml
            shutil.copyfile(file, bundle.path / file.name)  # with normal permissions, not those of the temporary folder
            written.append(bundle.path / file.name)
    # Record the hashes of the new files, so that the engine can be opened the usual way.
    draft = write_manifest(bundle.path, bundle.manifest)
    try:
        parity = _parity(draft, detector, network, pieces[1::2], carrying)
    except EngineError:  # do not leave behind a variant that cannot run here
        for file in written:
            file.unlink()
        write_manifest(bundle.path, bundle.manifest)
        raise
    target = draft.network_path("int8", streaming=carrying)
    parity = parity.model_copy(update={"file": target.name})
    others = tuple(p for p in bundle.manifest.parity if p.file != target.name)
    manifest = bundle.manifest.model_copy(update={"parity": (*others, parity)})
    return write_manifest(bundle.path, manifest), target, parity


def _quantize_stateful(bundle: Bundle, detector: Detector, network: Any, pieces: Sequence[Array], made: Path) -> None:
    assert detector.streaming is not None
    with tempfile.TemporaryDirectory() as folder:
        exact = Path(folder) / "streaming.onnx"
        detector.streaming.export_quantizable(network, bundle.manifest, exact)
        samples = _Carried(exact, (bundle.manifest.tiling.window or 1) - 1, pieces)
        write_int8(exact, made, samples, len(samples))


def _parity(bundle: Bundle, detector: Detector, network: Any, pieces: Sequence[Array], carrying: bool) -> Parity:
    from streamad.engines.export import measure_parity, measure_stateful_parity

    spec, scores = EngineSpec(name="openvino", precision="int8"), detector.frame_scores(bundle.manifest)
    if carrying:
        length = bundle.manifest.tiling.window or 1
        chosen = pieces[:: -(-len(pieces) // COMPARED)]
        windows = np.stack([piece[:length] for piece in chosen])
        with closing(open_stateful_engine(bundle, spec)) as engine:
            return measure_stateful_parity(engine, network, windows, scores)
    cells = bundle.manifest.tiling.kind == "cells"
    with closing(open_engine(bundle, spec)) as running:
        tiles = np.concatenate(pieces)[: running.batch_sizes[-1] if cells else COMPARED]
        return measure_parity(running, network, tiles, scores)


def _pieces(bundle: Bundle, clips: Sequence[SourceSpec], carrying: bool) -> list[Array]:
    """Return pieces spread evenly over the clips: network inputs for single frames, or runs of frames if `carrying`."""
    kept: list[Array] = []
    wanted = STREAMING_PIECES if carrying else PIECES
    stride = 1
    for number, piece in enumerate(_windows(bundle, clips) if carrying else _batches(bundle, clips)):
        if number % stride:
            continue
        kept.append(piece())
        if len(kept) == 2 * wanted:  # the video's length is not known in advance
            kept, stride = kept[::2], 2 * stride
    return kept


def _batches(bundle: Bundle, clips: Sequence[SourceSpec]) -> Iterator[Any]:
    for tiles in _tiles(bundle, clips):
        if len(tiles.batch):
            yield lambda tiles=tiles: tiles.batch[:64]


def _windows(bundle: Bundle, clips: Sequence[SourceSpec]) -> Iterator[Any]:
    """Yield the frames of every `FOLLOWING` consecutive windows."""
    run: list[ModelInput] = []
    for tiles in _tiles(bundle, clips):
        if run and tiles.index != run[-1].index + 1:
            run.clear()
        run.append(tiles)
        if len(run) == FOLLOWING:
            found, run = run, []
            yield lambda found=found: np.concatenate([found[0].batch[0], *(later.batch[0, -1:] for later in found[1:])])


def _tiles(bundle: Bundle, clips: Sequence[SourceSpec]) -> Iterator[ModelInput]:
    scorer = camera_scorer(bundle, "calibration", streaming=False)  # one camera: all clips share its background
    for clip in clips:
        with closing(open_frames(clip, "calibration")) as frames:
            for frame in frames:
                tiles = scorer.preprocess(frame)
                if tiles is not None and tiles.skipped_reason is None:
                    yield tiles


def _network(bundle: Bundle, detector: Detector) -> Any:
    from streamad.engines.torch_engine import load_weights

    return load_weights(lambda: detector.network(bundle.manifest), bundle.weights_path)


def _input_name(onnx: Path) -> str:
    import openvino as ov

    return str(ov.Core().read_model(onnx).input(0).any_name)
