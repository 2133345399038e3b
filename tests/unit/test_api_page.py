"""The page of the Python API: its examples run, in order, on real video, and use every public name."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from bundle_support import write_mp4
from motion_support import walkers, world

import streamad

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "api" / "index.md"
FPS = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page says is there."""
    place = tmp_path_factory.mktemp("page")

    def video(path: Path, seconds: float, seed: int) -> None:
        frames = world(walkers(seconds, seed=seed), seconds, fps=FPS, seed=seed)
        write_mp4(path, (frame.pixels for frame in frames), fps=FPS)

    video(place / "clip.mp4", 12, 3)
    video(place / "a.mp4", 40, 1)
    video(place / "b.mp4", 40, 2)
    testing = place / "my-data" / "testing"
    (testing / "videos").mkdir(parents=True)
    (testing / "frame_labels").mkdir()
    video(testing / "videos" / "1.mp4", 12, 4)
    np.save(testing / "frame_labels" / "1.npy", np.repeat([0, 1], 60).astype(np.uint8))
    (place / "camera.yaml").write_text(
        yaml.safe_dump(
            {
                "model": "models/gate",
                "cameras": [{"id": "gate", "source": {"type": "file", "path": "clip.mp4"}}],
                "web": {"enabled": False},
            }
        )
    )
    return place


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.S)


def test_every_public_name_has_an_example() -> None:
    used = set(re.findall(r"streamad\.(\w+)", "\n".join(examples())))
    assert used >= set(streamad.__all__)


def test_the_examples_run_in_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    namespace: dict[str, object] = {}
    for number, example in enumerate(examples()):
        exec(compile(example, f"{PAGE.name}, example {number}", "exec"), namespace)
    assert (folder / "report" / "report.html").is_file()
    results = namespace["results"]
    assert isinstance(results, list)
    assert len(results) == 12 * FPS
