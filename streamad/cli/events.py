"""`streamad events`: list events, show one, mark it, and export its evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from streamad.cli.common import JsonOption, emit, login_name, say, table
from streamad.cli.help import arg, opt
from streamad.errors import UsageError

if TYPE_CHECKING:
    from streamad.alerts.event import Event
    from streamad.alerts.evidence import Evidence
    from streamad.alerts.marks import Mark, Verdict

events = typer.Typer(
    help="List events, show one, mark it, and export its evidence.", no_args_is_help=True, add_completion=False
)

EventState = Literal["open", "closed", "interrupted"]
MarkName = Literal["false-alarm", "reviewed", "none"]
Store = Annotated[Path, arg(unit="CONFIG", help="The configuration, or the SQLite file of the events.")]
EventId = Annotated[str, arg(unit="EVENT", help="The event's id.")]
EvidenceOption = Annotated[
    Path | None, opt("--evidence", unit="DIR", help="Folder of the evidence. Default: the configuration's.")
]


@events.command("list")
def list_events(
    store: Store,
    camera: Annotated[str | None, opt("--camera", unit="ID", help="Only events of this camera.")] = None,
    since: Annotated[
        str | None,
        opt("--since", unit="DURATION", help="Only events that started in the last so long: 90m, 24h or 3d."),
    ] = None,
    state: Annotated[
        EventState | None, opt("--state", unit="STATE", help="Only events in this state: open, closed or interrupted.")
    ] = None,
    mark: Annotated[
        MarkName | None,
        opt("--mark", unit="MARK", help="Only events with this mark: false-alarm, reviewed, or none."),
    ] = None,
    limit: Annotated[int, opt("--limit", unit="N", min=1, max=100_000, help="Largest number of events.")] = 20,
    evidence: EvidenceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the newest events.

    A running `streamad run` is not disturbed.

    Examples:
        streamad events list camera.yaml
        streamad events list runs/events.sqlite --camera gate --limit 100 --json
        streamad events list camera.yaml --since 24h --mark none
    """
    from datetime import UTC, datetime, timedelta

    from streamad.alerts import newest_marks
    from streamad.alerts.store import read_events
    from streamad.workflows.recalibrate import seconds_of

    path, folder = _places(store, evidence)
    start = None if since is None else datetime.now(UTC) - timedelta(seconds=seconds_of(since))
    found = read_events(path, camera=camera, since=start, state=state, verdict=_verdict(mark), limit=limit)
    marks = newest_marks(path, [event.id for event in found])
    if as_json:
        emit({
            "events": [
                {
                    **event.to_dict(),
                    "mark": marks[event.id].to_dict() if event.id in marks else None,
                    "evidence": _names(folder, event),
                }
                for event in found
            ]
        })  # fmt: skip
    elif found:
        table([_row(event, folder, marks.get(event.id)) for event in found])
    else:
        say("no events")


@events.command()
def show(store: Store, event: EventId, evidence: EvidenceOption = None, as_json: JsonOption = False) -> None:
    """Show an event, its marks, and the files of its evidence.

    Examples:
        streamad events show camera.yaml 01KXJ5Q8ZC4M7T2V9B3N6R1W0H
    """
    from streamad.alerts import read_marks

    path, folder = _places(store, evidence)
    found, own = _event(path, event), _evidence(folder, _event(path, event))
    marks, files = [mark.to_dict() for mark in read_marks(path, event)], [str(file) for file in own.files]
    if as_json:
        emit({"event": found.to_dict(), "marks": marks, "evidence": files})
        return
    table([{"key": key, "value": value} for key, value in found.to_dict().items()])
    if marks:
        table(marks)
    for file in files:
        say(file)
    if not files:
        say("no evidence: it was removed, or evidence is not enabled")


@events.command("mark")
def mark_event(
    store: Store,
    event: EventId,
    mark: Annotated[MarkName, arg(unit="MARK", help="false-alarm, reviewed, or none, which withdraws earlier marks.")],
    note: Annotated[str | None, opt("--note", unit="TEXT", help="Why.")] = None,
    by: Annotated[str | None, opt("--by", unit="NAME", help="Who judged. Default: the login name.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Mark an event as a false alarm or as reviewed.

    A running `streamad run` is not disturbed. What a false alarm shows counts as normal when thresholds are set and
    when models go on learning. The newest mark decides; all are kept.

    Examples:
        streamad events mark camera.yaml 01KXJ5Q8ZC4M7T2V9B3N6R1W0H false-alarm --note "a branch in the wind"
        streamad events mark camera.yaml 01KXJ5Q8ZC4M7T2V9B3N6R1W0H none
    """
    from datetime import UTC, datetime

    from streamad.alerts import Mark, add_mark

    verdict = _verdict(mark)
    assert verdict is not None
    made = Mark(event=event, verdict=verdict, by=by or login_name(), at=datetime.now(UTC), note=note)
    add_mark(_places(store, None)[0], made)
    if as_json:
        emit({"event": event, "mark": made.to_dict()})
    else:
        say(f"{event}: {mark}, by {made.by}")


@events.command()
def audit(
    store: Store,
    since: Annotated[
        str | None, opt("--since", unit="DURATION", help="Only changes in the last so long: 90m, 24h or 3d.")
    ] = None,
    limit: Annotated[int, opt("--limit", unit="N", min=1, max=100_000, help="Largest number of changes.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List who changed what, newest first.

    Marks, logins, users, tokens, and what was changed through the API. The list is only ever added to.

    Examples:
        streamad events audit camera.yaml --since 24h
    """
    from datetime import UTC, datetime, timedelta

    from streamad.alerts.audit import read_audit
    from streamad.workflows.recalibrate import seconds_of

    start = None if since is None else datetime.now(UTC) - timedelta(seconds=seconds_of(since))
    entries = [entry.to_dict() for entry in read_audit(_places(store, None)[0], since=start, limit=limit)[0]]
    if as_json:
        emit({"entries": entries})
    elif entries:
        table([
            {**entry, "at": entry["at"][:19], "detail": ", ".join(f"{k}: {v}" for k, v in entry["detail"].items())}
            for entry in entries
        ])  # fmt: skip
    else:
        say("no changes")


@events.command()
def export(
    store: Store,
    event: EventId,
    out: Annotated[
        Path | None, opt("--out", unit="FILE", help="The zip file. Default: EVENT.zip.", panel="Output")
    ] = None,
    evidence: EvidenceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the evidence of an event to one zip file.

    It contains the clip, the snapshot, the score's trace, and the event with its thresholds and hashes.

    Examples:
        streamad events export camera.yaml 01KXJ5Q8ZC4M7T2V9B3N6R1W0H --out a.zip
    """
    from streamad.alerts.evidence import export_evidence

    path, folder = _places(store, evidence)
    own = _evidence(folder, _event(path, event))
    target = export_evidence(own, out or Path(f"{event}.zip"))
    if as_json:
        emit({"file": str(target), "files": [file.name for file in own.files]})
    else:
        say(f"wrote {target}: {', '.join(file.name for file in own.files)}")


def _places(store: Path, evidence: Path | None) -> tuple[Path, Path]:
    """The file of the events and the folder of their evidence."""
    from streamad.alerts.evidence import EvidenceSpec

    if store.suffix.lower() in (".yaml", ".yml"):
        from streamad.config import load_config

        settings = load_config(store)
        return settings.events.path, evidence or settings.evidence.folder
    return store, evidence or EvidenceSpec().folder


def _verdict(mark: MarkName | None) -> Verdict | None:
    return "false_alarm" if mark == "false-alarm" else mark


def _event(path: Path, event: str) -> Event:
    from streamad.alerts.store import read_events

    found = read_events(path, event=event)
    if not found:
        raise UsageError(f"{path} has no event {event}", hint=f"streamad events list {path}")
    return found[0]


def _evidence(folder: Path, event: Event) -> Evidence:
    from streamad.alerts.evidence import evidence_of

    return evidence_of(folder, event.camera, event.id)


def _names(folder: Path, event: Event) -> list[str]:
    return [file.name for file in _evidence(folder, event).files]


def _row(event: Event, folder: Path, mark: Mark | None) -> dict[str, Any]:
    from streamad.formatting import number

    return {
        "id": event.id,
        "camera": event.camera,
        "start": f"{event.started_at:%Y-%m-%d %H:%M:%S}",
        "state": event.state,
        "severity": event.severity,
        "seconds": number(event.duration_seconds),
        "peak": number(event.peak_score),
        "threshold": number(event.threshold),
        "mark": "" if mark is None or mark.verdict == "none" else mark.verdict.replace("_", "-"),
        "evidence": ", ".join(_names(folder, event)),
    }
