"""Shared helpers for tests of IGD."""

from __future__ import annotations

from typing import Any

from streamad.bundle import InputSpec, Manifest, ScoreSpec, TilingSpec, TrainingRecord


def igd_manifest(
    *,
    side: int = 64,
    height: int | None = None,
    median_frames: int = 1,
    without: str = "",
    **parts: Any,
) -> Manifest:
    """Return the manifest of a small IGD bundle for frames of `side` px.

    Args:
        side: Width of the network's input, and its height by default.
        height: A different height.
        median_frames: Number of frames of the score's median.
        without: Name of an option to omit from the training record.
        parts: Replacements for other parts of the manifest.
    """
    options = {
        "width": 4, "descriptor": 8, "rho": 0.15, "xi": 0.5,
        "svdd": 1.0, "beta": 0.1,
        "scales": 3, "window": 5, "pooling": "mean", "teacher": None,
    }  # fmt: skip
    usual: dict[str, Any] = {
        "input": InputSpec(channels=1, height=height or side, width=side, scale=255.0, offset=0.0),
        "tiling": TilingSpec(kind="clips", window=1),
        "score": ScoreSpec(kind="map", median_frames=median_frames),
    }
    return Manifest(
        format_version=1,
        name="small-igd",
        detector="igd",
        description="for tests",
        training=TrainingRecord(
            data="none", license="none", frames=0, fps=25.0, seed=5, epochs=0, checkpoint="random weights",
            options={name: value for name, value in options.items() if name != without},
        ),
        parameters=1,
        files={},
        **{**usual, **parts},
    )  # fmt: skip
