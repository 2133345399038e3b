"""Numbers as people write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamad.formatting import counted, number, span


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.85, "0.85"), (2.742, "2.74"), (1.0, "1"), (0, "0"), (1523.4, "1,520"), (999.6, "1,000"), (99.96, "100"),
        (-0.5, "-0.5"), (0.000123, "0.000123"), (1e-9, "under 0.000001"), (-1e-9, "over -0.000001"),
        (math.nan, "–"), (math.inf, "–"), (120_000, "120,000"), (100.0, "100"),
    ],
)  # fmt: skip
def test_number(value: float, text: str) -> None:
    assert number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e30, max_value=1e30))
def test_a_number_has_no_exponent_and_keeps_its_digits(value: float) -> None:
    text = number(value)
    assert "e" not in text.replace("under", "").replace("over", "")
    if abs(value) >= 1e-6:
        assert float(text.replace(",", "")) == pytest.approx(value, rel=0.0051)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (1, "1 alert"), (0, "0 alerts"), (2, "2 alerts"), (1.0, "1 alert"), (0.14, "0.14 alerts"),
        (36_001, "36,001 alerts"), (1523.4, "1,520 alerts"),
    ],
)  # fmt: skip
def test_counted(amount: float, text: str) -> None:
    assert counted(amount, "alert") == text


def test_counted_with_a_plural_of_its_own() -> None:
    assert counted(2, "box", "boxes") == "2 boxes"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (64, "64 s"), (119, "119 s"), (120, "2 minutes"), (3600, "60 minutes"), (8640, "2.4 hours"),
        (259_200, "3 days"), (1e9, "31.7 years"), (2.39e19 * 86_400, "65,400,000,000,000,000 years"),
    ],
)  # fmt: skip
def test_span(seconds: float, text: str) -> None:
    assert span(seconds) == text
