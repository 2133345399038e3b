"""Running the command line as users do: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ran:
    """What became of one command."""

    code: int
    out: str
    err: str

    def document(self) -> dict[str, Any]:
        """Standard output as the one JSON document that it must be."""
        document = json.loads(self.out)
        assert isinstance(document, dict)
        return document

    def error(self) -> dict[str, Any]:
        """The error of that document, checked against exit code and standard error."""
        error = self.document()["error"]
        assert set(error) >= {"type", "message", "hint", "code"}
        assert error["code"] == self.code
        assert error["message"] in self.err
        assert isinstance(error, dict)
        return error


def command(*arguments: str | Path) -> list[str]:
    """The command line of `streamad` with these arguments."""
    return [sys.executable, "-m", "streamad", *map(str, arguments)]


def streamad(
    *arguments: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 60,
    traceback: bool = False,
) -> Ran:
    """Run a command to its end; a traceback fails the test at once."""
    ran = subprocess.run(
        command(*arguments),
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert "Traceback" not in ran.stderr, ran.stderr
    return Ran(ran.returncode, ran.stdout, ran.stderr)
