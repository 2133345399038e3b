"""`streamad events`: list events, show one, and export its evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamad.cli.common import JsonOption, emit, say, table
from streamad.cli.help import arg, opt
from streamad.errors import UsageError

if TYPE_CHECKING:
    from streamad.alerts.event import Event
    from streamad.alerts.evidence import Evidence

events = typer.Typer(help="List events, show one, and export its evidence.", no_args_is_help=True, add_completion=False)

Store = Annotated[Path, arg(unit="CONFIG", help="The configuration, or the SQLite file of the events.")]
EventId = Annotated[str, arg(unit="EVENT", help="The event's id.")]
EvidenceOption = Annotated[
    Path | None, opt("--evidence", unit="DIR", help="Folder of the evidence. Default: the configuration's.")
]


@events.command("list")
def list_events(
    store: Store,
    camera: Annotated[str | None, opt("--camera", unit="ID", help="Only events of this camera.")] = None,
    limit: Annotated[int, opt("--limit", unit="N", min=1, max=100_000, help="Largest number of events.")] = 20,
    evidence: EvidenceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the newest events.

    A running `streamad run` is not disturbed.

    Examples:
        streamad events list camera.yaml
        streamad events list runs/events.sqlite --camera gate --limit 100 --json
    """
    path, folder = _places(store, evidence)
    found = _read(path, camera, limit)
    if as_json:
        emit({"events": [{**event.to_dict(), "evidence": _names(folder, event)} for event in found]})
    elif found:
        table([_row(event, folder) for event in found])
    else:
        say("no events")


@events.command()
def show(store: Store, event: EventId, evidence: EvidenceOption = None, as_json: JsonOption = False) -> None:
    """Show an event and the files of its evidence.

    Examples:
        streamad events show camera.yaml 01KXJ5Q8ZC4M7T2V9B3N6R1W0H
    """
    path, folder = _places(store, evidence)
    found, own = _event(path, event), _evidence(folder, _event(path, event))
    files = [str(file) for file in own.files]
    if as_json:
        emit({"event": found.to_dict(), "evidence": files})
        return
    table([{"key": key, "value": value} for key, value in found.to_dict().items()])
    for file in files:
        say(file)
    if not files:
        say("no evidence: it was removed, or evidence is not enabled")


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


def _read(path: Path, camera: str | None = None, limit: int = 1, event: str | None = None) -> list[Event]:
    from streamad.alerts.store import read_events

    return read_events(path, camera=camera, limit=limit, event=event)


def _event(path: Path, event: str) -> Event:
    found = _read(path, event=event)
    if not found:
        raise UsageError(f"{path} has no event {event}", hint=f"streamad events list {path}")
    return found[0]


def _evidence(folder: Path, event: Event) -> Evidence:
    from streamad.alerts.evidence import evidence_of

    return evidence_of(folder, event.camera, event.id)


def _names(folder: Path, event: Event) -> list[str]:
    return [file.name for file in _evidence(folder, event).files]


def _row(event: Event, folder: Path) -> dict[str, Any]:
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
        "evidence": ", ".join(_names(folder, event)),
    }
