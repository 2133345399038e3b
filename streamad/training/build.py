"""From clips of normal video to a trained, exported bundle with its parity measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from streamad.bundle import CARD, ONNX, STREAMING, WEIGHTS, Bundle, require_name, write_manifest
from streamad.detectors.parity import scores_of
from streamad.engines.base import batch_sizes_for
from streamad.engines.export import export_onnx, measure_parity, wants_half_weights
from streamad.engines.openvino_engine import OpenVinoEngine
from streamad.errors import OutputError
from streamad.files import write_atomic
from streamad.training.budget import Shortening, fit_into
from streamad.training.card import card
from streamad.training.frames import of_one_size
from streamad.training.loop import EpochReport, LoopResult, run_loop
from streamad.training.recipes import OpenClip, Recipe, TrainingPlan, recipe_for
from streamad.training.splitting import split_clips
from streamad.training.streaming_form import write_streaming_form

__all__ = ["TrainingPlan", "export_bundle", "split_clips", "train_bundle"]


def train_bundle(
    plan: TrainingPlan,
    clips: Sequence[OpenClip],
    out: Path,
    *,
    progress: Callable[[EpochReport], None] | None = None,
    step_progress: Callable[[int, int], None] | None = None,
    feed_progress: Callable[[int, int], None] | None = None,
    most_seconds: float | None = None,
    shortened: Callable[[Shortening], None] | None = None,
) -> Bundle:
    """Train a detector on clips of one camera's normal video and write a bundle.

    Args:
        plan: what to train.
        clips: each opens one clip; the last `validation_share` are never trained on.
        out: folder of the bundle; the checkpoint lies in `out`/training and is resumed from.
        progress: called after each epoch.
        step_progress: called after each step with (done, in all).
        feed_progress: called after each clip is read with (done, in all).
        most_seconds: that the loop may take, about: by the time of a few steps, epochs and samples are cut to it. What
            is left depends on the machine's speed, so such a training cannot be gone on with. None: the detector's own.
        shortened: told what was cut, before the training.

    Returns:
        The bundle, without a calibration (see `streamad.workflows.calibrate.calibrate_model`).

    Raises:
        UsageError: too few clips, or nothing moves in them; or the plan's name is not one for a bundle.
        OutputError: `out` cannot be written to.
    """
    require_name(plan.name)
    try:
        (out / "training").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror}", hint="give another --out") from error
    train, held = split_clips(len(clips), plan.validation_share)
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)
    done = 0
    sizes: dict[tuple[int, int], int] = {}

    def tick() -> None:
        nonlocal done
        done += 1
        if feed_progress is not None:
            feed_progress(done, len(clips))

    same = [_checked(clip, number + 1, sizes) for number, clip in enumerate(clips)]
    recipe = recipe_for(plan.detector)(plan, [same[k] for k in train], [same[k] for k in held], tick)
    if most_seconds is not None:
        cut = fit_into(recipe, most_seconds)
        if cut is not None and shortened is not None:
            shortened(cut)
    result = run_loop(
        recipe.task,
        samples=recipe.samples,
        epochs=recipe.epochs,
        patience=recipe.patience,
        seed=plan.seed,
        folder=out / "training",
        progress=progress,
        step_progress=step_progress,
    )
    return export_bundle(recipe, result, out)


def _checked(clip: OpenClip, number: int, sizes: dict[tuple[int, int], int]) -> OpenClip:
    return lambda: of_one_size(clip(), number, sizes)


def export_bundle(recipe: Recipe, result: LoopResult, out: Path) -> Bundle:
    """Write the trained network of a recipe as a bundle, with its parity measured.

    Weights stored in 16 bits are rounded before anything is measured, so that every figure is that of what is shipped.
    """
    network = recipe.exported().cpu().eval()
    half = wants_half_weights(network)
    if half:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(parameter.half().float())
    manifest = recipe.manifest(result)
    learned = {name for name, _ in network.named_parameters()} if half else set()
    weights = {
        name: (value.half() if name in learned else value).contiguous() for name, value in network.state_dict().items()
    }
    save_file(weights, out / WEIGHTS)
    tiles = recipe.examples()
    export_onnx(network, tiles.shape[1:], out / ONNX, half_weights=half)
    engine = OpenVinoEngine(out / ONNX, batch_sizes=batch_sizes_for(manifest.tiling.kind))
    try:
        parity = measure_parity(engine, network, tiles, scores_of(manifest))
    finally:
        engine.close()
    streaming = write_streaming_form(network, manifest, out / STREAMING, tiles)
    parities = (parity,) if streaming is None else (parity, streaming)
    manifest = manifest.model_copy(update={"parity": parities})
    write_atomic(out / CARD, card(manifest))
    return write_manifest(out, manifest)
