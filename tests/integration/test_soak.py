"""A site of real RTSP cameras under every fault that the program claims to survive; `make soak` runs ten minutes of it.

The program must stay alive, unaffected cameras must be scored at their previous rate, every event must be stored and
delivered exactly once, and memory, threads and descriptors must not grow.
"""

from __future__ import annotations

import fcntl
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from bundle_support import THRESHOLD, moving_shapes, write_mp4
from disk_support import fill, may_mount, small_disk
from rtsp_support import RtspServer, require_rtsp_server, write_video
from run_support import Running, running
from soak_support import (
    DamagingProxy,
    Observer,
    Reading,
    decoder_of,
    delivered,
    median,
    rate,
)

pytestmark = [pytest.mark.rtsp, pytest.mark.slow]

FPS = 15
BUSY_SECONDS, PERIOD_SECONDS = 2, 6
"""Shapes move for the first duration in each period of the second, starting after one quiet period."""
STEADY = ("steady-1", "steady-2")
RATE_TOLERANCE = 0.1
"""Minimum share of the steady cameras' rate over all faults together. For single faults, which last few frames:
0.25."""
PIPE_BYTES = 4096
RECOVERY_SECONDS = 40.0
MARKS = ("<!-- soak: begin -->", "<!-- soak: end -->")


@dataclass
class Fault:
    """One kind of fault and its results.

    Attributes:
        name: Name in the report.
        camera: The affected camera. None: no camera is affected, and all are observed.
        begin: Function that causes it.
        end: Function that ends it; None if it is momentary.
        times: Number of times that it was caused.
        recovery: Seconds until the camera was up again, each time.
        rates: Rates of the steady cameras during the fault, relative to their rates before any fault.
    """

    name: str
    camera: str | None
    begin: Callable[[], object]
    end: Callable[[], object] | None = None
    times: int = 0
    recovery: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)


class Site:
    """The servers, the disk, the program, and the available faults."""

    def __init__(self, folder: Path, bundle: Path, stack: ExitStack, seconds: float) -> None:
        self.folder = folder
        length = int((2 * seconds + 240) * FPS)
        quiet = PERIOD_SECONDS * FPS
        self.busy = [(start, start + BUSY_SECONDS * FPS) for start in range(quiet, length, quiet)]
        video = write_mp4(folder / "site.mp4", moving_shapes(length, shapes=3, busy=tuple(self.busy)), fps=FPS)
        self._small = write_video(folder / "small.mp4", frames=600, size=(256, 192), fps=FPS)
        self._other = write_video(folder / "other.mp4", frames=600, size=(320, 240), fps=FPS, codec="libx265")
        self._first = write_video(folder / "first.mp4", frames=600, size=(320, 240), fps=FPS)
        self.steady = stack.enter_context(RtspServer({"cam": video}))
        self.dying = stack.enter_context(RtspServer({"cam": video}))
        self.crashing = stack.enter_context(RtspServer({"cam": video}))
        self.changing = stack.enter_context(RtspServer({"cam": self._first}))
        self.noisy = stack.enter_context(RtspServer({"cam": video}))
        self.proxy = stack.enter_context(DamagingProxy(self.noisy.port))
        self.disk = stack.enter_context(small_disk(folder / "disk", "2m")) if may_mount() else None
        self._ballast: Path | None = None
        self.delivered = folder / "delivered.jsonl"
        place = self.disk or folder
        urls = {
            **{name: self.steady.url("cam") for name in STEADY},
            "dying": self.dying.url("cam"),
            "damaged": f"rtsp://127.0.0.1:{self.proxy.port}/cam",
            "crashing": self.crashing.url("cam"),
            "changing": self.changing.url("cam"),
        }
        document: dict[str, Any] = {
            "model": str(bundle),
            "cameras": [
                {
                    "id": name,
                    "source": {"type": "rtsp", "url": url, "stall_timeout_seconds": 3, "open_timeout_seconds": 3},
                    "threshold": THRESHOLD,
                }
                for name, url in urls.items()
            ],
            "rules": {"min_duration_seconds": 0.3, "cooldown_seconds": 1.5},
            "engine": {"threads": 1},
            "reconnect": {"initial_seconds": 0.2, "max_seconds": 0.5},
            "events": {"path": str(place / "events.sqlite")},
            "history": {"folder": str(place / "scores")},
            # The second sink writes to standard output, a pipe that nobody reads.
            "sinks": [{"type": "jsonl", "path": str(self.delivered)}, {"type": "jsonl"}],
            "web": {"port": 0},
        }
        self.config = folder / "site.yaml"
        self.config.write_text(yaml.safe_dump(document))
        self.events_path = place / "events.sqlite"
        self.cameras = tuple(urls)
        self.run: Running = stack.enter_context(running(self.config))
        assert self.run.process.stdout is not None
        fcntl.fcntl(self.run.process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def faults(self) -> list[Fault]:
        """Return all faults."""
        kinds = [
            Fault("server killed and started again", "dying", self.dying.kill, self.dying.start),
            Fault("server frozen", "dying", self.dying.freeze, self.dying.thaw),
            Fault("packets damaged on the way", "damaged", self.proxy.damaging.set, self.proxy.damaging.clear),
            Fault("picture becomes smaller", "changing", lambda: self._change_to(self._small)),
            Fault("picture becomes larger, codec H.265", "changing", lambda: self._change_to(self._other)),
            Fault("codec back to H.264", "changing", lambda: self._change_to(self._first)),
            Fault("decoder killed", "crashing", self._kill_decoder),
        ]
        if self.disk is not None:
            kinds.append(Fault("disk full", None, self._fill, self._free))
        return kinds

    def all_up(self) -> bool:
        """Whether every camera delivers frames."""
        return all(camera["state"] == "up" for camera in self.run.get("/status")["cameras"])

    def _change_to(self, video: Path) -> None:
        self.changing.mounts = {"cam": video}
        self.changing.restart()

    def _kill_decoder(self) -> None:
        os.kill(decoder_of(self.run, self.crashing.port), signal.SIGKILL)

    def _fill(self) -> None:
        assert self.disk is not None
        self._ballast = fill(self.disk)

    def _free(self) -> None:
        assert self._ballast is not None
        self._ballast.unlink()


@pytest.fixture
def soak_seconds(request: pytest.FixtureRequest) -> float:
    return 60 * float(request.config.getoption("--soak-minutes"))


@pytest.fixture
def site(small_bundle: Path, tmp_path: Path, soak_seconds: float) -> Iterator[Site]:
    require_rtsp_server()
    with ExitStack() as stack:
        yield Site(tmp_path, small_bundle, stack, soak_seconds)


@pytest.mark.timeout(1800)
def test_a_site_survives_every_fault(site: Site, soak_seconds: float, request: pytest.FixtureRequest) -> None:
    run, faults = site.run, site.faults()
    run.eventually(site.all_up)
    observer = Observer(run, site.cameras)
    each = max(4.0, 0.6 * soak_seconds / len(faults) / max(1, round(soak_seconds / 120)))
    observer.watch(6.0)  # a server sends the first seconds faster than real time
    calm = observer.watch(max(10.0, 0.15 * soak_seconds))
    usual = {camera: rate(calm, camera) for camera in STEADY}
    assert all(value > 0.7 * FPS for value in usual.values()), f"too slow a machine for this test: {usual}"

    # Every fault once, then all of them again in random order until the time is over.
    began, order = time.monotonic(), random.Random(11)
    settled: list[Reading] = []
    while not settled or time.monotonic() - began < 0.7 * soak_seconds:
        for fault in faults:
            _cause(site, observer, fault, each, usual)
        settled = settled or observer.watch(5.0)
        order.shuffle(faults)
    after = observer.watch(max(10.0, 0.15 * soak_seconds))

    ratios = [ratio for fault in faults for ratio in fault.rates]
    assert sum(ratios) / len(ratios) > 1 - RATE_TOLERANCE

    # Nothing grows: resources at the end equal those after the first round of faults.
    assert median(after, lambda r: r.threads) <= median(settled, lambda r: r.threads) + 2
    assert median(after, lambda r: r.descriptors) <= median(settled, lambda r: r.descriptors) + 4
    assert median(after, lambda r: r.memory) <= 1.1 * median(settled, lambda r: r.memory) + (8 << 20)

    last = {camera: _newest(site, camera) for camera in STEADY}
    opened = {camera: run.metric("streamad_alerts_total", camera=camera) for camera in site.cameras}
    stopping = time.monotonic()
    assert run.end(signal.SIGTERM) == 1  # an output that nobody reads still blocks
    stopped = time.monotonic() - stopping
    assert stopped < 6
    assert "Traceback" not in run.text
    _check_events(site, last, opened)
    report = request.config.getoption("--soak-report")
    if report:
        _write(Path(report), _table(site, soak_seconds, faults, settled, after, opened, stopped))


def _cause(site: Site, observer: Observer, fault: Fault, seconds: float, usual: dict[str, float]) -> None:
    seen = None if fault.camera is None else site.run.camera(fault.camera)
    fault.begin()
    readings = observer.watch(seconds)
    if fault.end is not None:
        fault.end()
    ended = time.monotonic()

    def recovered() -> bool:
        if fault.camera is None or seen is None:
            return site.all_up()
        now = site.run.camera(fault.camera)
        return bool(now["state"] == "up" and now["frames"] > seen["frames"])

    site.run.eventually(recovered, RECOVERY_SECONDS)
    fault.times += 1
    fault.recovery.append(time.monotonic() - ended)
    ratios = [rate(readings, camera) / usual[camera] for camera in STEADY]
    fault.rates += ratios
    assert min(ratios) > 1 - 2.5 * RATE_TOLERANCE, f"{fault.name}: others were scored at {ratios} of their rate"


def _newest(site: Site, camera: str) -> float:
    """Return the video time of the newest score."""
    return float(site.run.camera(camera)["recent"][-1][0])


def _check_events(site: Site, last: dict[str, float], opened: dict[str, float]) -> None:
    """Check that each event is stored once, opened and closed once in the sink, once per busy time."""
    with sqlite3.connect(f"file:{site.events_path}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT id, camera, state FROM events WHERE type = 'anomaly'").fetchall()
        starts = {
            camera: [
                value
                for (value,) in connection.execute(
                    "SELECT json_extract(document, '$.started_pts_seconds') FROM events "
                    "WHERE type = 'anomaly' AND camera = ? ORDER BY 1",
                    (camera,),
                )
            ]
            for camera in STEADY
        }
    changes = delivered(site.delivered)
    ends = {kind: Counter(c["id"] for c in changes if c["kind"] == kind) for kind in ("opened", "closed")}
    stored = {row[0] for row in rows}
    assert len(rows) == len(stored)
    assert {row[2] for row in rows} == {"closed"}
    assert stored == set(ends["opened"]) == set(ends["closed"])
    assert set(ends["opened"].values()) == {1}
    reopened = Counter(c["id"] for c in changes if c["reason"] == "reopened")
    assert all(ends["closed"][event] == 1 + reopened[event] for event in stored)
    # Alerts opened between reading the counter and the end are only in the store.
    in_store = Counter(row[1] for row in rows)
    assert all(0 <= in_store[camera] - opened[camera] <= 1 for camera in site.cameras), (in_store, opened)
    for camera in STEADY:
        due = [first / FPS for first, end in site.busy if end / FPS < last[camera] - 1]
        found = starts[camera][: len(due)]
        assert len(found) == len(due), f"{camera}: {starts[camera]} for {due}"
        assert all(-0.5 < start - truth < BUSY_SECONDS for start, truth in zip(found, due, strict=True))
        assert len(starts[camera]) - len(due) <= 1


def _table(
    site: Site,
    seconds: float,
    faults: list[Fault],
    settled: list[Reading],
    after: list[Reading],
    opened: dict[str, float],
    stopped: float,
) -> str:
    rows = [
        f"| {f.name} | {f.times} | {max(f.recovery):.1f} s | {min(f.rates):.2f} to {max(f.rates):.2f} |"
        for f in sorted(faults, key=lambda f: f.name)
    ]
    before = [median(settled, of) for of in (lambda r: r.memory / 2**20, lambda r: r.threads, lambda r: r.descriptors)]
    later = [median(after, of) for of in (lambda r: r.memory / 2**20, lambda r: r.threads, lambda r: r.descriptors)]
    return "\n".join((
        f"{seconds / 60:g} minute{'s' * (seconds != 60)}, {len(site.cameras)} cameras of {FPS} frames/s, "
        f"{int(sum(opened.values()))} alerts, "
        f"an output that nobody read from the beginning on:",
        "",
        "| fault | times | longest time until up again | steady cameras' rate, of what it was before |",
        "|---|---|---|---|",
        *rows,
        "",
        "| main process | after the first round | at the end |",
        "|---|---|---|",
        f"| memory | {before[0]:.0f} MiB | {later[0]:.0f} MiB |",
        f"| threads | {before[1]:.0f} | {later[1]:.0f} |",
        f"| descriptors | {before[2]:.0f} | {later[2]:.0f} |",
        "",
        f"Each alert was stored once and delivered once. SIGTERM ended the program in {stopped:.1f} s.",
    ))  # fmt: skip


def _write(page: Path, table: str) -> None:
    """Write the table between its marks in the page, or to a file of its own."""
    text = page.read_text() if page.exists() else "\n".join(MARKS) + "\n"
    head, rest = text.split(MARKS[0])
    page.write_text(f"{head}{MARKS[0]}\n{table}\n{MARKS[1]}{rest.split(MARKS[1])[1]}")
