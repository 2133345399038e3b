"""From clips of normal video to a trained, exported bundle with its parity measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save

from streamad.bundle import CARD, ONNX, STREAMING, WEIGHTS, Bundle, require_name, write_manifest
from streamad.engines.base import batch_sizes_for
from streamad.engines.export import measure_parity, needs_half_weights
from streamad.engines.openvino_engine import OpenVinoEngine
from streamad.files import write_atomic
from streamad.protocols import Progress, no_progress
from streamad.training.budget import Shortening, fit_into
from streamad.training.closed_form import make_folder
from streamad.training.loop import EpochReport, LoopResult, run_loop
from streamad.training.plan import OpenClip, TrainingPlan, of_one_size, split_clips
from streamad.training.recipe import Recipe

if TYPE_CHECKING:  # detectors are built on training
    from streamad.detectors.base import TrainedDetector


def train_bundle(
    detector: TrainedDetector,
    plan: TrainingPlan,
    clips: Sequence[OpenClip],
    out: Path,
    *,
    progress: Progress | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    max_seconds: float | None = None,
    shortened: Callable[[Shortening], None] | None = None,
) -> Bundle:
    """Train a detector on clips of one camera's normal video and write a bundle.

    Args:
        detector: What to train.
        plan: How.
        clips: Each opens one clip; the last `validation_share` are never trained on.
        out: Folder of the bundle. The checkpoint is in `out`/training, and training resumes from it.
        progress: Called with "reading normal video" and "training", the steps done, and their total.
        on_epoch: Called after each epoch.
        max_seconds: Approximate limit for the training loop: a few steps are timed, and epochs and samples are cut to
            fit. What remains depends on the machine's speed, so such a training cannot be resumed. None: no limit.
        shortened: Called before the training with what was cut.

    Returns:
        The bundle, without a calibration.

    Raises:
        UsageError: There are too few clips, nothing moves in them, or the plan's name is not valid for a bundle.
        OutputError: `out` cannot be written to.
    """
    require_name(plan.name)
    make_folder(out / "training")
    train, held = split_clips(len(clips), plan.validation_share)
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)
    report = progress or no_progress
    done = 0
    sizes: dict[tuple[int, int], int] = {}

    def tick() -> None:
        nonlocal done
        done += 1
        report("reading normal video", done, len(clips))

    same = [_checked(clip, number + 1, sizes) for number, clip in enumerate(clips)]
    recipe = detector.recipe(plan, [same[k] for k in train], [same[k] for k in held], tick)
    if max_seconds is not None:
        cut = fit_into(recipe, max_seconds)
        if cut is not None and shortened is not None:
            shortened(cut)
    result = run_loop(
        recipe.task,
        samples=recipe.samples,
        epochs=recipe.task.epochs,
        patience=recipe.task.patience,
        seed=plan.seed,
        folder=out / "training",
        progress=on_epoch,
        step_progress=lambda steps, total: report("training", steps, total),
    )
    return export_bundle(detector, recipe, result, out)


def _checked(clip: OpenClip, number: int, sizes: dict[tuple[int, int], int]) -> OpenClip:
    return lambda: of_one_size(clip(), number, sizes)


def export_bundle(detector: TrainedDetector, recipe: Recipe, result: LoopResult, out: Path) -> Bundle:
    """Write the trained network of a recipe as a bundle, with its parity measured.

    Weights stored in 16 bits are rounded before anything is measured, so that every result is that of what is shipped.
    """
    network = recipe.exported().cpu().eval()
    half = needs_half_weights(network)
    if half:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(parameter.half().float())
    manifest = recipe.manifest(result)
    learned = {name for name, _ in network.named_parameters()} if half else set()
    weights = {
        name: (value.half() if name in learned else value).contiguous() for name, value in network.state_dict().items()
    }
    write_atomic(out / WEIGHTS, save(weights))  # its own save_file lets nobody else read the file
    inputs = recipe.examples()
    detector.export(network, manifest, out / ONNX)
    with closing(OpenVinoEngine(out / ONNX, batch_sizes=batch_sizes_for(manifest.tiling.kind))) as engine:
        parity = measure_parity(engine, network, inputs, detector.frame_scores(manifest))
    streaming = detector.export_streaming(network, manifest, out / STREAMING, inputs)
    parities = (parity,) if streaming is None else (parity, streaming)
    manifest = manifest.model_copy(update={"parity": parities})
    write_atomic(out / CARD, detector.card(manifest))
    return write_manifest(out, manifest)
