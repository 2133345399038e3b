"""The HTTP application: metrics, health, status, events, preview pictures and the live page."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response

from streamad import __version__
from streamad.alerts import Event, EventStore, Mark
from streamad.alerts.evidence import evidence_of, find_evidence
from streamad.alerts.health import HealthEvent
from streamad.errors import StreamadError, UsageError
from streamad.observability.health import Health, HealthReport
from streamad.observability.metrics import Metrics
from streamad.observability.status import finite
from streamad.redaction import redact

NO_STORE = {"Cache-Control": "no-store"}
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
HEALTH_EVENTS = "/api/health-events"
Limit = Annotated[int, Query(ge=1, le=EVENTS_LIMIT)]


def create_app(
    *,
    metrics: Metrics,
    health: Health,
    status: Callable[[], Mapping[str, Any]],
    store: EventStore | None = None,
    preview: Callable[[str], bytes | None] | None = None,
    evidence: Path | None = None,
) -> FastAPI:
    """Create the application that `WebServer` serves.

    All callables are called from server threads and must be thread-safe.

    Args:
        metrics: The metrics, served under `/metrics`.
        health: The health state, served under `/healthz` and `/readyz`.
        status: Function that returns the `StatusDocument`. NaN and infinities are sent as null.
        store: The events, served under `/api/events` and `/api/health-events`. Without a store, those paths return
            404.
        preview: Function that returns a camera's newest picture as JPEG, or None if it has none; served under
            `/api/cameras/ID/preview.jpg`.
        evidence: Folder of the events' evidence, whose files are served under `/api/events/ID/evidence/NAME`.
    """
    # Disable the framework's documentation pages, which load scripts from the network.
    app = FastAPI(title="streamad", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    page, policy = _page(has_preview=preview is not None)

    @app.exception_handler(StreamadError)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        hint = error.hint if isinstance(error, StreamadError) else None
        code = 422 if isinstance(error, UsageError) else 503
        return JSONResponse({"error": redact(str(error)), "hint": hint}, status_code=code)

    @app.get("/metrics")
    def get_metrics(request: Request) -> Response:
        body, content_type = metrics.negotiate(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": content_type})

    # Health is served on the event loop itself, so that slow requests in the thread pool cannot delay it.
    @app.get("/healthz")
    async def get_health() -> JSONResponse:
        return _probe(health.live())

    @app.get("/readyz")
    async def get_ready() -> JSONResponse:
        return _probe(health.ready())

    @app.get("/status")
    def get_status() -> JSONResponse:
        return JSONResponse(finite(status()), headers=NO_STORE)

    @app.get("/api/events")
    @app.get(HEALTH_EVENTS)
    def get_events(
        request: Request,
        camera: str | None = None,
        since: datetime | None = None,
        limit: Limit = 100,
        before: str | None = None,
    ) -> JSONResponse:
        if store is None:
            return JSONResponse({"error": "no event store is configured"}, status_code=404)
        if request.scope["route"].path == HEALTH_EVENTS:
            return _page_of(store.health_events(camera, since, limit, before), limit, store.count(camera, HealthEvent))
        found = store.events(camera, since, limit, before)
        marks = store.marks(event.id for event in found)
        return _page_of(found, limit, store.count(camera), evidence, marks)

    @app.get("/api/events/{event}/evidence/{name}")
    def get_evidence(event: str, name: str) -> Response:
        found = None if evidence is None else find_evidence(evidence, event)
        # Only the names that streamad gives exist here: no part of the request becomes part of a path.
        path = next((path for path in found.files if path.name == name), None) if found is not None else None
        if path is None:
            return JSONResponse({"error": "no such evidence"}, status_code=404, headers=NO_STORE)
        return FileResponse(path, media_type=_MEDIA_TYPES[path.suffix], headers=_EVIDENCE_HEADERS)

    @app.get("/api/cameras/{camera:path}/preview.jpg")
    def get_preview(camera: str) -> Response:
        picture = preview(camera) if preview is not None else None
        if picture is None:
            return JSONResponse({"error": f"no picture of camera {camera!r}"}, status_code=404, headers=NO_STORE)
        return Response(picture, media_type="image/jpeg", headers=NO_STORE)

    @app.get("/")
    async def get_page() -> HTMLResponse:
        return HTMLResponse(page, headers={**NO_STORE, "Content-Security-Policy": policy})

    return app


def _page_of(
    found: Sequence[Event | HealthEvent],
    limit: int,
    total: int,
    evidence: Path | None = None,
    marks: Mapping[str, Mark] | None = None,
) -> JSONResponse:
    """Create the response for one page of events. `next` is the value of `before` for the following page."""
    following = found[-1].id if len(found) == limit else None
    events = [event.to_dict() for event in found]
    if evidence is not None:
        for event in events:
            event["evidence"] = [path.name for path in evidence_of(evidence, event["camera"], event["id"]).files]
    for event in events:
        if marks and event["id"] in marks:
            event["mark"] = marks[event["id"]].to_dict()
    document = {"events": events, "total": total, "next": following}
    return JSONResponse(document, headers=NO_STORE)


def _probe(report: HealthReport) -> JSONResponse:
    document = {"ok": report.ok, "reason": report.reason}
    return JSONResponse(document, status_code=200 if report.ok else 503, headers=NO_STORE)


def _page(*, has_preview: bool) -> tuple[str, str]:
    """Return the page and a content security policy that allows only the page's own script and style."""
    text = resources.files("streamad.web").joinpath("page.html").read_text(encoding="utf-8")
    text = text.replace("{{preview}}", "yes" if has_preview else "no")
    sources = {}
    for tag in ("script", "style"):
        found = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert found is not None
        digest = base64.b64encode(hashlib.sha256(found.group(1).encode()).digest()).decode()
        sources[tag] = f"'sha256-{digest}'"
    policy = (
        f"default-src 'none'; script-src {sources['script']}; style-src {sources['style']}; "
        "img-src 'self' blob: data:; media-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    return text, policy
