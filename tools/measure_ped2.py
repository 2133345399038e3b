"""Measure a bundle on UCSD Ped2: frame AUC under every protocol, and alerts on the test clips over RTSP.

    STREAMAD_DATA=... python tools/measure_ped2.py --model adacl-motion-ped2 --write docs/results/ped2-adacl-motion.md

No weight or epoch is selected on the test half: the bundle was trained and calibrated only on training clips. The offline part is
that of `streamad evaluate ped2`, and reuses its results in `--out`. The RTSP part needs GStreamer's server
(CONTRIBUTING.md).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import cv2
import httpx
import numpy as np
import yaml
from prometheus_client.parser import text_string_to_metric_families

from streamad.bundle import CARD, write_manifest
from streamad.calibration import Calibration
from streamad.detectors import find_detector
from streamad.evaluation import evaluate_scores, load_dataset
from streamad.evaluation.datasets.records import Clip, Dataset
from streamad.evaluation.report.tables import NEEDS
from streamad.evaluation.result import EvaluationRecord
from streamad.files import write_atomic
from streamad.inference import Model, open_model
from streamad.inference.clips import score_clips
from streamad.sources import ImagesSpec
from streamad.workflows.evaluate import evaluate_dataset

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

FPS = 10.0
PREFIX = 60
"""Frames of the last training clip sent before each test clip, so that a stream starts with a settled background."""
SPLICE = 9
"""Frames excluded after the splice: four whose history spans it and five whose median does. Splices do not occur on
real cameras; including these frames would cost 0.06 of AUC, because most test clips start with normal frames."""


def spec(clip: Clip) -> ImagesSpec:
    return ImagesSpec(path=clip.path, fps=FPS)


def held_out(model: Model, data: Dataset, calibration: Calibration) -> dict[str, Any]:
    """Count the frames above the threshold in the held-out normal clips (those of the calibration)."""
    found = score_clips([spec(clip) for clip in data.training[-4:]], model)
    values = np.concatenate([clip.scores for clip in found])
    values = values[np.isfinite(values)]
    return {"frames": len(values), "over": int((values >= calibration.threshold).sum()), "max": float(values.max())}


def encode(path: Path, folders: list[tuple[Path, int | None]]) -> int:
    """Encode image folders as H.264 at 10 frames/s; return the number of frames."""
    frames = []
    for folder, last in folders:
        files = sorted(folder.glob("*.jpg"))
        frames += [cv2.imread(str(f), cv2.IMREAD_GRAYSCALE) for f in (files[-last:] if last else files)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=int(FPS), options={"crf": "18", "preset": "veryfast", "g": "20", "bf": "0"}
        )
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape, "yuv420p"
        for image in frames:
            for packet in stream.encode(
                av.VideoFrame.from_ndarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), format="bgr24")
            ):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return len(frames)


def over_rtsp(model: str, data: Dataset, group: int) -> dict[str, Any]:
    """Serve every test clip from a real RTSP server, and monitor `group` of them at a time with `streamad run`."""
    from rtsp_support import RtspServer

    latencies: list[float] = []
    labels: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    dropped = alerts = right = 0
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for first in range(0, len(data.testing), group):
            clips = data.testing[first : first + group]
            mounts = {}
            for clip in clips:
                mounts[f"ped2-{clip.name}"] = root / f"{clip.name}.mp4"
                encode(root / f"{clip.name}.mp4", [(data.training[-1].path, PREFIX), (clip.path, None)])
            with RtspServer(mounts) as server:
                seconds = (PREFIX + max(clip.frames for clip in clips)) / FPS
                config = {
                    "model": model,
                    "cameras": [{"id": name, "source": {"type": "rtsp", "url": server.url(name)}} for name in mounts],
                    "reconnect": {"initial_seconds": 30},
                    "events": {"path": str(root / f"events{first}.sqlite")},
                    "web": {"port": 0},
                    "logging": {"format": "json"},
                }
                (root / "run.yaml").write_text(yaml.safe_dump(config))
                dropped += watch(root, seconds)
            with sqlite3.connect(root / f"events{first}.sqlite") as events:
                rows = [json.loads(r[0]) for r in events.execute("SELECT document FROM events")]
            for clip in clips:
                name = f"ped2-{clip.name}"
                values, late = read_scores(root / "scores" / f"{name}.csv", clip.frames)
                scores.append(values)
                labels.append(clip.labels)
                latencies += late
                opened = [r for r in rows if r["camera"] == name and r["raised_index"] >= PREFIX + SPLICE]
                alerts += len(opened)
                right += sum(
                    bool(clip.labels[max(0, r["started_index"] - PREFIX) : r["raised_index"] - PREFIX + 1].any())
                    for r in opened
                )
    late = np.array(latencies)
    return {
        "cameras_at_once": group,
        "evaluation": evaluate_scores(scores, labels, normalization="raw"),
        "frames": int(sum(map(len, scores))),
        "dropped": dropped,
        "latency_ms": {
            q: float(np.quantile(late, p) * 1000) for q, p in (("median", 0.5), ("p95", 0.95), ("max", 1.0))
        },
        "alerts": alerts,
        "alerts_in_abnormal_frames": right,
    }


def watch(root: Path, seconds: float) -> int:
    """Run `streamad run` for `seconds`; return the frames dropped, from its metrics page."""
    process = subprocess.Popen(
        [sys.executable, "-m", "streamad", "run", str(root / "run.yaml"), "--scores", str(root / "scores")],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    url = next(line for line in process.stderr if "/metrics" in line).rsplit(" ", 1)[1].strip()
    deadline = time.monotonic() + seconds + 10
    dropped = 0
    while time.monotonic() < deadline:
        time.sleep(1)
        page = httpx.get(f"{url}/metrics").text
        families = {f.name: f for f in text_string_to_metric_families(page)}
        dropped = int(sum(s.value for s in families["streamad_frames_dropped"].samples))
        if (
            all(s.value == 0 for s in families["streamad_camera_up"].samples)
            and time.monotonic() > deadline - seconds / 2
        ):
            break
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    return dropped


def read_scores(path: Path, frames: int) -> tuple[np.ndarray, list[float]]:
    """Read the scores of the test clip's frames (after the prefix) and all latencies."""
    values = np.full(frames, np.nan)
    late = []
    with path.open() as file:
        for row in csv.DictReader(file):
            index = int(row["index"]) - PREFIX
            if SPLICE <= index < frames:
                late.append(float(row["latency_seconds"]))
                values[index] = float(row["raw_score"]) if row["raw_score"] else np.nan
    return values, late


def page(
    model: Model,
    calibration: Calibration,
    result: EvaluationRecord,
    normal: dict[str, Any] | None,
    live: dict[str, Any] | None,
) -> str:
    manifest, alarms = model.bundle.manifest, result.alerts
    assert alarms is not None  # a calibration exists
    raw = next(e for e in result.protocols if e.normalization == "raw")
    single = [result.clips[v].name for v in raw.single_class_videos]
    lines = [
        f"# UCSD Ped2 with `{model.bundle.name}`",
        "",
        f"Measured by `python tools/measure_ped2.py --model {model.bundle.name}` on {os.cpu_count()} cores "
        f"({platform.machine()}), {model.engine.info.name} {manifest.parity[0].version.split('-')[0]}, fp32. Bundle "
        f"`{model.bundle.sha256[:12]}`, seed {manifest.training.seed}, {manifest.training.epochs} epochs; "
        f"checkpoint: {manifest.training.checkpoint}. Trained on 12 training clips, calibrated on the other 4; no weight or "
        "epoch was selected on the test half. What else was seen of it: "
        "[how the choices were made](README.md#how-the-choices-were-made).",
        "",
        "## Frame-level, official frame labels",
        "",
        "| protocol | AUC micro | AUC macro | EER | average precision | base rate | frames | unscored |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for e in sorted(result.protocols, key=lambda e: list(NEEDS).index(e.normalization)):
        macro = "–" if e.auc_macro is None else f"{e.auc_macro:.4f}"
        lines.append(
            f"| `{e.normalization}` | {e.auc_micro:.4f} | {macro} | {e.eer:.4f} | {e.average_precision:.4f} | {e.base_rate:.3f} "
            f"| {e.frames} | {e.unscored_frames} |"
        )
    lines += [
        "",
        "`calibrated` is the headline result: it uses only statistics of normal training video. It maps raw scores by a "
        "strictly increasing curve, so its ranking and AUC equal those of `raw`. `per_video` needs each test video's "
        "future and is given only for comparison with the literature.",
        f"Single-class videos, excluded from the macro AUC: {', '.join(single)}.",
        "",
        "## Alerts at the calibrated threshold",
        "",
        f"Budget ({calibration.budget}) from {calibration.frames} normal frames "
        f"({calibration.duration_seconds:.0f} s): threshold {calibration.threshold:.4f}, 95 % interval "
        f"{calibration.threshold_low:.4f} to {calibration.threshold_high:.4f}.",
        "",
    ]
    lines += [f"> {warning}" for warning in calibration.warnings]
    delay = alarms.mean_delay_seconds
    lines += [
        "",
        f"- true intervals found: {alarms.found} of {alarms.found + alarms.missed}; correct alerts "
        f"{alarms.right}, false alerts {alarms.wrong}; mean delay {'–' if delay is None else f'{delay:.1f} s'}",
    ]
    if normal is not None:
        lines.append(
            f"- held-out normal clips: {normal['over']} of {normal['frames']} frames above the threshold (largest score "
            f"{normal['max']:.4f})"
        )
    lines.append("")
    if live is not None:
        e = live["evaluation"]
        lat = live["latency_ms"]
        lines += [
            "## Monitored over RTSP",
            "",
            f"Each test clip was encoded as H.264 (10 frames/s, CRF 18), served over TCP by GStreamer's RTSP server in "
            f"real time, after {PREFIX} normal frames, and monitored by `streamad run`, {live['cameras_at_once']} cameras "
            "at once.",
            "",
            f"- frames evaluated: {e.frames} of {live['frames']} (the {SPLICE} after each splice are excluded); dropped: "
            f"{live['dropped']}",
            f"- latency from decoded to scored: median {lat['median']:.1f} ms, 95 % {lat['p95']:.1f} ms, largest "
            f"{lat['max']:.1f} ms",
            f"- AUC micro `raw`: {e.auc_micro:.4f} (from the original images: {raw.auc_micro:.4f}; "
            "the difference is due to compression and to how long the background had been known)",
            f"- alerts: {live['alerts']}, of which {live['alerts_in_abnormal_frames']} began in abnormal frames; an "
            "alert that was raised by the splice and sustained by the clip is not counted",
            "",
        ]
    return "\n".join(lines)


def record(model: Model, result: EvaluationRecord) -> None:
    """Store the frame-level metrics in the bundle, each with its protocol."""
    bundle = model.bundle
    results = tuple(
        {
            "data": "UCSD Ped2, test half, official frame labels",
            "protocol": e.normalization,
            "auc_micro": round(e.auc_micro, 4),
            "eer": round(e.eer, 4),
            "frames": e.frames,
            "selected_on_test_data": result.origin.selected_on_test_data,
        }
        for e in result.protocols
    )
    manifest = bundle.manifest.model_copy(update={"results": results})
    write_atomic(bundle.path / CARD, find_detector(manifest.detector).card(manifest))
    write_manifest(bundle.path, manifest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="adacl-motion-ped2")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("STREAMAD_DATA", "data")) / "ped2")
    parser.add_argument(
        "--cameras", type=int, default=4, help="number of simultaneous RTSP cameras; 0 skips the RTSP part"
    )
    parser.add_argument("--write", type=Path, help="Markdown page to write; default: standard output")
    parser.add_argument(
        "--out", type=Path, help="output folder of `streamad evaluate`, new or resumed; default: temporary"
    )
    parser.add_argument("--record", action="store_true", help="store the metrics in the bundle's manifest and card")
    options = parser.parse_args()
    data = load_dataset("ped2", options.data)
    with open_model(options.model, hint="throughput") as model:
        assert model.bundle.calibration_path is not None, "calibrate the bundle first"
        calibration = Calibration.load(model.bundle.calibration_path)
        with tempfile.TemporaryDirectory() as temporary:
            result = evaluate_dataset(data, model.bundle, options.out or Path(temporary)).record
        # A window of the 3-D network takes a second here, and its normal clips were already scored for the calibration.
        normal = None if model.bundle.manifest.tiling.window == 16 else held_out(model, data, calibration)
        live = over_rtsp(options.model, data, options.cameras) if options.cameras else None
        if options.record:
            record(model, result)
        text = page(model, calibration, result, normal, live)
    if options.write:
        write_atomic(options.write, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
