"""How many cameras of 25 frames a second one machine holds: the program that watches them, on replayed video."""

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
"""Seconds after the first score of every camera that are not counted: backgrounds are learned in them."""
MEASURED = 2.5
"""Seconds that count."""
SHARE = 0.98
"""Share of the frames that have to be scored for a number of cameras to be held."""
MOST = 64


def watch(model: str, engine: dict[str, Any], video: Path, video_fps: float, cameras: int) -> dict[str, Any]:
    """Watch so many cameras for some seconds.

    Args:
        model: bundle.
        engine: the `engine` part of a configuration.
        video: every camera replays it at 25 frames a second, decoding it in a process of its own.
        video_fps: its own rate.
        cameras: how many.

    Returns:
        `cameras`, `frames_per_second` scored by each on average, `slowest` camera's, `held`, and `latency_ms`, median
        from decoded to scored.
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
    limit = threading.Timer(30 + SETTLE + MEASURED, monitor.stop)  # one that never starts does not hang the benchmark
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
    """The largest of 1, 2, 4, 8, … cameras that are held, sought from what a file's speed promises.

    Args:
        model: bundle.
        engine: the `engine` part of a configuration.
        video: what cameras show.
        video_fps: its own rate.
        frames_per_second: of a file, from file to alerts.
        deadline: `time.monotonic()` after which no other number is tried.

    Returns:
        `held` (0: not even one), `tried`, and `bounded` where time ended the search before it was over.
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
