"""Numbers, counts, durations and names as people write them, for messages, the page and reports."""

from __future__ import annotations

import math
import re
import unicodedata

_UNITS = (("years", 365.25 * 86_400.0), ("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0))
_SMALLEST = 1e-6


def number(value: float, digits: int = 3) -> str:
    """Format a number with significant digits and without an exponent: '0.85', '2.74', '1,520'.

    Args:
        value: NaN and infinities become '–'.
        digits: Significant digits, at least 1.
    """
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if abs(value) < _SMALLEST:
        return f"under {_SMALLEST:f}" if value > 0 else f"over -{_SMALLEST:f}"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    text = f"{round(value, decimals):,.{max(decimals, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def counted(amount: float, noun: str, plural: str | None = None) -> str:
    """An amount and its noun, singular or plural: '1 false alert', '0.5 false alerts', '1,520 frames'.

    Args:
        amount: Integers are written in full, other numbers with three significant digits.
        noun: The singular.
        plural: The plural. Default: the singular with an s.
    """
    text = f"{amount:,}" if isinstance(amount, int) else number(amount)
    return f"{text} {noun if text == '1' else plural or noun + 's'}"


def span(seconds: float) -> str:
    """A duration: '64 s', '2.4 hours', '3 days'."""
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{number(seconds / size)} {unit}"
    return f"{number(seconds)} s"


def markdown(text: str) -> str:
    """Text escaped for Markdown, on one line: names of files and clips may contain anything."""
    plain = readable(text).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    plain = re.sub(r"[*\[\]|~`]", r"\\\g<0>", plain)
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\_", plain)  # an underscore within a word needs no escape


def readable(text: str) -> str:
    """Text on one line that can be encoded: control characters become spaces, undecodable bytes are escaped."""
    visible = "".join(" " if unicodedata.category(letter) in ("Cc", "Zl", "Zp") else letter for letter in text)
    return visible.encode("utf-8", "backslashreplace").decode()


def drawable(text: str) -> str:
    """Text to draw: undecodable bytes of a file name, which no font can show, become U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
