"""A part of a data set's test clips, chosen on purpose and marked as a part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from streamad.errors import UsageError, suggestion
from streamad.evaluation.datasets.layout import same_clip
from streamad.evaluation.datasets.records import Dataset

RANGE = ".."


def part_of(dataset: Dataset, clips: Sequence[str]) -> Dataset:
    """Return the data set with some of its test clips, in its own order; training clips are kept.

    Args:
        dataset: The whole data set.
        clips: Names of test clips, their numbers (1 for Test001), and inclusive ranges of both (Test001..Test004), in
            the data set's order.

    Returns:
        A data set whose `whole` is the number of all test clips; the data set itself if all were chosen.

    Raises:
        UsageError: Nothing was chosen, a clip does not exist, or a range runs backward.
    """
    names = [clip.name for clip in dataset.testing]
    chosen: set[int] = set()
    for given in clips:
        first, dots, last = (given, "", "") if given in names else given.partition(RANGE)
        start = _position(first, names, dataset.name)
        end = _position(last, names, dataset.name) if dots else start
        if end < start:
            raise UsageError(
                f"--clips {given}: {names[end]} comes before {names[start]} in {dataset.name}",
                hint=f"write {last}{RANGE}{first}",
            )
        chosen.update(range(start, end + 1))
    if not chosen:
        raise UsageError("--clips: no test clip was chosen", hint=f"{dataset.name} has {_some(names)}")
    if len(chosen) == len(names):
        return dataset
    return replace(dataset, testing=tuple(dataset.testing[k] for k in sorted(chosen)), whole=len(names))


def _position(given: str, names: list[str], data_set: str) -> int:
    name = given.strip()
    found = same_clip(name, names) if name in names or name.isdecimal() else None
    if found is None:
        raise UsageError(
            f"--clips: {data_set} has no test clip {name!r}",
            hint=suggestion(name, names) or f"it has {_some(names)}",
        )
    return names.index(found)


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{names[0]}, {names[1]}, … {names[-1]} ({len(names)} clips)"
