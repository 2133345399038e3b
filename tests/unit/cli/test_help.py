"""The help of every command: complete, grouped, short, and with examples that work."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from bundle_support import moving_shapes, write_mp4
from cli_names_support import commands
from cli_support import CliServer, file_source, write_config
from quality_support import watched

from streamad.cli.help import examples_of, summary_of

COMMANDS = commands()
EXAMPLES = [(name, example) for name, command in COMMANDS.items() for example in examples_of(command)]

RUN = (
    "streamad config init camera.yaml",
    "streamad config init --example several --print",
    "streamad config schema",
    "streamad config check camera.yaml",
    "streamad run camera.yaml --once --scores runs/scores-of-frames",
    "streamad backup camera.yaml --evidence --out runs/gate.zip",
    "streamad restore runs/gate.zip camera.yaml --force",
    "streamad score gate.mp4 --model motion-ped2",
    "streamad evaluate-scores theirs.npz --labels labels.npz --out results/theirs",
    "streamad evaluate-scores scores.csv --threshold 0.3 --fps 25 --json",
    "streamad datasets list",
    "streamad models list",
    "streamad models show motion-ped2",
    "streamad doctor",
)
"""In this order, in one folder."""

RUN_SLOWLY = (
    "streamad train motion --data normal/ --out models/gate",
    "streamad learn normal/ --out models/gate",
    "streamad calibrate models/gate --data normal/ --alerts-per-day 1",
    "streamad score gate.mp4 frames/ --model models/gate --no-video --fps 10 --json",
    "streamad fuse models/gate models/gate-adacl --data normal/ --out models/both",
    "streamad evaluate site/ --model models/gate --out results/gate",
    "streamad evaluate-scores theirs.npz --labels labels.npz --out results/theirs",
    "streamad compare results/gate results/theirs",
    "streamad export models/gate-adacl --engine onnx --precision fp16",
    "streamad benchmark --model adacl-ped2 --rounds 1 --frames 60",
)

NOT_RUN = {
    "streamad demo": "tests/integration/test_demo.py",
    "streamad demo --seed 7 --keep-running --port 8000": "runs until Ctrl-C",
    "streamad run camera.yaml": "runs until Ctrl-C",
    "streamad health camera.yaml": "tests/integration/test_run_as_a_service.py",
    "streamad health camera.yaml --ready": "tests/integration/test_run_as_a_service.py",
    "streamad backup camera.yaml": "tests/unit/workflows/test_backup.py",
    "streamad restore streamad-backup-20260105-031500.zip camera.yaml": "tests/unit/workflows/test_backup.py",
    "streamad sinks test camera.yaml": "tests/integration/test_notifications.py",
    "streamad sinks test camera.yaml --sink webhook": "tests/integration/test_notifications.py",
    "streamad learn rtsp://camera.example/stream1 --minutes 10 --out models/gate": "needs a camera",
    "streamad train adacl --data normal/ --out models/gate-adacl --epochs 5 --device cuda": "needs a GPU",
    "streamad calibrate models/gate --recent 24h --camera gate": "needs a day of scores",
    "streamad evaluate ped2 --data ~/datasets --model motion-ped2": "needs the data set",
    "streamad evaluate ped2 --data ~/datasets --model motion-ped2 --clips 1..4": "needs the data set",
    "streamad datasets validate ped2 --data ~/datasets": "needs the data set",
    "streamad benchmark-images mnist --detector adacl --data ~/datasets/images": "needs the data set",
    "streamad benchmark-images mvtec --detector igd --data ~/datasets/images --classes bottle,screw --seeds 1": "same",
    "streamad export models/gate-adacl --engine openvino --precision int8 --data normal/": "test_export_int8.py",
    "streamad models versions models/gate": "tests/unit/workflows/test_learning.py",
    "streamad models rollback models/gate": "same",
    "streamad models rollback models/gate --to 3": "same",
    "streamad discover": "tests/unit/sources/test_discovery.py",
    "streamad discover --interface 192.0.2.5 --json": "tests/unit/sources/test_discovery.py",
    "streamad config check camera.yaml --connect": "tests/integration/test_config_check.py",
    "streamad events list camera.yaml": "tests/integration/test_evidence.py",
    "streamad events list runs/events.sqlite --camera gate --limit 100 --json": "tests/integration/test_evidence.py",
    "streamad events show camera.yaml 01KXJ5Q8ZC4M7T2V9B3N6R1W0H": "tests/integration/test_evidence.py",
    "streamad events export camera.yaml 01KXJ5Q8ZC4M7T2V9B3N6R1W0H --out a.zip": "tests/integration/test_evidence.py",
    "streamad events list camera.yaml --since 24h --mark none": "tests/integration/test_events_are_marked.py",
    'streamad events mark camera.yaml 01KXJ5Q8ZC4M7T2V9B3N6R1W0H false-alarm --note "a branch in the wind"': "same",
    "streamad events mark camera.yaml 01KXJ5Q8ZC4M7T2V9B3N6R1W0H none": "same",
    "streamad events audit camera.yaml --since 24h": "tests/integration/test_accounts_commands.py",
    "streamad users add camera.yaml kim --role operator": "same",
    "streamad users add camera.yaml kim --password-file password.txt": "same",
    "streamad users remove camera.yaml kim": "same",
    "streamad users password camera.yaml kim": "same",
    "streamad users list camera.yaml": "same",
    "streamad tokens add camera.yaml prometheus --scope metrics": "same",
    "streamad tokens add camera.yaml home-assistant --scope viewer --expires 365d": "same",
    "streamad tokens list camera.yaml": "same",
    "streamad tokens revoke camera.yaml 1f0a9c3e": "same",
    "streamad doctor --selftest tensorrt --model motion-ped2": "needs a GPU",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, small_bundle: Path) -> Path:
    """What the examples read: videos, images, a data set, scores of another program, models."""
    folder = tmp_path_factory.mktemp("examples")
    write_mp4(folder / "gate.mp4", moving_shapes(64, (320, 240), shapes=3))
    (folder / "frames").mkdir()
    for number, picture in enumerate(moving_shapes(64, (320, 240), shapes=3)):
        cv2.imwrite(str(folder / "frames" / f"{number:03d}.png"), picture)
    (folder / "normal").mkdir()
    for seed in (4, 5):
        write_mp4(folder / "normal" / f"{seed}.mp4", watched(400, walkers=2, size=(160, 90), seed=seed), fps=10)
    for split in ("training", "testing"):
        (folder / "site" / split / "videos").mkdir(parents=True)
        write_mp4(folder / "site" / split / "videos" / "01.mp4", watched(96, walkers=2, size=(160, 90)), fps=10)
    labels, scores = np.repeat([0, 1], 48), np.linspace(0, 1, 96)
    (folder / "site" / "testing" / "frame_labels").mkdir()
    np.save(folder / "site" / "testing" / "frame_labels" / "01.npy", labels)
    np.savez(folder / "theirs.npz", **{"01": scores})
    np.savez(folder / "labels.npz", **{"01": labels})
    rows = [f"01,{k},{score},{label}" for k, (score, label) in enumerate(zip(scores, labels, strict=True))]
    (folder / "scores.csv").write_text("\n".join(["clip,frame,score,label", *rows]) + "\n")
    shutil.copytree(small_bundle, folder / "models" / "gate-adacl")
    return folder


def test_every_example_is_run_or_has_a_reason() -> None:
    assert {example for _, example in EXAMPLES} == {*RUN, *RUN_SLOWLY, *NOT_RUN}
    assert {name for name, _ in EXAMPLES} == set(COMMANDS)


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_an_example_is_a_command_line_of_its_command(name: str, example: str) -> None:
    words = shlex.split(example)
    arguments = words[1 + len(name.split()) :]
    assert words == ["streamad", *name.split(), *arguments]
    COMMANDS[name].make_context(name, arguments)  # parses, and calls nothing


def run(quick: CliServer, folder: Path, small_bundle: Path, examples: tuple[str, ...]) -> None:
    for example in examples:
        ran = quick(*shlex.split(example)[1:], cwd=folder)
        assert ran.code == 0, (example, ran.err)
        if "config init camera.yaml" in example:  # its camera is not here
            write_config(folder / "camera.yaml", small_bundle, file_source(folder / "gate.mp4"))


def test_the_examples_work(quick: CliServer, folder: Path, small_bundle: Path) -> None:
    run(quick, folder, small_bundle, RUN)
    assert (folder / "runs" / "score" / "gate.mp4").is_file()
    assert (folder / "results" / "theirs" / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("one_torch_thread")
def test_the_examples_that_take_long_work(quick: CliServer, folder: Path, small_bundle: Path) -> None:
    run(quick, folder, small_bundle, RUN_SLOWLY)
    assert (folder / "models" / "both" / "model.yaml").is_file()


def test_the_help_of_the_program_groups_all_commands_by_purpose(quick: CliServer, tmp_path: Path) -> None:
    out = quick("--help", cwd=tmp_path).out
    headings = [line for line in out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Options:", "Watch:", "Learn:", "Evaluate:", "Models and engines:", "Set up:"]
    listed = {line.split()[0] for line in out.splitlines() if line.startswith("  ") and line[2:3].isalpha()}
    assert {name.split()[0] for name in COMMANDS} <= listed
    assert "..." not in out.partition("\n")[2]  # no summary is cut


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command(quick: CliServer, name: str, tmp_path: Path) -> None:
    command = COMMANDS[name]
    summary = summary_of(command)
    assert summary.endswith(".")
    assert len(summary) <= 60
    out = quick(*name.split(), "--help", cwd=tmp_path).out
    assert f"\n  {summary}\n" in out
    assert out.endswith("Examples:\n" + "".join(f"  {example}\n" for example in examples_of(command)))
    for param in command.params:
        assert getattr(param, "help", None), param.name
        assert param.metavar or getattr(param, "is_flag", False) or param.name == "example", param.name  # its unit
        assert all(option in out for option in param.opts if option.startswith("-"))
