"""Time the API's lists of events in a store of a million, over real HTTP.

python benchmarks/event_queries.py [--events 1000000] [--file runs/million.sqlite]

Prints the median and the slowest of seven requests for each kind of list, page and total together. The file is kept and
used again. With --upgrade, it is first put back to the schema before severity and mark had columns, and the time of its
upgrade is printed.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import statistics
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from streamad.alerts import Event, EventStore, new_event_id
from streamad.alerts.database import MIGRATIONS, connect
from streamad.observability import Health, Metrics
from streamad.web import WebServer, WebSpec, create_app

CAMERAS = 8
START = datetime(2026, 1, 1, tzinfo=UTC)
ROUNDS = 7


def event(number: int, step: timedelta, chance: random.Random) -> Event:
    """Return the event number `number`; one in twenty is critical."""
    at = START + number * step
    return Event(
        id=new_event_id(at), camera=f"camera-{number % CAMERAS}", state="closed",
        severity="critical" if chance.random() < 0.05 else "warning", started_index=10, started_pts_seconds=1.0,
        started_at=at, raised_index=15, raised_pts_seconds=1.5, updated_index=15, updated_pts_seconds=1.5,
        updated_at=at + timedelta(seconds=0.5), ended_index=15, ended_pts_seconds=1.5,
        ended_at=at + timedelta(seconds=0.5), peak_score=12.5, peak_index=13, peak_pts_seconds=1.3, threshold=10.0,
        cell=(3, 4), box=(10, 20, 30, 40), model="motion", model_sha256="0" * 64, reason="end",
        explanation="moves faster than usual here",
    )  # fmt: skip


def fill(path: Path, number: int) -> None:
    """Write the events of a year, one in a hundred marked."""
    chance, step = random.Random(0), timedelta(days=365) / number
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        for index in range(number):
            one = event(index, step, chance)
            started = one.to_dict()["started_at"]
            row = (one.id, one.camera, one.state, started, one.to_json(), "anomaly", one.severity)
            connection.execute(
                "INSERT INTO events (id, camera, state, started_at, document, type, severity) VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            if chance.random() < 0.01:
                connection.execute(
                    "INSERT INTO marks (event, verdict, author, at) VALUES (?, ?, 'kim', ?)",
                    (one.id, chance.choice(("reviewed", "false_alarm")), started),
                )
        connection.execute("COMMIT")


def downgrade(path: Path) -> None:
    """Put the file back to schema 4."""
    empty = path.with_name("schema-4.sqlite")
    empty.unlink(missing_ok=True)
    with closing(sqlite3.connect(empty, isolation_level=None)) as old:
        for step in MIGRATIONS[:4]:
            step(old)
        old.execute("PRAGMA user_version = 4")
        old.execute(f"PRAGMA application_id = {0x53414445}")
        old.execute("PRAGMA journal_mode = OFF")
        old.execute("ATTACH ? AS new", (str(path),))
        old.execute("INSERT INTO events SELECT id, camera, state, started_at, document, type FROM new.events")
        old.execute("INSERT INTO marks SELECT * FROM new.marks")
        old.execute("DETACH new")
    empty.replace(path)


def lists() -> dict[str, dict[str, str | list[str]]]:
    """Map the name of each kind of list to its parameters."""
    day = START + timedelta(days=200)
    within = {"since": day.isoformat(), "until": (day + timedelta(days=1)).isoformat()}
    odd = {"since": (day + timedelta(hours=7)).isoformat(), "until": (day + timedelta(days=90, hours=5)).isoformat()}
    return {
        "newest": {},
        "camera": {"camera": "camera-3"},
        "day": {**within},
        "camera and day": {"camera": "camera-3", **within},
        "90 days, from and to within a day": {**odd},
        "severity": {"severity": "critical"},
        "mark": {"mark": "false-alarm"},
        "without a mark": {"mark": "none"},
        "two marks": {"mark": ["none", "reviewed"]},
        "camera, 90 days, severity, mark": {"camera": "camera-3", **odd, "severity": "critical", "mark": "false-alarm"},
        "nothing fits": {"camera": "none", "severity": "critical", "mark": "reviewed"},
        "1000 on the page": {"limit": "1000"},
        "1000 on the page, severity and mark": {"limit": "1000", "severity": "warning", "mark": "none"},
    }


def deep_cursor(path: Path, where: str) -> str | None:
    """Return the id of an event far from the newest."""
    with closing(sqlite3.connect(path)) as connection:
        statement = f"SELECT id FROM events {where} ORDER BY started_at LIMIT 1 OFFSET 500"
        row = connection.execute(statement).fetchone()
    return None if row is None else str(row[0])


def main() -> None:
    """Fill the store if needed, and time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--file", type=Path, default=Path("runs/million.sqlite"))
    parser.add_argument("--upgrade", action="store_true")
    options = parser.parse_args()
    if not options.file.is_file():
        began = time.perf_counter()
        fill(options.file, options.events)
        print(f"filled in {time.perf_counter() - began:.0f} s")
    if options.upgrade:
        downgrade(options.file)
    began = time.perf_counter()
    with EventStore(options.file) as store:
        print(f"opened in {time.perf_counter() - began:.1f} s; {options.file.stat().st_size / 1e6:.0f} MB")
        app = create_app(metrics=Metrics(), health=Health(), status=dict, store=store)
        with WebServer(app, WebSpec(port=0)) as server, httpx.Client(base_url=server.url, timeout=60) as client:
            print("| list | events | first page, ms | deep page, ms |\n|---|---|---|---|")
            for name, parameters in lists().items():
                cells = []
                total = 0
                for cursor in (None, deep_cursor(options.file, "")):
                    given = parameters if cursor is None else {**parameters, "cursor": cursor}
                    seconds = []
                    for _ in range(ROUNDS):
                        began = time.perf_counter()
                        answer = client.get("/api/v1/events", params=given)
                        seconds.append(time.perf_counter() - began)
                        answer.raise_for_status()
                    total = answer.json()["total"]
                    cells.append(f"{statistics.median(seconds) * 1e3:.0f} ({max(seconds) * 1e3:.0f})")
                print(f"| {name} | {total} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
