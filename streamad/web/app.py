"""The HTTP application: metrics, health, status, events, preview pictures and the live page."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib import resources
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from streamad import __version__
from streamad.alerts import Event, EventStore
from streamad.alerts.health import HealthEvent
from streamad.errors import StreamadError, UsageError
from streamad.observability.health import Health, HealthReport
from streamad.observability.metrics import Metrics
from streamad.observability.status import finite
from streamad.redaction import redact

NO_STORE = {"Cache-Control": "no-store"}
EVENTS_LIMIT = 1000
HEALTH_EVENTS = "/api/health-events"
Limit = Annotated[int, Query(ge=1, le=EVENTS_LIMIT)]


def create_app(
    *,
    metrics: Metrics,
    health: Health,
    status: Callable[[], Mapping[str, Any]],
    store: EventStore | None = None,
    preview: Callable[[str], bytes | None] | None = None,
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
        return _page_of(store.events(camera, since, limit, before), limit, store.count(camera))

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


def _page_of(found: Sequence[Event | HealthEvent], limit: int, total: int) -> JSONResponse:
    """Create the response for one page of events. `next` is the value of `before` for the following page."""
    following = found[-1].id if len(found) == limit else None
    document = {"events": [event.to_dict() for event in found], "total": total, "next": following}
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
        "img-src 'self' blob: data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    return text, policy
