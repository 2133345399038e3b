"""Running the command line as users do: in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from bundle_support import THRESHOLD


@dataclass(frozen=True)
class Ran:
    """Result of a command."""

    code: int
    out: str
    err: str

    def document(self) -> dict[str, Any]:
        """Parse standard output as a single JSON document."""
        document = json.loads(self.out)
        assert isinstance(document, dict)
        return document

    def error(self) -> dict[str, Any]:
        """Return the document's error after comparing it with the exit code and standard error."""
        error = self.document()["error"]
        assert set(error) >= {"type", "message", "hint", "code"}
        assert error["code"] == self.code
        assert error["message"] in self.err
        assert isinstance(error, dict)
        return error


def command(*arguments: str | Path) -> list[str]:
    """Return the command line of `streamad` with arguments."""
    return [sys.executable, "-m", "streamad", *map(str, arguments)]


def streamad(
    *arguments: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 60,
    traceback: bool = False,
) -> Ran:
    """Run a command to completion. A traceback fails the test immediately."""
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


def write_config(path: Path, bundle: Path, source: dict[str, Any], **more: Any) -> Path:
    """Write a configuration with one camera "a", the small model and no web page; return its path."""
    document = {
        "model": str(bundle),
        "cameras": [{"id": "a", "source": source, "threshold": THRESHOLD}],
        "web": {"enabled": False},
        "events": {"path": str(path.parent / "events.sqlite")},
        **more,
    }
    path.write_text(yaml.safe_dump(document))
    return path


def file_source(video: Path) -> dict[str, Any]:
    """Return the configuration of a video file as a source."""
    return {"type": "file", "path": str(video)}


_SERVER = """
import json, os, sys, traceback
from streamad.cli.main import main
import streamad.cli.calibrate, streamad.cli.config, streamad.cli.models, streamad.cli.score
import streamad.workflows.score, streamad.sources.file, streamad.sources.images, streamad.sources.rtsp
import streamad.cli.config_check, streamad.cli.progress, streamad.config, streamad.evaluation, streamad.inference
import multiprocessing.reduction, openvino

for line in sys.stdin:
    wish = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.chdir(wish["cwd"])
        for number, name in enumerate(("/dev/null", wish["out"], wish["err"])):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
        sys.argv = ["streamad", *wish["arguments"]]
        code = 1
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    _, status = os.waitpid(pid, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class CliServer:
    """Runs commands in processes forked from one that has imported the program, in a tenth of the time.

    Use it for commands that fail early. Commands that start decoders or watch cameras need a start of their own.

    Args:
        folder: Folder for the commands' output.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, *arguments: str | Path, cwd: Path) -> Ran:
        """Run a command to completion. A traceback fails the test immediately."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._count += 1
        out, err = (self._folder / f"{self._count}.{name}" for name in ("out", "err"))
        wish = {"arguments": [*map(str, arguments)], "cwd": str(cwd), "out": str(out), "err": str(err)}
        self._process.stdin.write(json.dumps(wish) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        ran = Ran(code, out.read_text(), err.read_text())
        assert "Traceback" not in ran.err, ran.err
        return ran

    def close(self) -> None:
        """End the server process."""
        self._process.communicate(timeout=30)
