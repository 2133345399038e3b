"""What the page costs beside scoring: four cameras at full speed without it, with it, and with somebody who looks.

    python benchmarks/page_cost.py [--model motion-ped2] [--video FILE] [--rounds 5]

Default of the video: the rendered one of evidence_cost.py. The variants take turns. The viewer does what the page does
on its wall: it reads the stream of news and asks for the picture of each camera once a second; it runs in a process of
its own, which is not counted, as a browser elsewhere would not be. CPU time is that of the main process and of all decoders; `page_percent_of_cpu` is the share of the web
server's threads, which does not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import yaml
from evidence_cost import make_video

from streamad.service import watch

CAMERAS = 4
VARIANTS = ("off", "nobody looks", "one viewer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="motion-ped2")
    parser.add_argument("--video", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--view", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.view:
        view(options.view)
    elif options.run:
        print(json.dumps(run(options.run)))
    else:
        with tempfile.TemporaryDirectory() as folder:
            video = options.video or make_video(Path(folder) / "video.mp4")
            compare(options.model, video, options.rounds)


def compare(model: str, video: Path, rounds: int) -> None:
    found: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    for _ in range(rounds):
        for variant in VARIANTS:
            found[variant].append(measured(model, video, variant))
            print(variant, found[variant][-1], flush=True)
    for variant in VARIANTS[1:]:
        for name in ("cpu_ms_per_frame", "frames_per_second"):
            ratios = [a[name] / b[name] for a, b in zip(found[variant], found["off"], strict=True)]
            print(
                f"{variant}: {name} × {statistics.median(ratios):.3f} (of {rounds}: {sorted(round(r, 3) for r in ratios)})"
            )


def measured(model: str, video: Path, variant: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        source = {"type": "file", "path": str(video.resolve())}
        document = {
            "model": model,
            "cameras": [{"id": f"camera-{number}", "source": source} for number in range(CAMERAS)],
            "events": {"path": f"{folder}/events.sqlite"},
            "history": {"folder": f"{folder}/history"},
            "evidence": {"folder": f"{folder}/evidence"},
            "web": {"enabled": variant != "off", "port": 8931},
        }
        config = Path(folder) / "site.yaml"
        config.write_text(yaml.safe_dump(document))
        me = [sys.executable, __file__]
        viewer = None
        if variant == "one viewer":
            viewer = subprocess.Popen([*me, "--view", "http://127.0.0.1:8931"])
        try:
            done = subprocess.run([*me, "--run", str(config)], check=True, capture_output=True, text=True)
        finally:
            if viewer is not None:
                viewer.kill()
                viewer.wait()
        return json.loads(done.stdout.splitlines()[-1])


def run(config: Path) -> dict[str, float]:
    """Watch until all files have been read; returns the rate and the CPU time from the first score on."""
    frames = 0
    began = (0.0, 0.0)
    page: dict[int | None, float] = {}

    def count(*_: object) -> None:
        nonlocal frames, began
        frames += 1
        if frames == 1:
            began = time.monotonic(), spent(resource.RUSAGE_SELF)
        if frames % 50 == 0:
            for thread in threading.enumerate():
                if thread.name.startswith(("streamad-web", "AnyIO")):
                    page[thread.native_id] = spent_by(thread.native_id)

    watch(config, once=True, on_score=count)
    seconds, own = time.monotonic() - began[0], spent(resource.RUSAGE_SELF) - began[1]
    cpu = own + spent(resource.RUSAGE_CHILDREN)
    share = 100 * sum(page.values()) / cpu
    return {
        "page_percent_of_cpu": round(share, 2),
        "cpu_ms_per_frame": round(1000 * cpu / frames, 3),
        "frames_per_second": round(frames / seconds, 1),
    }


def spent_by(thread: int | None) -> float:
    """CPU seconds of a thread of this process; 0 if it has just ended."""
    try:
        fields = Path(f"/proc/self/task/{thread}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def spent(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def view(url: str) -> None:
    """Look at the wall until killed."""

    def news() -> None:
        while True:
            try:
                with httpx.Client(timeout=30) as client, client.stream("GET", f"{url}/api/v1/stream") as answer:
                    for _ in answer.iter_raw():
                        pass
            except httpx.HTTPError:
                time.sleep(0.2)

    threading.Thread(target=news, daemon=True).start()
    with httpx.Client(base_url=url, timeout=30) as client:
        while True:
            began = time.monotonic()
            for number in range(CAMERAS):
                try:
                    client.get(f"/api/v1/cameras/camera-{number}/preview.jpg")
                except httpx.HTTPError:
                    time.sleep(0.2)
            time.sleep(max(0.0, 1.0 - (time.monotonic() - began)))


if __name__ == "__main__":
    main()
