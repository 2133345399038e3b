"""Parse every docstring of the package, and fail if one documents a parameter that does not exist.

python scripts/check_docstrings.py      (needs the `docs` extra; `make docs` runs it)
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import griffe

ROOT = Path(__file__).resolve().parent.parent


class Collected(logging.Handler):
    """Keeps griffe's warnings, each once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.messages[record.getMessage()] = None


def parse_all(item: griffe.Object | griffe.Alias) -> int:
    """Parse the docstrings of an object and its members; return how many there are."""
    if isinstance(item, griffe.Alias):
        return 0
    if item.docstring is not None:
        item.docstring.parse("google", warn_unknown_params=True)
    return (item.docstring is not None) + sum(parse_all(member) for member in item.members.values())


def main() -> int:
    collected = Collected()
    logging.getLogger().addHandler(collected)
    count = parse_all(griffe.load("streamad", search_paths=[ROOT]))
    for message in collected.messages:
        print(message, file=sys.stderr)
    print(f"{count} docstrings, {len(collected.messages)} faults")
    return 1 if collected.messages else 0


if __name__ == "__main__":
    sys.exit(main())
