"""Shell completion, driven as the shells drive it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from cli_support import Ran, streamad

from streamad.cli import completion
from streamad.detectors import BUILT_IN
from streamad.engines.factory import EngineName, Precision
from streamad.evaluation.datasets import DATASETS
from streamad.evaluation.images import IMAGE_BENCHMARKS


@pytest.fixture
def models(tmp_path: Path, small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("gate", "gate-night"):
        shutil.copytree(small_bundle, tmp_path / "own" / name)
    monkeypatch.setenv("STREAMAD_MODELS", str(tmp_path / "own"))
    return tmp_path


def bash(line: str, cwd: Path) -> list[str]:
    """What bash offers for the last word of a line."""
    words = line.split(" ")
    env = {"_STREAMAD_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    ran = streamad(cwd=cwd, env=env)
    assert (ran.code, ran.err) == (0, "")
    return ran.out.split()


def test_the_copies_are_what_the_registries_define() -> None:
    assert set(completion.DATASETS) == set(DATASETS)
    assert completion.IMAGE_BENCHMARKS == IMAGE_BENCHMARKS
    assert set(get_args(EngineName)) <= set(completion.ENGINES)
    assert get_args(Precision) == completion.PRECISIONS


def test_bash_completes_commands_options_and_names(models: Path) -> None:
    assert bash("streamad ev", models) == ["events", "evaluate", "evaluate-scores"]
    assert bash("streamad models ", models) == ["list", "show", "versions", "rollback"]
    assert bash("streamad score x.mp4 --thr", models) == ["--threshold", "--threads"]
    for line in ("streamad score x.mp4 --model gate", "streamad models show gate", "streamad calibrate gate"):
        assert bash(line, models) == ["gate", "gate-night"]
    assert bash("streamad evaluate ", models) == list(completion.DATASETS)
    assert bash("streamad evaluate ped2 --engine ten", models) == ["tensorrt", "tensorrt-rtx"]
    assert bash("streamad datasets validate p", models) == ["ped1", "ped2"]
    assert bash("streamad train ", models)[: len(BUILT_IN)] == list(BUILT_IN)
    assert bash("streamad benchmark-images m", models) == ["mnist", "mvtec"]
    assert bash("streamad config init --example ", models) == ["camera", "several", "replay"]


def test_zsh_and_fish_complete_with_descriptions(models: Path) -> None:
    env = {"_STREAMAD_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "streamad eval"}
    out = streamad(cwd=models, env=env).out
    assert '"evaluate":"Evaluate a model on a video data set."' in out
    env = {"_STREAMAD_COMPLETE": "complete_fish", "_TYPER_COMPLETE_ARGS": "streamad models show gate"}
    ran = streamad(cwd=models, env=env | {"_TYPER_COMPLETE_FISH_ACTION": "get-args"})
    assert ran.out.split() == ["gate", "gate-night"]
    assert streamad(cwd=models, env=env | {"_TYPER_COMPLETE_FISH_ACTION": "is-args"}).code == 0
    none = env | {"_TYPER_COMPLETE_ARGS": "streamad models show nothing", "_TYPER_COMPLETE_FISH_ACTION": "is-args"}
    assert streamad(cwd=models, env=none).code == 1  # fish then offers files


def shown(shell: str, cwd: Path) -> Ran:
    ran = streamad("--show-completion", shell, cwd=cwd, env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert ran.code == 0
    return ran


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str, tmp_path: Path) -> None:
    script = shown(shell, tmp_path).out
    assert f"_STREAMAD_COMPLETE=complete_{shell}" in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_real_bash_completes_with_the_script(models: Path) -> None:
    (models / "bin").mkdir()
    program = models / "bin" / "streamad"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m streamad "$@"\n')
    program.chmod(0o755)
    (models / "script").write_text(shown("bash", models).out)
    session = (
        f"PATH={models}/bin:$PATH; source {models}/script; complete -p streamad; "
        "COMP_WORDS=(streamad score x.mp4 --model gate-); COMP_CWORD=4; "
        '_streamad_completion streamad; echo "${COMPREPLY[@]}"'
    )
    ran = subprocess.run(
        ["bash", "--norc", "-c", session], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert ran.stdout.splitlines()[-1] == "gate-night"
    assert "-F _streamad_completion streamad" in ran.stdout
