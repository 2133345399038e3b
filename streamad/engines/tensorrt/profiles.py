"""Ranges of batch sizes for which a plan is built."""

from __future__ import annotations

from dataclasses import dataclass

SMALL = 16
"""Largest batch of the profile for single frames of a quiet camera. Chosen without measurement."""


@dataclass(frozen=True, slots=True)
class BatchProfile:
    """A range of batch sizes. Kernels are tuned for one size in it.

    Attributes:
        least: Smallest batch size.
        best: Batch size for which the plan is tuned.
        most: Largest batch size.
    """

    least: int
    best: int
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.best <= self.most:
            raise ValueError(f"a profile needs 1 <= least <= best <= most, got {self}")


def profiles_for(batch_sizes: tuple[int, ...]) -> tuple[BatchProfile, ...]:
    """Profiles that cover every batch size up to the largest: one for live frames, one for full batches.

    Kernels are tuned for one batch size each, so a plan tuned only for 64 patches would be slow on the few of a live
    frame. Chosen without measurement.
    """
    most = batch_sizes[-1]
    if most <= SMALL:
        return (BatchProfile(1, most, most),)
    return BatchProfile(1, SMALL // 2, SMALL), BatchProfile(SMALL + 1, most, most)


def camera_profiles(cameras: int) -> tuple[BatchProfile, ...]:
    """Profiles for runs of whole frames: one for a single camera, one for several. Chosen without measurement."""
    alone = BatchProfile(1, 1, 1)
    return (alone,) if cameras == 1 else (alone, BatchProfile(2, cameras, cameras))
