"""`streamad export`: variants of a bundle's network, each with its parity with torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamad.cli.common import FpsOption, JsonOption, clips_of, emit, end_with, output_folder, say
from streamad.errors import EngineError, UsageError, install_hint
from streamad.sources import Clips

if TYPE_CHECKING:
    from streamad.bundle import Bundle, Parity
    from streamad.engines.base import Engine
    from streamad.engines.stateful import StatefulEngine
    from streamad.engines.tensorrt.engine import TensorRtOptions
    from streamad.engines.tensorrt.library import LibraryName

ENGINES = {
    "onnx": ("fp32", "fp16"),
    "openvino": ("fp32", "int8"),
    "tensorrt": ("fp32", "fp16"),
    "tensorrt-rtx": ("fp32", "fp16"),
}
"""Precisions that each engine is exported in."""


def export(
    model: Annotated[str, typer.Argument(help="Model bundle: a folder, or a name of `models list`.")],
    engine: Annotated[str, typer.Option("--engine", help="onnx, openvino, tensorrt or tensorrt-rtx.")] = "openvino",
    precision: Annotated[str, typer.Option("--precision", help="fp32, fp16 or int8.")] = "fp32",
    clips: Annotated[
        list[Path] | None,
        typer.Option("--data", help="int8: normal video of the camera, or a folder of it; repeatable."),
    ] = None,
    fps: FpsOption = 25.0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for files for other programs, in place of the bundle.")
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="TensorRT: the GPU, cuda:N.")] = None,
    add_streaming: Annotated[
        bool,
        typer.Option("--add-streaming", help="Put the streaming form into the bundle; nothing else is written."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a variant of a bundle's network for an engine, and measure its parity with torch.

    Without --out the variant and its parity are written into the bundle; with it, files for other programs.
    """
    if engine not in ENGINES:
        raise UsageError(f"--engine {engine!r}: expected {', '.join(ENGINES)}")
    if precision not in ENGINES[engine]:
        raise UsageError(
            f"--precision {precision!r}: {engine} is exported in {' and '.join(ENGINES[engine])}",
            hint="fp16 is for GPUs: --engine tensorrt; --engine onnx --precision fp16 makes the file without one; "
            "int8 is for CPUs: --engine openvino",
        )
    if (clips is not None) != (precision == "int8"):
        raise UsageError(
            "int8 is calibrated on video: --precision int8 and --data go together",
            hint="give normal video of the camera with --data" if clips is None else "leave --data away",
        )
    if precision == "int8" and (out is not None or add_streaming):
        raise UsageError("int8 is written into the bundle", hint="leave --out and --add-streaming away")
    if out is not None and engine.startswith("tensorrt"):
        raise UsageError(
            f"--out with --engine {engine}: a plan belongs to one GPU and one version, and is kept in the plan cache",
            hint="leave --out away, or export --engine onnx for other programs",
        )
    try:
        import streamad.engines.export
        import streamad.engines.half  # noqa: F401 - tried here, so that what is missing is told before any work
    except ModuleNotFoundError as error:
        raise EngineError(f"export needs the module {error.name}", hint=install_hint("train")) from error
    from streamad.bundle import load_bundle

    bundle = load_bundle(model)
    bundle.require_network()
    job = _Job(bundle, engine, precision, device)
    found = Clips(())
    if add_streaming:
        if out is not None:
            raise UsageError("--add-streaming writes into the bundle", hint="leave --out away")
        files = [job.streaming_into_bundle()]
    elif clips is not None:
        found = clips_of(clips, fps)
        files = [job.int8_into_bundle(found)]
    elif out is None:
        files = job.into_bundle()
    else:
        files = job.into_folder(output_folder(out))
    inputs = "random inputs" if clips is None else "pieces of the video"
    entries = [{"file": str(path), "parity": parity.model_dump()} for path, parity in files]
    if as_json:
        emit({"engine": engine, "precision": precision, **entries[0], "files": entries, **found.report()})
        end_with(found)
        return
    for path, parity in files:
        score = "" if parity.max_abs_score is None else f", of a score {parity.max_abs_score:.1e}"
        say(
            f"{path}: largest difference to torch {parity.max_abs_output:.1e}{score}, "
            f"over {parity.tiles} {inputs}, by {parity.engine} {parity.version} in {parity.precision}"
        )
    end_with(found)


@dataclass(frozen=True)
class _Job:
    """One variant of one bundle."""

    bundle: Bundle
    engine: str
    precision: str
    device: str | None

    def into_bundle(self) -> list[tuple[Path, Parity]]:
        """Write the variant and its parity into the bundle, of the streaming form too where it has one.

        The variants are made of the bundle's own ONNX files, to which calibrations and results belong.
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
        """Write the 8-bit variant, calibrated on clips, and its parity into the bundle."""
        from streamad.engines.int8 import quantization_problem
        from streamad.workflows.quantize import add_int8

        problem = quantization_problem()
        if problem:  # told before any work
            raise EngineError(f"int8 cannot be made here: {problem}", hint=install_hint("int8"))
        output_folder(self.bundle.path)
        _, path, parity = add_int8(self.bundle, clips.specs)
        return path, parity

    def streaming_into_bundle(self) -> tuple[Path, Parity]:
        """Put the streaming form into a bundle that was made without it; network and calibration stay as they are."""
        from streamad.detectors import detector_of

        added, parity = detector_of(self.bundle).add_streaming(self.bundle, self._network(), self._tiles())
        assert added.streaming_path is not None  # it was just written
        return added.streaming_path, parity

    def into_folder(self, folder: Path) -> list[tuple[Path, Parity]]:
        """Write files for other programs from the trained weights, the streaming form too where there is one."""
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
        """Random inputs over the whole range: a bundle carries no picture of anybody's camera."""
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
            raise EngineError(
                f"the engine {self.engine} cannot run here: {missing}", hint="`streamad doctor` shows what can"
            )

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
