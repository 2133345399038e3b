"""The model card: what a bundle is, in words."""

from __future__ import annotations

from streamad.bundle import Manifest


def card(manifest: Manifest) -> str:
    """Markdown card of a bundle, from its manifest alone."""
    training, tiling, score = manifest.training, manifest.tiling, manifest.score
    options = training.options
    lags = ", ".join(str(lag) for lag in tiling.lags)
    lines = [
        f"# {manifest.name}",
        "",
        f"{manifest.description}.",
        "",
        "| | |",
        "|---|---|",
        f"| detector | {manifest.detector}, {manifest.parameters:,} parameters |",
        f"| input | {manifest.input.channels} × {manifest.input.height} × {manifest.input.width}, "
        f"luma / {manifest.input.scale} {manifest.input.offset:+} |",
        f"| channels | the cell {lags} frames ago, at {training.fps:g} frames/s |",
        f"| working height | {manifest.input.max_height or 'as the source'}: taller frames are shrunk to it |",
        f"| score | mean of the {score.cells} highest outputs of moving cells ({score.still:.3f} for one that is "
        f"missing); causal median over {score.median_frames} frames |",
        f"| trained on | {training.data}, {training.frames} frames, {options.get('cells', '?')} cells |",
        f"| terms of the data | {training.licence} |",
        f"| created anomalies | {', '.join(options.get('kinds', ()))} |",
        f"| training | {training.epochs} epochs, seed {training.seed}; {training.checkpoint} |",
    ]
    for parity in manifest.parity:
        lines.append(
            f"| parity with torch | {parity.engine} {parity.version}, {parity.precision}: largest difference "
            f"{parity.max_abs_output:.1e} over {parity.tiles} cells in batches of "
            f"{', '.join(map(str, parity.batch_sizes))} |"
        )
    lines += ["", "## Use", "", "```", f"streamad score VIDEO --model {manifest.name}", "```", ""]
    lines += [
        "A camera is trained and calibrated on itself: on another camera the scores mean nothing until",
        "it is calibrated there, and little until it is trained there.",
        "",
    ]
    if manifest.results:
        names = list(dict.fromkeys(key for result in manifest.results for key in result))
        lines += ["## Results", "", f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
        lines += [f"| {' | '.join(str(result.get(name, '–')) for name in names)} |" for result in manifest.results]
        lines.append("")
    return "\n".join(lines)
