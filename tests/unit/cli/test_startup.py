"""What does not run a command imports nothing that takes time. No test asserts a time: the modules are its cause."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import streamad

HEAVY = {"numpy", "cv2", "av", "openvino", "onnx", "torch", "yaml", "rich", "prometheus_client", "fastapi"}
"""Not pydantic: typer imports it for every command line."""


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["--help"], {}),
        (["--version"], {}),
        (["nonsense"], {}),
        (["score", "--help"], {}),
        (["score", "x.mp4", "--no-such-option"], {}),
        (["evaluate", "ped2"], {}),
        (["evaluate", "mnist"], {}),
        (["models", "list", "--nonsense"], {}),
        ([], {"_STREAMAD_COMPLETE": "complete_bash", "COMP_WORDS": "streamad ev", "COMP_CWORD": "1"}),
        ([], {"_STREAMAD_COMPLETE": "complete_bash", "COMP_WORDS": "streamad models show m", "COMP_CWORD": "3"}),
        ([], {"_STREAMAD_COMPLETE": "complete_bash", "COMP_WORDS": "streamad train ", "COMP_CWORD": "2"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value.get("COMP_WORDS", "").replace(" ", "_"),
)
def test_help_usage_errors_and_completion_import_nothing_heavy(
    arguments: list[str], env: dict[str, str], tmp_path: Path
) -> None:
    program = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('loaded', *({HEAVY!r} & sys.modules.keys()), file=sys.stderr))\n"
        "from streamad.cli import main\n"
        "main()\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, **env}, cwd=tmp_path,
    )  # fmt: skip
    assert ran.returncode in (0, 2), ran.stderr
    assert ran.stderr.splitlines()[-1] == "loaded"


def test_a_misspelled_word_suggests_the_nearest(tmp_path: Path) -> None:
    for arguments, suggestion in (
        (("evalute",), "Did you mean 'evaluate'"),
        (("models", "lst"), "Did you mean 'list'"),
        (("score", "x.mp4", "--modell", "m"), "Did you mean --model?"),
        (("score", "x.mp4", "--model", "motion-pd2"), "did you mean 'motion-ped2'?"),
        (("score", "x.mp4", "--model", "m", "--engine", "opnvino"), "did you mean 'openvino'?"),
        (("score", "x.mp4", "--model", "m", "--normalization", "pervideo"), "did you mean 'per_video'?"),
        (("train", "moton", "--data", ".", "--out", "gate"), "did you mean 'motion'?"),
        (("evaluate", "pde2", "--data", ".", "--model", "motion-ped2"), "did you mean 'ped2'?"),
        (("datasets", "validate", "avenu", "--data", "."), "did you mean 'avenue'?"),
        (("benchmark-images", "fashion_mnist", "--detector", "igd"), "did you mean 'fashion-mnist'?"),
    ):
        ran = streamad(*arguments, cwd=tmp_path)
        assert suggestion in ran.err, (arguments, ran.err)
        assert ran.code in (2, 3, 4, 5)
