"""Every command of the program, for tests of the help, the documentation and the completion."""

from __future__ import annotations

import importlib
from typing import Any

import typer


def commands() -> dict[str, Any]:
    """ "run" → its click command; of groups, "models list"."""
    main = importlib.import_module("streamad.cli.main")
    group: Any = typer.main.get_command(main.app)
    answer: dict[str, Any] = {}
    for name in main.COMMANDS:
        command = group.get_command(None, name)
        nested = getattr(command, "commands", None)
        answer |= {f"{name} {inner}": each for inner, each in nested.items()} if nested else {name: command}
    return answer
