"""Routes of the cameras: the status document, the cameras in it, and their newest pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import Response
from pydantic import AwareDatetime

from streamad.observability.status import StatusDocument, finite
from streamad.observability.timeline import ScoreTimeline
from streamad.web.answers import NO_STORE, content, no_store, problems
from streamad.web.models import BudgetList, CameraList, Timeline


class Preview(Protocol):
    """Returns a camera's newest picture as JPEG, with its anomaly map if `has_map`; None if it has none."""

    def __call__(self, camera: str, *, has_map: bool = False) -> bytes | None: ...  # noqa: D102


def cameras_router(
    status: Callable[[], Mapping[str, Any]],
    preview: Preview | None,
    timeline: ScoreTimeline | None,
    budgets: Callable[[str], Sequence[Mapping[str, float]] | None],
) -> APIRouter:
    """Create the routes.

    Args:
        status: Returns the `StatusDocument`.
        preview: Returns a camera's newest picture as JPEG, or None if it has none. Default: no pictures.
        timeline: The scores of the last day. Default: none are kept.
        budgets: Returns the `Budget`s to choose from for a camera; None if there is no such camera.
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
    def get_preview(
        camera: str, map: Annotated[bool, Query(description="with the anomaly map drawn over it")] = False
    ) -> Response:
        """The newest picture of a camera: in color once somebody has looked for a second, before that in gray."""
        found = preview(camera, has_map=map) if preview is not None else None
        if found is None:
            raise HTTPException(404, f"no picture of camera {camera!r}", headers=NO_STORE)
        return Response(found, media_type="image/jpeg", headers=NO_STORE)

    @router.get("/cameras/{camera}/timeline", response_model=Timeline, responses=problems(422))
    def get_timeline(
        camera: str,
        since: Annotated[AwareDatetime | None, Query(description="only after this time, with time zone")] = None,
        until: Annotated[AwareDatetime | None, Query(description="only before this time, with time zone")] = None,
        step: Annotated[int, Query(ge=10, le=3600, multiple_of=10, description="length of a period, seconds")] = 60,
    ) -> Response:
        """The highest score of every period in the last 24 hours, but not before the start.

        Periods without a score are left out.
        """
        begin = since.timestamp() if since is not None else 0.0
        end = until.timestamp() if until is not None else math.inf
        points = timeline.points(camera, begin, end, step) if timeline is not None else []
        return no_store({"camera": camera, "step_seconds": step, "points": finite(points)})

    @router.get("/cameras/{camera}/budgets", response_model=BudgetList, responses=problems(404, 422))
    def list_budgets(camera: str) -> Response:
        """Budgets of false alerts to choose from, with the threshold that each would have now."""
        found = budgets(camera)
        if found is None:
            raise HTTPException(404, f"no camera {camera!r}", headers=NO_STORE)
        return no_store({"budgets": finite(found)})

    return router
