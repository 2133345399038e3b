"""The model card: what a bundle is, for people."""

from __future__ import annotations

from collections.abc import Sequence

from streamad.bundle import ONNX, STREAMING, Manifest
from streamad.formatting import markdown


def card(manifest: Manifest, rows: Sequence[str], reference: str) -> str:
    """Return the card of a bundle as Markdown.

    Args:
        manifest: The bundle's manifest.
        rows: The detector's own rows, on input, score and training data.
        reference: What engines were compared with, "torch" or "numpy".
    """
    training = manifest.training
    lines = [
        f"# {manifest.name}",
        "",
        f"{markdown(manifest.description)}.",
        "",
        "| | |",
        "|---|---|",
        f"| detector | {manifest.detector}, {manifest.parameters:,} parameters |",
        f"| input | {manifest.input.channels} × {manifest.input.height} × {manifest.input.width}, "
        f"luma / {manifest.input.scale} {manifest.input.offset:+} |",
        *rows,
        f"| terms of the data | {markdown(training.license)} |",
        f"| training | {training.epochs} epochs, seed {training.seed}; {markdown(training.checkpoint)} |",
        f"| options | {markdown(_options(training.options))} |",
    ]
    for parity in manifest.parity:
        whose = "" if parity.file == ONNX else f", {parity.file}"
        unit = "runs" if parity.file == STREAMING else "batches"
        lines.append(
            f"| parity with {reference}{whose} | {parity.engine} {parity.version}, {parity.precision}: "
            f"largest difference {parity.max_abs_output:.1e}{_of_score(parity.max_abs_score)} over {parity.tiles} "
            f"inputs in {unit} of {', '.join(map(str, parity.batch_sizes))} |"
        )
    lines += ["", "## Use", "", "```", f"streamad score VIDEO --model {manifest.name}", "```", ""]
    lines += [
        "A model belongs to the camera that it was trained on. On another camera, its scores mean nothing before it",
        "is calibrated there, and little before it is trained there.",
        "",
    ]
    if manifest.results:
        names = list(dict.fromkeys(key for result in manifest.results for key in result))
        lines += ["## Results", "", f"| {' | '.join(map(markdown, names))} |", f"|{'---|' * len(names)}"]
        lines += [
            f"| {' | '.join(markdown(str(result.get(name, '–'))) for name in names)} |" for result in manifest.results
        ]
        lines.append("")
    return "\n".join(lines)


def _of_score(difference: float | None) -> str:
    return "" if difference is None else f", of a score {difference:.1e},"


def patch_rows(manifest: Manifest) -> list[str]:
    """Rows of a detector of moving patches."""
    training, score = manifest.training, manifest.score
    lags = ", ".join(str(lag) for lag in manifest.tiling.lags)
    return [
        f"| channels | the patch {lags} frames ago, at {training.fps:g} frames/s |",
        f"| working height | {manifest.input.max_height or 'as the source'}: taller frames are shrunk to it |",
        f"| score | mean of the {score.cells} highest outputs of moving patches ({score.still:.3g} for one that is "
        f"missing); causal median over {score.median_frames} frames |",
        f"| trained on | {markdown(training.data)}, {training.frames} frames, "
        f"{training.options.get('cells', '?')} patches |",
    ]


def frame_rows(manifest: Manifest) -> list[str]:
    """Rows of a detector of whole frames or windows."""
    training, score, window = manifest.training, manifest.score, manifest.tiling.window or 1
    frames = "single frames" if window == 1 else f"windows of {window} frames at {training.fps:g} frames/s"
    if score.kind == "psnr":
        what = f"-PSNR (peak {score.peak:g}) of frame {score.frame + 1} of a window's reconstruction, decibels"
    else:
        pooled = {"peak": "the highest location of the anomaly map"}.get(
            str(training.options.get("pooling")), "the whole frame"
        )
        what = f"the network's own, of {pooled}"
    median = "" if score.median_frames == 1 else f"; causal median over {score.median_frames} frames"
    return [
        f"| sees | {frames}, whole, resized to the input's size |",
        f"| score | {what}{median} |",
        f"| anomaly map | locations of {score.heat_cell} × {score.heat_cell} pixels of the input |",
        f"| trained on | {markdown(training.data)}, {training.frames} frames |",
    ]


def _options(options: dict[str, object]) -> str:
    def text(value: object) -> str:
        return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

    return ", ".join(f"{name} {text(value)}" for name, value in options.items() if value not in (None, ""))
