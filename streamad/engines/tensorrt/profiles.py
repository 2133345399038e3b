"""Ranges of batches that a plan is made for."""

from __future__ import annotations

from dataclasses import dataclass

SMALL = 16
"""Largest batch of the profile for single frames of a quiet camera (our choice)."""


@dataclass(frozen=True, slots=True)
class BatchProfile:
    """A range of batches; kernels are chosen for the best of them.

    Attributes:
        least: smallest batch.
        best: batch that the plan is tuned for.
        most: largest batch.
    """

    least: int
    best: int
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.best <= self.most:
            raise ValueError(f"a profile needs 1 <= least <= best <= most, got {self}")


def profiles_for(batch_sizes: tuple[int, ...]) -> tuple[BatchProfile, ...]:
    """Profiles that hold every batch from 1 to the largest: one for a live frame, one for full batches (our choice).

    Kernels are tuned for one batch each; a plan tuned for 64 cells alone is slow on the few of a live frame.
    """
    most = batch_sizes[-1]
    if most <= SMALL:
        return (BatchProfile(1, most, most),)
    return BatchProfile(1, SMALL // 2, SMALL), BatchProfile(SMALL + 1, most, most)


def camera_profiles(cameras: int) -> tuple[BatchProfile, ...]:
    """Profiles for runs of whole frames: one for a camera alone, and one for several side by side (our choice)."""
    alone = BatchProfile(1, 1, 1)
    return (alone,) if cameras == 1 else (alone, BatchProfile(2, cameras, cameras))
