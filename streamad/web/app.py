"""The HTTP application: metrics, health, the versioned API, and the live page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response

from streamad import __version__
from streamad.accounts import Role
from streamad.alerts import EventStore
from streamad.alerts.sinks import Subscriptions
from streamad.observability.endpoints import WebSpec
from streamad.observability.health import Health, HealthReport
from streamad.observability.metrics import Metrics
from streamad.observability.status import StatusDocument, finite
from streamad.observability.timeline import ScoreTimeline
from streamad.web.access import requires
from streamad.web.answers import NO_STORE, content, handle_problems, no_store, problems
from streamad.web.audit import audit_router, record
from streamad.web.cameras import Preview, cameras_router
from streamad.web.configuration import Configurable, configuration_router
from streamad.web.events import events_router
from streamad.web.feed import Feed, feed_router
from streamad.web.logins import Logins
from streamad.web.models import Probe
from streamad.web.page import page_router
from streamad.web.push import push_router
from streamad.web.sessions import sessions_router

API = "/api/v1"
_DESCRIPTION = (
    "What `streamad run` offers to programs and to its own page. Times are ISO 8601 in UTC; scores: higher is more "
    "anomalous. Within v1, keys are only added."
)


def create_app(
    *,
    metrics: Metrics,
    health: Health,
    status: Callable[[], Mapping[str, Any]],
    store: EventStore | None = None,
    preview: Preview | None = None,
    evidence: Path | None = None,
    timeline: ScoreTimeline | None = None,
    budgets: Callable[[str], Sequence[Mapping[str, float]] | None] = lambda _: None,
    logins: Logins | None = None,
    push: Subscriptions | None = None,
    configuration: Configurable | None = None,
    camera_settings: Callable[[str], Mapping[str, Any] | None] = lambda _: None,
) -> FastAPI:
    """Create the application that `WebServer` serves.

    All callables are called from server threads and must be thread-safe.

    Args:
        metrics: The metrics, served under `/metrics`.
        health: The health state, served under `/healthz` and `/readyz`.
        status: Function that returns the `StatusDocument`. NaN and infinities are sent as null.
        store: The events, served under `/api/v1/events` and `/api/v1/health-events`. Without a store, those paths
            return 404.
        preview: Function that returns a camera's newest picture as JPEG, or None if it has none; served under
            `/api/v1/cameras/ID/preview.jpg`.
        evidence: Folder of the events' evidence, whose files are served under `/api/v1/events/ID/evidence/NAME`.
        budgets: Function that returns the `Budget`s of a camera; None if there is no such camera.
        timeline: The scores of the last day, served under `/api/v1/cameras/ID/timeline`.
        logins: Recognizes who makes a request. Default: programs on this machine may read, and nobody can log in.
        push: The devices that web push reaches. Default: browsers are not notified.
        configuration: What reloads and changes the configuration. Default: nothing can.
        camera_settings: Function that returns the `CameraSettings` of a camera; None if there is no such camera.
    """
    # Disable the framework's documentation pages, which load scripts from the network.
    app = FastAPI(
        title="streamad",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        generate_unique_id_function=lambda route: route.name,  # names of the methods of generated clients
    )
    logins = logins or Logins(WebSpec())
    app.state.authenticate = logins.authenticate
    handle_problems(app)
    feed = Feed(status)
    app.state.feed = feed

    @app.get(
        "/metrics", response_class=Response, responses=content("the metrics", "text/plain") | problems(401),
        dependencies=[requires(Role.METRICS)], tags=["operations"],
    )  # fmt: skip
    def get_metrics(request: Request) -> Response:
        """Metrics for Prometheus."""
        body, content_type = metrics.negotiate(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": content_type})

    # Health is served on the event loop itself, so that slow requests in the thread pool cannot delay it.
    probe: dict[str, Any] = {"response_model": Probe, "responses": {503: {"model": Probe}}, "tags": ["operations"]}

    @app.get("/healthz", **probe)
    async def get_health() -> Response:
        """200 while the main loop runs, otherwise 503."""
        return _probe(health.live())

    @app.get("/readyz", **probe)
    async def get_ready() -> Response:
        """200 once configuration and model are ready and the main loop runs, otherwise 503."""
        return _probe(health.ready())

    @app.get(
        "/status", response_model=StatusDocument, responses=problems(401),
        dependencies=[requires(Role.VIEWER)], tags=["operations"],
    )  # fmt: skip
    def get_current_status() -> Response:
        """The same as `/api/v1/status`."""
        return no_store(finite(status()))

    app.include_router(page_router(has_preview=preview is not None))

    # Reading needs a viewer everywhere; a route that changes something names the role that it needs.
    api = APIRouter(prefix=API, dependencies=[requires(Role.VIEWER)], responses=problems(401))
    api.include_router(cameras_router(status, preview, timeline, budgets))
    api.include_router(configuration_router(configuration, camera_settings, partial(record, store)))
    api.include_router(events_router(store, evidence, feed))
    api.include_router(feed_router(feed))
    api.include_router(audit_router(store))
    api.include_router(push_router(push, partial(record, store)))

    @api.get("/openapi.json", tags=["about"], response_model=dict[str, Any])
    def get_openapi() -> Response:
        """This description."""
        return JSONResponse(app.openapi())

    app.include_router(api)
    app.include_router(sessions_router(logins, partial(record, store), push), prefix=API)
    return app


def _probe(report: HealthReport) -> JSONResponse:
    document = {"ok": report.ok, "reason": report.reason}
    return JSONResponse(document, status_code=200 if report.ok else 503, headers=NO_STORE)
