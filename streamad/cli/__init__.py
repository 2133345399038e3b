"""The command line: one module a command."""

from streamad.cli.main import main

__all__ = ["main"]
