"""The camera panel: `streamad learn` and `streamad score` with their defaults on many cameras, beside three baselines.

    make panel          or: python benchmarks/panel.py [--only ped1 umn3] [--all]
    make panel-docs     or: python benchmarks/panel.py --from runs/panel/panel.json --write-docs
    python benchmarks/panel.py --compare docs/results/panel/30dd787.json runs/panel/panel.json

The cameras are in the folder `cameras` of STREAMAD_DATA. Its panel.json lists {name, folder, fps, normal: [videos], test:
[videos], labels: file or null}; labels are one array per test video: 0 normal, 1 anomalous, 255 not counted; null: the test
videos are normal throughout. Nothing is tuned on them. Cameras that the same commit has measured before stay in the results,
so the panel can be run in parts.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from bench_machine import describe
from bench_report import end, write_into
from panel_baselines import baseline_alerts, baseline_scores
from panel_metrics import ANOMALOUS, NORMAL, WatchedVideo, measure, runs, summary, trace
from panel_report import comparison, markdown, picture

from streamad import __version__
from streamad.errors import DatasetError
from streamad.files import read_json, write_atomic, write_json

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
LONG = ("upcam",)
"""Cameras with a day of video; skipped unless they are named or all cameras are requested."""


@dataclass(frozen=True)
class Camera:
    """An entry of panel.json, with the paths of its videos."""

    name: str
    fps: float
    normal: tuple[Path, ...]
    watched: tuple[Path, ...]
    labels: Mapping[str, npt.NDArray[np.uint8]]

    def labels_of(self, video: Path, frames: int) -> npt.NDArray[np.uint8]:
        """Return the labels of a watched video; if it has none, `frames` normal ones."""
        return np.asarray(self.labels.get(video.stem, np.full(frames, NORMAL)), np.uint8)

    def events(self) -> int:
        """Return the number of labeled events in the watched videos."""
        return sum(len(runs(self.labels_of(video, 0) == ANOMALOUS)) for video in self.watched)


def load_cameras(only: Sequence[str] = (), everything: bool = False) -> list[Camera]:
    """Read panel.json.

    Args:
        only: Names of cameras, or prefixes of names. Default: all but `LONG`.
        everything: Include `LONG`.

    Raises:
        DatasetError: STREAMAD_DATA has no cameras, or a name matches none.
    """
    data = os.environ.get("STREAMAD_DATA")
    folder = Path(data or "") / "cameras"
    if not data or not (folder / "panel.json").is_file():
        raise DatasetError(
            "STREAMAD_DATA names no folder with cameras/panel.json" if data else "STREAMAD_DATA is not set",
            hint="set it to the folder of the data sets; the panel reads its folder `cameras`",
        )
    cameras = [_camera(folder.resolve(), entry) for entry in read_json(folder / "panel.json")]
    unknown = [name for name in only if not any(camera.name.startswith(name) for camera in cameras)]
    if unknown:
        known = ", ".join(camera.name for camera in cameras)
        raise DatasetError(f"no camera is called {', '.join(unknown)}", hint=f"the cameras are {known}")
    if only:
        return [camera for camera in cameras if camera.name.startswith(tuple(only))]
    return [camera for camera in cameras if everything or camera.name not in LONG]


def _camera(folder: Path, entry: Mapping[str, Any]) -> Camera:
    home = folder / entry["folder"]
    labels = {}
    if entry["labels"]:
        with np.load(home / entry["labels"]) as file:
            labels = {name: file[name] for name in file.files}
    return Camera(
        name=entry["name"],
        fps=float(entry["fps"]),
        normal=tuple(home / video for video in entry["normal"]),
        watched=tuple(home / video for video in entry["test"]),
        labels=labels,
    )


def measure_camera(camera: Camera, out: Path) -> dict[str, Any]:
    """Return the metrics of the product and of each baseline on one camera.

    Args:
        camera: The camera.
        out: Folder for the model, the scores and the cached scores of the baselines.
    """
    found, product = measure_product(camera, out)
    answer = {"fps": camera.fps, "product": product, "baselines": {}}
    if found:
        answer["product"] |= measure(found, camera.fps)
        answer["trace"] = trace(found, camera.fps, product["threshold"])
    results = baseline_scores(camera.normal, camera.watched, camera.fps, out / "baselines.npz")
    for name, (threshold, per_video) in results.items():
        videos = []
        for number, (path, scores) in enumerate(zip(camera.watched, per_video, strict=True)):
            labels = camera.labels_of(path, len(scores))
            size = min(len(labels), len(scores))
            scores = scores[:size]
            if found:  # scored on the same frames
                theirs = found[number].scores[:size]
                theirs = np.pad(theirs, (0, size - len(theirs)), constant_values=np.nan)
                scores = np.where(np.isnan(theirs), np.nan, scores)
            videos.append(WatchedVideo(scores, baseline_alerts(scores, threshold, camera.fps), labels[:size]))
        answer["baselines"][name] = measure(videos, camera.fps)
    return answer


def measure_product(camera: Camera, out: Path) -> tuple[list[WatchedVideo], dict[str, Any]]:
    """Learn the camera and score its watched videos; no videos and the reason if a command failed."""
    model, scores = out / "model", out / "scores"
    for old in (model, scores):  # an existing model would be updated
        shutil.rmtree(old, ignore_errors=True)
    began, videos, speeds, threshold = time.monotonic(), [], [], None
    try:
        streamad("learn", *camera.normal, "--out", model)
        learn_seconds = time.monotonic() - began
        for path in camera.watched:
            given = ("--no-video", "--no-plot", "--json", "--out", scores / path.stem)
            said = json.loads(streamad("score", path, "--model", model, *given))
            (result,) = said["results"]
            videos.append(read_video(Path(result["csv"]), camera, path))
            speeds.append((result["frames"], result["frames_per_second"]))
            threshold = said["threshold"]
    except subprocess.CalledProcessError as error:
        reason = " ".join(error.stderr.rpartition("error: ")[2].split())
        for folder in (out, camera.normal[0].parent.parent):
            reason = reason.replace(f"{folder}/", "")
        failed = f"{error.cmd[3]}: {reason[:300]}"
        return [], {"failed": failed} | summary([], [None] * camera.events(), 0, 0.0)
    return videos, {
        "threshold": threshold,
        "learn_seconds": round(learn_seconds, 1),
        "frames_per_second": sum(n for n, _ in speeds) / sum(n / speed for n, speed in speeds),
    }


def streamad(*arguments: str | Path) -> str:
    """Run a command of the running interpreter's streamad and return its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "streamad", *map(str, arguments)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def read_video(table: Path, camera: Camera, path: Path) -> WatchedVideo:
    """Read the CSV of a scored video. Frames without a line have no score and no alert."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = camera.labels_of(path, int(rows[-1]["index"]) + 1)
    scores, shown, alerts = np.full(len(labels), np.nan), np.full(len(labels), np.nan), np.zeros(len(labels), bool)
    for row in rows:
        index = int(row["index"])
        if index < len(labels):
            scores[index], shown[index] = float(row["raw_score"] or "nan"), float(row["score"] or "nan")
            alerts[index] = row["alert"] == "1"
    return WatchedVideo(scores, alerts, labels, shown)


def commit() -> str:
    """Return the checkout's commit, followed by -dirty if files were changed; empty outside a checkout."""
    given = ["git", "-C", str(ROOT), "describe", "--always", "--exclude=*", "--dirty"]
    return subprocess.run(given, capture_output=True, text=True, check=False).stdout.strip()


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure the cameras, one after the other, and write the results after each."""
    cameras, path = load_cameras(options.only, options.all), options.out / "panel.json"
    report = {"version": __version__, "commit": commit(), "date": "", "machine": describe(), "cameras": {}}
    if path.exists() and not report["commit"].endswith("-dirty"):
        before = read_json(path)
        if before["commit"] == report["commit"]:
            report["cameras"] = before["cameras"]
    for camera in cameras:
        print(f"{camera.name}: {len(camera.normal)} normal and {len(camera.watched)} watched videos", file=sys.stderr)
        report["cameras"][camera.name] = measure_camera(camera, options.out.resolve() / camera.name)
        report["cameras"] = dict(sorted(report["cameras"].items()))
        report["date"] = time.strftime("%Y-%m-%d")
        write_json(path, report)
    return report


def write_docs(report: Mapping[str, Any], text: str) -> None:
    """Write the results page, its pictures and the results themselves."""
    write_into(RESULTS / "panel.md", text)
    write_json(RESULTS / "panel.json", report)
    for name, camera in report["cameras"].items():
        if "trace" in camera:
            write_atomic(RESULTS / "panel" / f"{name}.svg", picture(camera["trace"], name))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="cameras, or what their names start with")
    parser.add_argument("--all", action="store_true", help="also cameras with a day of video (upcam)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/panel"), metavar="DIR", help="models, scores, panel.json"
    )
    parser.add_argument(
        "--from", type=Path, dest="source", metavar="FILE", help="use these results instead of measuring"
    )
    parser.add_argument("--compare", type=Path, nargs="+", metavar="FILE", help="only compare results, oldest first")
    parser.add_argument("--write-docs", action="store_true", help="write docs/results/panel.md with its pictures")
    return parser.parse_args(arguments)


def main() -> int:
    """Measure, or read results, and print the report."""
    options = parse()
    if options.compare:
        print(comparison([read_json(path) for path in options.compare]))
        return 0
    report = read_json(options.source) if options.source is not None else run(options)
    earlier = sorted(map(read_json, (RESULTS / "panel").glob("*.json")), key=lambda old: old["date"])
    text = markdown(report, earlier)
    print(text)
    if options.write_docs:
        write_docs(report, text)
    return 0


if __name__ == "__main__":
    end(main)
