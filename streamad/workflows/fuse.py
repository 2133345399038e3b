"""Fuse models: calibrate each on a camera's normal video, then calibrate their fused score."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from streamad.bundle import (
    CARD,
    Bundle,
    FusionSpec,
    Manifest,
    Member,
    TilingSpec,
    combined_sha256,
    load_bundle,
    require_name,
    write_manifest,
)
from streamad.calibration import AlertPolicySpec, Calibration, PerLocationStatistics, calibrate_bundle
from streamad.errors import BundleError, OutputError, UsageError
from streamad.files import write_atomic
from streamad.inference.model import Model
from streamad.protocols import Progress, no_progress
from streamad.sources import SourceSpec
from streamad.versions import MANIFEST
from streamad.workflows.calibrate import save_into_bundle, score_normal

Rule = Literal["mean", "max"]
Floats = npt.NDArray[np.float64]


def fuse_models(
    members: Sequence[Model],
    clips: Sequence[SourceSpec],
    out: Path,
    *,
    source: str,
    rule: Rule = "mean",
    fps: float | None = None,
    alerts_per_day: float = 1.0,
    rules: AlertPolicySpec | None = None,
    local: bool | None = None,
    progress: Progress = no_progress,
) -> Bundle:
    """Create a bundle that fuses several models for one camera.

    Each member is calibrated on the clips; with per-location statistics, each part of the clips is scored by the
    statistics of the other parts. The fused score combines the members' calibrated scores frame by frame. It is
    calibrated on the same clips like any model's score, so its threshold keeps the budget even if the members' scores
    are correlated.

    Args:
        members: The models, open.
        clips: Normal video of the camera that no member was trained on.
        out: Folder of the bundle: a new or empty one, or a fused bundle to replace.
        source: Description of the video, for the record.
        rule: How to combine calibrated scores: "mean" or "max".
        fps: Frames per second. Default: the first member's.
        alerts_per_day: Budget of false alerts.
        rules: Duration, cooldown and hysteresis.
        local: Whether members use per-location statistics. Default: if that helps the detector.
        progress: See `score_clips`; the total is clips times members.

    Returns:
        The fused bundle, calibrated.

    Raises:
        UsageError: There are fewer than two members, a member is given twice or is itself fused, or the folder's name
            is not valid for a bundle.
        BundleError: `out` holds the bundle of a single model.
        CalibrationError: Nothing can be learned from the clips.
        OutputError: `out` cannot be written to.
    """
    _check(members, out)
    rate = fps or members[0].bundle.manifest.training.fps

    def calibrated(
        scores: list[Floats], bundle: Bundle, statistics: PerLocationStatistics | None = None
    ) -> Calibration:
        return calibrate_bundle(
            bundle, scores, fps=rate, source=source, alerts_per_day=alerts_per_day, rules=rules, local=statistics
        )

    calibrations, shown = [], []
    for number, member in enumerate(members):

        def report(stage: str, done: float, total: float | None, before: int = number) -> None:
            progress(stage, before * len(clips) + done, len(members) * len(clips))

        normal = score_normal(member, clips, fps=rate, local=local, progress=report)
        calibration = calibrated(normal.scores, member.bundle, normal.statistics)
        calibrations.append(calibration)
        shown.append(
            [
                _aligned(calibration.calibrated_array(scores), indices)
                for scores, indices in zip(normal.scores, normal.indices, strict=True)
            ]
        )
    bundle = _write(members, calibrations, out, rule)
    fused = [fused_scores([member[k] for member in shown], rule) for k in range(len(clips))]
    return save_into_bundle(bundle, calibrated(fused, bundle))


def fused_scores(calibrated: Sequence[Floats], rule: Rule) -> Floats:
    """Return the fused score of every frame; NaN if a member has none.

    Args:
        calibrated: (frames,) calibrated scores of each member, indexed by frame number; lengths may differ.
        rule: See `fuse_models`.
    """
    frames = max(len(scores) for scores in calibrated)
    table = np.full((len(calibrated), frames), np.nan)
    for row, scores in zip(table, calibrated, strict=True):
        row[: len(scores)] = scores
    return np.asarray(table.mean(axis=0) if rule == "mean" else table.max(axis=0), dtype=np.float64)


def _aligned(scores: Floats, indices: npt.NDArray[np.int_]) -> Floats:
    answer = np.full(int(indices.max()) + 1 if indices.size else 0, np.nan)
    answer[indices] = scores
    return answer


def _check(members: Sequence[Model], out: Path) -> None:
    require_name(out.name)
    names = [member.bundle.name for member in members]
    if len(members) < 2 or len(set(names)) < len(names):
        raise UsageError(f"fusing needs at least two different models, got {', '.join(names)}")
    if any(member.bundle.manifest.fusion is not None for member in members):
        raise UsageError("a fused model cannot be fused again", hint="name its members")
    if out.exists() and any(out.iterdir()) and load_bundle(out).manifest.fusion is None:
        raise BundleError(f"{out} holds the bundle of a single model", hint="give another folder")


def _write(members: Sequence[Model], calibrations: Sequence[Calibration], out: Path, rule: Rule) -> Bundle:
    """Write the bundle, without a calibration of the fused score."""
    first = members[0].bundle.manifest
    cells = next((m.bundle.manifest for m in members if m.bundle.manifest.tiling.kind == "cells"), None)
    trainings = [m.bundle.manifest.training for m in members]
    try:
        if out.exists():
            shutil.rmtree(out)
        out.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror or error}", hint="give another folder") from error
    parts = []
    for number, (member, calibration) in enumerate(zip(members, calibrations, strict=True)):
        file = f"member-{number}.json"
        calibration.save(out / file)
        bundle = member.bundle
        home = bundle.home
        beside = home.resolve().parent == out.resolve().parent
        named = home.name if beside or _is_findable(bundle) else str(home.resolve())
        parts.append(Member(model=named, sha256=combined_sha256(bundle), calibration=file))
    names = [member.bundle.name for member in members]
    manifest = Manifest(
        format_version=1,
        name=out.name,
        detector="fusion",
        description=f"{', '.join(names)} on one camera: {rule} of their calibrated scores",
        # From a member: how pictures are displayed, and whether evaluation warms up on the scene at rest.
        input=(cells or first).input,
        tiling=cells.tiling if cells is not None else TilingSpec(kind="clips", window=1),
        score=(cells or first).score.model_copy(update={"still": 0.0, "frame": 0}),
        training=trainings[0].model_copy(
            update={
                "data": "; ".join(sorted({t.data for t in trainings})),
                "license": "; ".join(sorted({t.license for t in trainings})),
                "checkpoint": "; ".join(f"{n}: {t.checkpoint}" for n, t in zip(names, trainings, strict=True)),
                "selected_on_test_data": any(t.selected_on_test_data for t in trainings),
                "options": {},
            }
        ),
        parameters=sum(m.bundle.manifest.parameters for m in members),
        fusion=FusionSpec(rule=rule, members=tuple(parts)),
        files={},
    )
    rows = "\n".join(f"- {n}: {m.bundle.manifest.description}" for n, m in zip(names, members, strict=True))
    write_atomic(
        out / CARD,
        f"# {manifest.name}\n\n{manifest.description}. It belongs to one camera, and needs its members' bundles, "
        f"which {MANIFEST} names with their hashes.\n\n{rows}\n",
    )
    return write_manifest(out, manifest)


def _is_findable(bundle: Bundle) -> bool:
    """Whether the bundle can be loaded by its name alone."""
    try:
        return load_bundle(bundle.home.name).path.resolve() == bundle.path.resolve()
    except BundleError:
        return False
