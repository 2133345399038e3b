"""`streamad export`: variants of a bundle's network for engines, each with its parity with torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from streamad.cli.common import (
    FpsOption,
    JsonOption,
    ModelArgument,
    clips_of,
    emit,
    end_with,
    one_of,
    out_option,
    output_folder,
    say,
)
from streamad.cli.completion import complete_from
from streamad.cli.help import opt
from streamad.errors import EngineError, UsageError, install_hint

if TYPE_CHECKING:
    from streamad.bundle import Bundle, Parity
    from streamad.engines.base import Engine
    from streamad.engines.stateful import StatefulEngine
    from streamad.engines.tensorrt.engine import TensorRtOptions
    from streamad.engines.tensorrt.library import LibraryName
    from streamad.sources import Clips

ENGINES = {
    "onnx": ("fp32", "fp16"),
    "openvino": ("fp32", "int8"),
    "tensorrt": ("fp32", "fp16"),
    "tensorrt-rtx": ("fp32", "fp16"),
}
"""Engines that models are exported for, and the precisions of each."""


def export(
    model: ModelArgument,
    engine: Annotated[
        str,
        opt("--engine", unit="NAME", help="onnx, openvino, tensorrt or tensorrt-rtx.", complete=complete_from(ENGINES)),
    ] = "openvino",
    precision: Annotated[
        str,
        opt(
            "--precision",
            unit="NAME",
            help="fp32; fp16 (onnx, tensorrt, tensorrt-rtx) or int8 (openvino).",
            complete=complete_from(("fp32", "fp16", "int8")),
        ),
    ] = "fp32",
    device: Annotated[
        str | None, opt("--device", unit="DEVICE", help="TensorRT: GPU, cuda:N. Default: the first.")
    ] = None,
    add_streaming: Annotated[
        bool, opt("--add-streaming", help="Only add the streaming form to a learned_noise bundle.")
    ] = False,
    clips: Annotated[
        list[Path] | None,
        opt(
            "--data",
            unit="PATH",
            help="int8: normal video of the camera, or a folder of it; repeatable.",
            panel="Input",
        ),
    ] = None,
    fps: FpsOption = 25.0,
    out: Annotated[
        Path | None,
        out_option("Write files for other programs (onnx, openvino) here. Default: a variant in the bundle."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Export a model's network for an engine.

    Writes a variant into the bundle, with its measured parity with torch; or, with --out, files for other programs.
    Needs the train extra.

    Examples:
        streamad export models/gate-adacl --engine onnx --precision fp16
        streamad export models/gate-adacl --engine openvino --precision int8 --data normal/
    """
    one_of("--engine", engine, tuple(ENGINES))
    if precision not in ENGINES[engine]:
        raise UsageError(
            f"--precision {precision!r}: {engine} supports {' and '.join(ENGINES[engine])}",
            hint="fp16 is for GPUs: --engine tensorrt, or --engine onnx to write the file without a GPU; "
            "int8 is for CPUs: --engine openvino",
        )
    if (clips is not None) != (precision == "int8"):
        raise UsageError(
            "int8 is calibrated on video: --precision int8 and --data go together",
            hint="give normal video of the camera with --data" if clips is None else "omit --data",
        )
    if precision == "int8" and (out is not None or add_streaming):
        raise UsageError("int8 is written into the bundle", hint="omit --out and --add-streaming")
    if out is not None and engine.startswith("tensorrt"):
        raise UsageError(
            f"--out with --engine {engine}: a plan is valid for one GPU and version, and stays in the plan cache",
            hint="omit --out, or use --engine onnx for other programs",
        )
    try:
        import streamad.engines.export
        import streamad.engines.half  # noqa: F401 - reports a missing module before any work
    except ModuleNotFoundError as error:
        raise EngineError(f"export needs the module {error.name}", hint=install_hint("train")) from error
    from streamad.bundle import load_bundle
    from streamad.sources import Clips

    bundle = load_bundle(model)
    bundle.require_network()
    job = _Job(bundle, engine, precision, device)
    found = Clips(())
    if add_streaming:
        if out is not None:
            raise UsageError("--add-streaming writes into the bundle", hint="omit --out")
        files = [job.streaming_into_bundle()]
    elif clips is not None:
        found = clips_of(clips, fps)
        files = [job.int8_into_bundle(found)]
    elif out is None:
        files = job.into_bundle()
    else:
        files = job.into_folder(output_folder(out))
    inputs = "random inputs" if clips is None else "inputs from the video"
    entries = [{"file": str(path), "parity": parity.model_dump()} for path, parity in files]
    if as_json:
        emit({"engine": engine, "precision": precision, **entries[0], "files": entries, **found.report()})
        end_with(found)
        return
    for path, parity in files:
        score = "" if parity.max_abs_score is None else f", of a score {parity.max_abs_score:.1e}"
        say(
            f"{path}: largest difference from torch {parity.max_abs_output:.1e}{score}, "
            f"over {parity.tiles} {inputs}, by {parity.engine} {parity.version} in {parity.precision}"
        )
    end_with(found)


@dataclass(frozen=True)
class _Job:
    """The export of one variant of one bundle."""

    bundle: Bundle
    engine: str
    precision: str
    device: str | None

    def into_bundle(self) -> list[tuple[Path, Parity]]:
        """Write the variant, and that of the streaming form if there is one, with their parity into the bundle.

        The variants are made from the bundle's ONNX files, to which calibrations and results belong.
        """
        from streamad.bundle import write_manifest

        folder = output_folder(self.bundle.path)
        forms = (False, True) if self.bundle.streaming_path is not None else (False,)
        made = [self._variant(folder, streaming) for streaming in forms]
        kept = list(self.bundle.manifest.parity)
        for _, parity in made:
            same = (parity.engine, parity.precision, parity.file)
            kept = [*(p for p in kept if (p.engine, p.precision, p.file) != same), parity]
        write_manifest(folder, self.bundle.manifest.model_copy(update={"parity": tuple(kept)}))
        return made

    def _variant(self, folder: Path, streaming: bool) -> tuple[Path, Parity]:
        from streamad.engines.half import write_half

        path = folder / self.bundle.variant_file(self.precision, streaming=streaming)
        draft = folder / f".{path.name}.new"
        try:
            if self.precision == "fp16":
                write_half(self.bundle.network_path("fp32", streaming=streaming), draft)
            measure = self._stateful_parity if streaming else self._parity
            parity = measure(draft if draft.exists() else path)
            if draft.exists():
                draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        return path, parity.model_copy(update={"file": path.name})

    def int8_into_bundle(self, clips: Clips) -> tuple[Path, Parity]:
        """Write the int8 variant, calibrated on clips, and its parity into the bundle."""
        from streamad.engines.int8 import quantization_problem
        from streamad.workflows.quantize import add_int8

        problem = quantization_problem()
        if problem:  # before any work
            raise EngineError(f"int8 is not available: {problem}", hint=install_hint("int8"))
        output_folder(self.bundle.path)
        _, path, parity = add_int8(self.bundle, clips.specs)
        return path, parity

    def streaming_into_bundle(self) -> tuple[Path, Parity]:
        """Add the streaming form to a bundle without it; the network and the calibration do not change."""
        from streamad.detectors import detector_of

        added, parity = detector_of(self.bundle).add_streaming(self.bundle, self._network(), self._tiles())
        assert added.streaming_path is not None  # it was just written
        return added.streaming_path, parity

    def into_folder(self, folder: Path) -> list[tuple[Path, Parity]]:
        """Write files for other programs from the trained weights, with the streaming form if there is one."""
        from streamad.detectors import detector_of
        from streamad.engines.export import export_openvino
        from streamad.engines.half import write_half

        detector, network = detector_of(self.bundle), self._network()
        path = folder / f"{self.bundle.name}.onnx"
        detector.export(network, self.bundle.manifest, path)
        if self.precision == "fp16":
            write_half(path, path)
            return [(path, self._parity(path))]
        files = [(path, self._parity(path))]
        streaming = folder / f"{self.bundle.name}-streaming.onnx"
        parity = detector.export_streaming(network, self.bundle.manifest, streaming, self._tiles())
        if parity is not None:
            files.append((streaming, parity))
        if self.engine == "openvino":
            for onnx, _ in files:
                export_openvino(onnx, onnx.with_suffix(".xml"))
                onnx.unlink()
            files = [(onnx.with_suffix(".xml"), parity) for onnx, parity in files]
        return files

    @property
    def _shape(self) -> tuple[int, int, int]:
        spec = self.bundle.manifest.input
        return spec.channels, spec.height, spec.width

    def _network(self) -> Any:
        from streamad.detectors import detector_of
        from streamad.engines.torch_engine import load_weights

        detector = detector_of(self.bundle)
        return load_weights(lambda: detector.network(self.bundle.manifest), self.bundle.weights_path)

    def _tiles(self) -> Any:
        """Random inputs over the whole range: a bundle contains no frames of a camera."""
        import numpy as np

        spec = self.bundle.manifest.input
        count = 64 if self.bundle.manifest.tiling.kind == "cells" else 2
        pixels = np.random.default_rng(0).uniform(0, 255, (count, *self._shape)).astype(np.float32)
        return pixels / np.float32(spec.scale) + np.float32(spec.offset)

    def _parity(self, path: Path) -> Parity:
        from streamad.detectors import detector_of
        from streamad.engines.export import measure_parity

        scores = detector_of(self.bundle).frame_scores(self.bundle.manifest)
        running = self._open(path)
        try:
            return measure_parity(running, self._network(), self._tiles(), scores)
        finally:
            running.close()

    def _stateful_parity(self, path: Path) -> Parity:
        from streamad.detectors import detector_of
        from streamad.engines.export import measure_stateful_parity

        scores = detector_of(self.bundle).frame_scores(self.bundle.manifest)
        running = self._open_stateful(path)
        try:
            return measure_stateful_parity(running, self._network(), self._tiles(), scores)
        finally:
            running.close()

    def _check_engine(self) -> None:
        from streamad.engines.factory import available_engines

        missing = available_engines()[self.engine]
        if missing:
            raise EngineError(f"the engine {self.engine} is not available: {missing}", hint="see `streamad doctor`")

    def _gpu_options(self) -> tuple[LibraryName, TensorRtOptions]:
        from streamad.engines.tensorrt.engine import TensorRtOptions

        half = self.precision == "fp16"
        options = TensorRtOptions(device=self.device, precision="fp16" if half else "fp32")
        return "tensorrt-rtx" if self.engine == "tensorrt-rtx" else "tensorrt", options

    def _open_stateful(self, path: Path) -> StatefulEngine:
        self._check_engine()
        context = (self.bundle.manifest.tiling.window or 1) - 1
        if self.engine == "onnx":
            from streamad.engines.onnx_stateful import OnnxStatefulEngine

            return OnnxStatefulEngine(path, context, precision=self.precision)
        if self.engine == "openvino":
            from streamad.engines.openvino_stateful import OpenVinoStatefulEngine

            return OpenVinoStatefulEngine(path, context)
        from streamad.engines.tensorrt.stateful import TensorRtStatefulEngine

        library, options = self._gpu_options()
        return TensorRtStatefulEngine(path, context, library=library, options=options)

    def _open(self, path: Path) -> Engine:
        from streamad.engines.base import batch_sizes_for

        self._check_engine()
        sizes = batch_sizes_for(self.bundle.manifest.tiling.kind)
        if self.engine == "onnx":
            from streamad.engines.onnx_engine import OnnxEngine

            return OnnxEngine(path, batch_sizes=sizes, precision=self.precision)
        if self.engine == "openvino":
            from streamad.engines.openvino_engine import OpenVinoEngine

            return OpenVinoEngine(path, batch_sizes=sizes)
        from streamad.engines.tensorrt.engine import TensorRtEngine

        library, options = self._gpu_options()
        return TensorRtEngine(path, library=library, options=options, batch_sizes=sizes)
