"""Number of cameras at 25 frames per second that one machine sustains: `streamad run` on replayed video."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from streamad.config import Config
from streamad.live.monitor import Monitor

FPS = 25.0
SETTLE = 1.5
"""Seconds after the first score of every camera that are not counted, because backgrounds are still being learned."""
MEASURED = 2.5
"""Seconds that are counted."""
SHARE = 0.98
"""Share of frames that must be scored for a number of cameras to be sustained."""
MOST = 64


def watch(model: str, engine: dict[str, Any], video: Path, video_fps: float, cameras: int) -> dict[str, Any]:
    """Monitor a number of cameras for some seconds.

    Args:
        model: The bundle.
        engine: The `engine` section of a configuration.
        video: The video that every camera replays at 25 frames per second, with its own decoder process.
        video_fps: The video's own frame rate.
        cameras: Number of cameras.

    Returns:
        `cameras`, `frames_per_second` scored per camera on average and of the `slowest` camera, `held`, and the median
        `latency_ms` from decoded to scored.
    """
    source = {"type": "file", "path": str(video), "realtime": True, "loop": True, "speed": FPS / video_fps}
    config = Config.model_validate(
        {
            "model": model,
            "engine": engine,
            "cameras": [{"id": f"c{k}", "source": source, "threshold": 1e6} for k in range(cameras)],
            "web": {"enabled": False},
        }
    )
    scored: Counter[str] = Counter()
    seen: set[str] = set()
    latencies: list[float] = []
    begin: list[float] = []

    def on_score(watch: Any, _: Any, score: Any) -> None:
        now = time.monotonic()
        seen.add(watch.spec.id)
        if not begin:
            if len(seen) == cameras:
                begin.append(now + SETTLE)
                threading.Timer(SETTLE + MEASURED, monitor.stop).start()
            return
        if begin[0] <= now < begin[0] + MEASURED:
            scored[watch.spec.id] += 1
            latencies.append(now - score.received_at)

    monitor = Monitor(config, on_score=on_score)
    limit = threading.Timer(
        30 + SETTLE + MEASURED, monitor.stop
    )  # a camera that never starts must not hang the benchmark
    limit.start()
    try:
        monitor.run()
    finally:
        limit.cancel()
    rates = [scored[f"c{k}"] / MEASURED for k in range(cameras)]
    latencies.sort()
    return {
        "cameras": cameras,
        "frames_per_second": sum(rates) / cameras,
        "slowest": min(rates),
        "held": min(rates) >= SHARE * FPS,
        "latency_ms": 1e3 * latencies[len(latencies) // 2] if latencies else None,
    }


def most_cameras(
    model: str, engine: dict[str, Any], video: Path, video_fps: float, frames_per_second: float, deadline: float
) -> dict[str, Any]:
    """Find the largest of 1, 2, 4, 8, … cameras that are sustained, starting from what a file's speed suggests.

    Args:
        model: The bundle.
        engine: The `engine` section of a configuration.
        video: The video that cameras show.
        video_fps: The video's own frame rate.
        frames_per_second: Speed on a file, from file to alerts.
        deadline: `time.monotonic()` after which no further number is tried.

    Returns:
        `held` (0: not even one), `tried`, and `bounded` if the deadline ended the search early.
    """
    tried: dict[int, dict[str, Any]] = {}
    number = 1
    while 2 * number * FPS <= frames_per_second and number < MOST:
        number *= 2
    bounded = False
    while number and number not in tried:
        if time.monotonic() >= deadline:
            bounded = True
            break
        tried[number] = watch(model, engine, video, video_fps, number)
        number = 2 * number if tried[number]["held"] else number // 2
        if number > MOST:
            break
    held = max((n for n, found in tried.items() if found["held"]), default=0)
    return {"held": held, "tried": [tried[n] for n in sorted(tried)], "bounded": bounded}
