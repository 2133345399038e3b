"""Options of a detector's training, checked before hours are spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from streamad.errors import UsageError

T = TypeVar("T")


def parse_options(kind: type[T], given: Mapping[str, Any], detector: str) -> T:
    """Make a dataclass of options from names and values; values may be text, as on a command line.

    Args:
        kind: A dataclass whose fields all have defaults.
        given: Values by name; lists may be text with commas.
        detector: Name of the detector, for error messages.

    Raises:
        UsageError: A name is unknown, or a value is invalid.
    """
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise UsageError(
            f"{detector} has no option {', '.join(unknown)}", hint=f"its options are {', '.join(sorted(known))}"
        )
    values = {
        name: value.split(",") if isinstance(value, str) and "tuple" in str(known[name].type) else value
        for name, value in given.items()
    }
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise UsageError(f"{detector}, option {place}: {problem['msg']}, got {problem['input']!r}") from error
