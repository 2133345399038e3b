"""The audit trail of the API: recording what an identity changed, and the route that lists it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import Response
from pydantic import AwareDatetime

from streamad.accounts import Role
from streamad.alerts import EventStore
from streamad.alerts.audit import AuditEntry, read_audit, record_change
from streamad.web.access import Identity, requires
from streamad.web.answers import no_store, problems
from streamad.web.events import Cursor, Limit
from streamad.web.models import AuditPage


def record(
    store: EventStore | None,
    who: Identity,
    action: str,
    target: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Add to the audit trail what was changed. It cannot fail: what cannot be stored is logged.

    Args:
        store: The event store, in whose file the trail is.
        who: Who changed it.
        action: What was done, "config.reload" for example.
        target: What it was done to, such as a camera's id.
        detail: Further values of JSON types, such as what was before. No secrets.
    """
    if store is not None:
        entry = AuditEntry(
            at=datetime.now(UTC), who=who.name or "", authentication=who.authentication, address=who.address,
            action=action, target=target, detail=detail or {},
        )  # fmt: skip
        record_change(store.path, entry)


def audit_router(store: EventStore | None) -> APIRouter:
    """Create the route.

    Args:
        store: The event store, in whose file the trail is. Without one, the route returns 404.
    """
    router = APIRouter(tags=["audit"])

    @router.get(
        "/audit", response_model=AuditPage, responses=problems(403, 404, 422), dependencies=[requires(Role.ADMIN)]
    )
    def list_audit(
        since: Annotated[AwareDatetime | None, Query(description="only entries of this time and later")] = None,
        until: Annotated[AwareDatetime | None, Query(description="only entries before this time")] = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Response:
        """Who changed what, and when, newest first."""
        if store is None:
            raise HTTPException(404, "no event store is configured")
        entries, following = read_audit(store.path, since=since, until=until, limit=limit, cursor=cursor)
        return no_store({"entries": [entry.to_dict() for entry in entries], "next": following})

    return router
