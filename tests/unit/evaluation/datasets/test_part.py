"""A part of the test clips, chosen on purpose: which clips, what is refused, and that the result says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamad.errors import UsageError
from streamad.evaluation.datasets import Clip, Dataset, part_of
from streamad.evaluation.datasets.validate import notes_on


def clip(name: str) -> Clip:
    return Clip(name, Path(name), "images", 4, np.array([0, 1, 0, 1], np.uint8))


WHOLE = Dataset("ped2", (clip("Train001"),), tuple(clip(f"Test{k:03d}") for k in range(1, 13)), 10.0, "official")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["Test003"], [3]),
        (["3", "Test001"], [1, 3]),  # in the data set's order
        (["Test002..Test004", " 4"], [2, 3, 4]),
        (["2..3", "11..12"], [2, 3, 11, 12]),
    ],
)
def test_names_numbers_and_ranges(given: list[str], expected: list[int]) -> None:
    part = part_of(WHOLE, given)
    assert [c.name for c in part.testing] == [f"Test{k:03d}" for k in expected]
    assert (part.whole, part.training) == (12, WHOLE.training)


def test_all_clips_are_not_a_part() -> None:
    assert part_of(WHOLE, ["1..12"]) is WHOLE


def test_a_name_with_dots_is_a_name() -> None:
    dotted = replace(WHOLE, testing=(clip("a..b"), clip("a"), clip("b")))
    assert [c.name for c in part_of(dotted, ["a..b"]).testing] == ["a..b"]
    assert [c.name for c in part_of(dotted, ["a", "b"]).testing] == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        (["Test013"], "ped2 has no test clip 'Test013'", "did you mean"),
        (["Train001..Test002"], "no test clip 'Train001'", ""),
        (["1..13"], "no test clip '13'", "12 clips"),
        (["4..2"], "Test002 comes before Test004", r"write 2..4"),
        ([], "no test clip was chosen", "Test001"),
    ],
)
def test_what_does_not_exist_is_refused(given: list[str], message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        part_of(WHOLE, given)
    assert hint in (caught.value.hint or "")


def test_a_part_is_not_reported_as_an_incomplete_copy() -> None:
    """The official count of test clips is compared with the whole set, which the part was taken from."""
    assert not any("test clips, officially" in note for note in notes_on(part_of(WHOLE, ["1"])))
    assert any("1 test clips, officially 12" in note for note in notes_on(replace(WHOLE, testing=(clip("Test001"),))))
