"""The README's commands with default options, for every shipped model, one from `learn`, and several picture sizes."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import yaml
from bundle_support import FULL_WIDTH, moving_shapes, write_mp4
from cli_support import CliServer, Ran, streamad
from quality_support import watched

from streamad.bundle import load_bundle
from streamad.calibration import Calibration
from streamad.inference import open_model
from streamad.inference.session import Session
from streamad.sources import open_source, parse_source

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = sorted(path.parent for path in (ROOT / "models").glob("*/model.yaml"))
DETECTORS = {path.name: load_bundle(path).manifest.detector for path in FOLDERS}
LEARNED = "made by `streamad learn`"

SIZES = {"landscape": (320, 240), "portrait": (146, 260), "odd": (321, 201)}
"""Width and height. The last is a folder of images, because H.264 supports only even sizes."""


def one_a_detector() -> set[str]:
    """Names of the first small bundle of each detector, which run by default. The others are slow."""
    first: dict[str, str] = {}
    calibrated = {path.name for path in FOLDERS if (path / "calibration.json").exists()}
    for name in sorted(calibrated - FULL_WIDTH):
        first.setdefault(DETECTORS[name], name)
    return set(first.values())


def frames_of(name: str) -> int:
    """Number of frames, beyond the warm-up: 32 for a background, 44 for movement, 16 for a window."""
    return 64 if DETECTORS.get(name, "motion") in ("adacl", "alps", "motion", "fusion") else 24


LIGHT = one_a_detector()
CASES = [
    pytest.param(name, size, marks=() if name in LIGHT and size == "landscape" else pytest.mark.slow)
    for name in (*DETECTORS, LEARNED)
    for size in SIZES
    if size == "landscape" or name not in FULL_WIDTH  # which take long; a test below gives them every size
]
ALL = [pytest.param(name, marks=pytest.mark.slow) for name in (*DETECTORS, LEARNED)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of every size and length, and a data set."""
    site = tmp_path_factory.mktemp("site")
    for length in {frames_of(name) for name in DETECTORS}:
        for name, size in SIZES.items():
            pictures = list(moving_shapes(length, size, shapes=3))
            if name != "odd":
                write_mp4(site / f"{name}-{length}.mp4", pictures)
                continue
            (site / f"{name}-{length}").mkdir()
            for number, picture in enumerate(pictures):
                cv2.imwrite(str(site / f"{name}-{length}" / f"{number:03d}.png"), picture)
    for split in ("training", "testing"):
        (site / "set" / split / "videos").mkdir(parents=True)
        write_mp4(site / "set" / split / "videos" / "01.mp4", moving_shapes(64, seed=5))
    (site / "set" / "testing" / "frame_labels").mkdir()
    np.save(site / "set" / "testing" / "frame_labels" / "01.npy", np.repeat([0, 1], 32))
    (site / "normal").mkdir()
    for number in range(2):
        write_mp4(site / "normal" / f"{number}.mp4", moving_shapes(100, seed=20 + number))
    return site


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learned")
    video = write_mp4(folder / "normal.mp4", watched(600, walkers=2, size=(160, 90)), fps=10)
    ran = streamad("learn", video, "--out", folder / "gate", cwd=folder, timeout=600)
    assert ran.code == 0, ran.err
    return folder / "gate"


@pytest.fixture
def model(request: pytest.FixtureRequest, name: str) -> str:
    return str(request.getfixturevalue("learned")) if name == LEARNED else name


def clip_of(site: Path, name: str, size: str) -> Path:
    return site / f"{size}-{frames_of(name)}{'' if size == 'odd' else '.mp4'}"


@dataclass(frozen=True)
class Shown:
    """Output of `score` for a clip: the pictures of its video, (T, H, W, 3), and the lines of its CSV."""

    pictures: np.ndarray[Any, Any]
    lines: list[dict[str, str]]


def written(result: dict[str, Any], folder: Path) -> Shown:
    with av.open(str(folder / result["video"])) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with (folder / result["csv"]).open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    plot = cv2.imread(str(folder / result["plot"]))
    assert plot is not None
    assert plot.shape == (600, 1600, 3)
    assert np.ptp(plot) > 100
    return Shown(np.stack(pictures).astype(int), lines)


@pytest.mark.parametrize(("name", "size"), CASES)
def test_score_draws_every_cell_where_the_scorer_says_it_is(
    quick: CliServer, site: Path, model: str, name: str, size: str, tmp_path: Path
) -> None:
    clip, frames = clip_of(site, name, size), frames_of(name)
    ran = quick("score", clip, "--model", model, "--json", cwd=tmp_path)
    assert ran.code == 0, ran.err
    document = ran.document()
    (result,) = document["results"]
    shown = written(result, tmp_path)
    assert len(shown.pictures) == len(shown.lines) == result["frames"] == frames
    assert result["scored"] + sum(result["skipped"].values()) == frames
    assert result["scored"] > 0
    with open_model(model) as loaded:
        path = loaded.bundle.calibration_path
        calibration = None if path is None else Calibration.load(path)
        scorer = loaded.scorer("clip", None if calibration is None else calibration.local)
        with open_source(parse_source(str(clip)), camera="clip") as source:
            results = Session(loaded, camera="clip", scorer=scorer).run(source)
            last = [result.score for result in results if result.score.anomaly_map is not None][-1]
    width, height = SIZES[size]
    assert shown.pictures.shape[1:3] == (height + height % 2, width + width % 2)
    line = shown.lines[last.index]
    assert float(line["raw_score"]) == pytest.approx(last.score, abs=1e-4)
    if calibration is None:
        return  # colors are then relative to earlier frames
    low = calibration.median
    high = low + 1.5 * (calibration.threshold - low)
    assert last.anomaly_map is not None
    share = (np.nan_to_num(last.anomaly_map, nan=-np.inf) - low) / (high - low)
    some, much = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    for row, col in np.argwhere(share > 0):
        x0, y0, x1, y1 = scorer.location_box(int(row), int(col))
        some[y0:y1, x0:x1] = 1
        much[y0:y1, x0:x1] |= share[row, col] > 0.7
    # The codec stores color at half resolution, so edges may be off by some pixels. Skip strip and border.
    near, surely = cv2.dilate(some, np.ones((9, 9), np.uint8)) > 0, cv2.erode(much, np.ones((7, 7), np.uint8)) > 0
    color, inner = np.ptp(shown.pictures[last.index], axis=2)[:height, :width], np.s_[24:-8, 8:-8]
    assert (color > 50)[inner][~near[inner]].mean() < 0.002  # the codec blurs color within its blocks
    assert not surely[inner].any() or (color > 25)[inner][surely[inner]].mean() > 0.9


@pytest.fixture
def own(model: str, tmp_path: Path) -> Path:
    """A copy of the bundle, for commands that write to it."""
    path = load_bundle(model).path
    return Path(shutil.copytree(path, tmp_path / "own" / path.name))


@pytest.mark.parametrize("name", ALL)
def test_every_other_command_that_takes_a_model(site: Path, model: str, own: Path, name: str, tmp_path: Path) -> None:
    def done(*arguments: str | Path) -> Ran:
        ran = streamad(*arguments, cwd=tmp_path, timeout=600)
        assert ran.code == 0, ran.err
        return ran

    assert load_bundle(model).manifest.name in done("models", "show", model).out
    done("calibrate", own, "--data", site / "normal", "--alerts-per-day", "1")
    cameras = [
        {"id": size, "source": {"type": "images" if size == "odd" else "file", "path": str(clip_of(site, name, size))}}
        for size in SIZES
    ]
    config = tmp_path / "camera.yaml"
    web, events = {"enabled": False}, {"path": str(tmp_path / "events.sqlite")}
    config.write_text(yaml.safe_dump({"model": str(own), "cameras": cameras, "web": web, "events": events}))
    done("config", "check", config)
    rows = json.loads(done("run", config, "--once", "--json").out)["cameras"]
    assert [(row["frames"], row["error"]) for row in rows] == [(frames_of(name), None)] * len(SIZES)
    done("evaluate", site / "set", "--model", model, "--out", tmp_path / "results")
    assert (tmp_path / "results" / "report.html").is_file()
    if DETECTORS.get(name) == "fusion":  # a fusion has no network of its own
        for arguments in (("benchmark", "--model", model), ("export", own)):
            ran = streamad(*arguments, cwd=tmp_path)
            assert ran.code == 2
            assert "joins several models" in ran.err
        return
    done("benchmark", "--model", model)
    done("export", own)


def test_readme_names_no_command_that_is_not_tried() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`?streamad ([a-z-]+)", text)) - {"video"}
    here = {"learn", "calibrate", "config", "run", "score", "evaluate", "export", "benchmark", "models"}
    elsewhere = {"demo", "train", "doctor", "datasets", "compare", "fuse", "evaluate-scores", "benchmark-images"}
    assert named <= here | elsewhere
    assert here <= named | {"calibrate", "export", "benchmark", "models"}
