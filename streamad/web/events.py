"""Routes of events: pages of them, one with its marks, its evidence, and marking it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from pydantic import AwareDatetime

from streamad.accounts import Role
from streamad.alerts import Event, EventStore, Mark, Severity, add_mark, read_marks
from streamad.alerts.evidence import evidence_of, find_evidence, zipped
from streamad.alerts.health import HealthEvent
from streamad.alerts.queries import EventFilter
from streamad.errors import OutputError
from streamad.web.access import Identity, requires
from streamad.web.answers import NO_STORE, content, no_store, problems
from streamad.web.feed import Feed
from streamad.web.models import EventDetail, EventPage, HealthEventPage, MarkChange, MarkDocument, MarkKind, verdict_of

EVENTS_LIMIT = 1000
_MEDIA_TYPES = {
    ".jpg": "image/jpeg", ".mp4": "video/mp4", ".mkv": "video/x-matroska", ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
}  # fmt: skip
_EVIDENCE_HEADERS = {
    **NO_STORE,
    # A browser shows a video in a document of its own, which may load the video.
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; media-src 'self'; frame-ancestors 'none'",
}

Limit = Annotated[int, Query(ge=1, le=EVENTS_LIMIT, description="largest number of events")]
Camera = Annotated[str | None, Query(description="only events of this camera")]
Since = Annotated[
    AwareDatetime | None, Query(description="only events that started at or after this time, with time zone")
]
Until = Annotated[AwareDatetime | None, Query(description="only events that started before this time, with time zone")]
Cursor = Annotated[str | None, Query(description="`next` of the page before")]
Marks = Annotated[
    list[MarkKind] | None,
    Query(description="only events whose newest mark is one of these; none: without a mark, or withdrawn"),
]


def events_router(store: EventStore | None, evidence: Path | None, feed: Feed) -> APIRouter:
    """Create the routes.

    Args:
        store: The events. Without a store, every route returns 404.
        evidence: Folder of the events' evidence; None if there is none.
        feed: Told of marks.
    """
    router = APIRouter(tags=["events"])

    def opened() -> EventStore:
        if store is None:
            raise HTTPException(404, "no event store is configured")
        return store

    def stored(store: EventStore, event: str) -> Event:
        found = store.event(event)
        if found is None:
            raise HTTPException(404, f"there is no event {event}")
        return found

    @router.get("/events", response_model=EventPage, responses=problems(404, 422))
    def list_events(
        camera: Camera = None,
        since: Since = None,
        until: Until = None,
        severity: Annotated[Severity | None, Query(description="only events of this severity")] = None,
        mark: Marks = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Response:
        """List anomalies, newest first."""
        marks = frozenset(map(verdict_of, mark or ()))
        wanted, store = EventFilter(camera, since, until, severity, marks), opened()
        found = store.events(camera, since, limit + 1, cursor, until=until, severity=severity, marks=marks)
        newest = store.marks(event.id for event in found)
        return _page(found, limit, store.count(wanted=wanted), lambda event: _document(event, newest, evidence))

    @router.get("/health-events", response_model=HealthEventPage, responses=problems(404, 422))
    def list_health_events(
        camera: Camera = None, since: Since = None, until: Until = None, limit: Limit = 100, cursor: Cursor = None
    ) -> Response:
        """List faults of the cameras themselves, newest first."""
        store = opened()
        found = store.health_events(camera, since, limit + 1, cursor, until=until)
        total = store.count(kind=HealthEvent, wanted=EventFilter(camera, since, until))
        return _page(found, limit, total, HealthEvent.to_dict)

    @router.get("/events/{event}", response_model=EventDetail, responses=problems(404, 422))
    def get_event(event: str) -> Response:
        """One anomaly with all its marks."""
        store = opened()
        found, marks = stored(store, event), read_marks(store.path, event)
        newest = {event: marks[-1]} if marks else {}
        return no_store(_document(found, newest, evidence) | {"marks": [_mark(mark) for mark in marks]})

    @router.put("/events/{event}/mark", response_model=MarkDocument, responses=problems(403, 404, 422, 503))
    def mark_event(event: str, change: MarkChange, who: Annotated[Identity, requires(Role.OPERATOR)]) -> Response:
        """Mark an anomaly as reviewed or as a false alarm, or withdraw the mark.

        What a false alarm shows counts as normal when thresholds are set and when models go on learning.
        """
        store = opened()
        stored(store, event)
        if any(waiting.id == event for waiting in store.unsaved()):
            raise OutputError("the event is not on disk yet, so it cannot be marked", hint="free space on the disk")
        assert who.name is not None
        mark = Mark(
            event=event, verdict=verdict_of(change.kind), by=who.name, at=datetime.now(UTC), note=change.note or None
        )
        add_mark(store.path, mark, authentication=who.authentication, address=who.address)
        feed.publish("mark", {"event": event, "mark": _mark(mark) if change.kind != "none" else None})
        return no_store(_mark(mark))

    files = content("a file", *{kind.partition(";")[0] for kind in _MEDIA_TYPES.values()})
    archive = content("all files", "application/zip")

    @router.get("/events/{event}/evidence/{name}", response_class=Response, responses=files | problems(404, 422))
    def get_evidence(event: str, name: str) -> Response:
        """A file of an anomaly's evidence, whole or a range of it."""
        found = None if evidence is None else find_evidence(evidence, event)
        # Only the names that streamad gives exist here: no part of the request becomes part of a path.
        path = next((path for path in found.files if path.name == name), None) if found is not None else None
        if path is None:
            raise HTTPException(404, "no such evidence", headers=NO_STORE)
        return FileResponse(path, media_type=_MEDIA_TYPES[path.suffix], headers=_EVIDENCE_HEADERS)

    @router.get("/events/{event}/evidence.zip", response_class=Response, responses=archive | problems(404, 422))
    def get_evidence_archive(event: str) -> Response:
        """All files of an anomaly's evidence in one zip file."""
        found = None if evidence is None else find_evidence(evidence, event)
        if found is None:
            raise HTTPException(404, "no such evidence", headers=NO_STORE)
        named = {"Content-Disposition": f'attachment; filename="{found.folder.name}.zip"'}
        return StreamingResponse(zipped(found), media_type="application/zip", headers=NO_STORE | named)

    return router


def _page(found: list[Any], limit: int, total: int, document: Callable[[Any], dict[str, Any]]) -> JSONResponse:
    """One page, of events of which one more than `limit` was looked for."""
    page = found[:limit]
    following = page[-1].id if len(found) > limit else None
    return no_store({"events": [document(event) for event in page], "total": total, "next": following})


def _document(event: Event, marks: dict[str, Mark], evidence: Path | None) -> dict[str, Any]:
    files: Iterable[Path] = () if evidence is None else evidence_of(evidence, event.camera, event.id).files
    mark = marks.get(event.id)
    is_marked = mark is not None and mark.verdict != "none"
    return {
        **event.to_dict(),
        "evidence": [path.name for path in files],
        "mark": _mark(mark) if mark is not None and is_marked else None,
    }


def _mark(mark: Mark) -> dict[str, Any]:
    document = mark.to_dict()
    return {"kind": str(document.pop("verdict")).replace("_", "-"), **document}
