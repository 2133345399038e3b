"""Routes of the cameras: the status document, the cameras in it, and their newest pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, HTTPException
from fastapi.responses import Response

from streamad.observability.status import StatusDocument, finite
from streamad.web.answers import NO_STORE, content, no_store, problems
from streamad.web.models import CameraList


def cameras_router(status: Callable[[], Mapping[str, Any]], preview: Callable[[str], bytes | None] | None) -> APIRouter:
    """Create the routes.

    Args:
        status: Returns the `StatusDocument`.
        preview: Returns a camera's newest picture as JPEG, or None if it has none. Default: no pictures.
    """
    router = APIRouter(tags=["cameras"])

    @router.get("/status", response_model=StatusDocument)
    def get_status() -> Response:
        """Everything at a glance: engine, models, each camera's state and score, the event store, the outputs."""
        return no_store(finite(status()))

    @router.get("/cameras", response_model=CameraList)
    def list_cameras() -> Response:
        """All cameras, as in the status."""
        return no_store({"cameras": finite(status()["cameras"])})

    picture = content("a picture", "image/jpeg") | problems(404, 422)

    @router.get("/cameras/{camera}/preview.jpg", response_class=Response, responses=picture)
    def get_preview(camera: str) -> Response:
        """The newest picture of a camera."""
        found = preview(camera) if preview is not None else None
        if found is None:
            raise HTTPException(404, f"no picture of camera {camera!r}", headers=NO_STORE)
        return Response(found, media_type="image/jpeg", headers=NO_STORE)

    return router
