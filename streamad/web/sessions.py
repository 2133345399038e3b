"""Routes to log in and out, and to ask who one is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from streamad.accounts import Role
from streamad.alerts.sinks import Subscriptions
from streamad.web.access import Identity, requires
from streamad.web.answers import NO_STORE, no_store, problems
from streamad.web.logins import COOKIE, Logins
from streamad.web.models import Login, Me
from streamad.web.push import session_of

Record = Callable[[Identity, str], None]
Viewer = Annotated[Identity, requires(Role.VIEWER)]


def sessions_router(logins: Logins, record: Record, push: Subscriptions | None) -> APIRouter:
    """Create the routes.

    Args:
        logins: What logs users in.
        record: Adds to the audit trail what an identity did.
        push: The devices that web push reaches; those of a session are forgotten when it ends.
    """
    router = APIRouter(tags=["sessions"])

    def me(who: Identity) -> dict[str, Any]:
        return {
            "name": who.name, "role": who.role, "authentication": who.authentication, "csrf_token": who.csrf_token,
            "login": logins.has_passwords,
        }  # fmt: skip

    @router.get("/me", response_model=Me, responses=problems(401))
    def get_me(who: Viewer) -> Response:
        """Who makes the request, and what they may do."""
        return no_store(me(who))

    @router.post("/login", response_model=Me, responses=problems(401, 403, 404, 422, 429, 503))
    def log_in(request: Request, login: Login) -> Response:
        """Start a session. Its cookie is for browsers; programs should send a token."""
        cookie, who = logins.log_in(request, login.name, login.password)
        record(who, "login")
        answer = JSONResponse(me(who), headers=NO_STORE)
        answer.set_cookie(
            COOKIE, cookie, max_age=int(logins.session_seconds), path="/", httponly=True, samesite="strict",
            secure=logins.is_secure(request),
        )  # fmt: skip
        return answer

    @router.post("/logout", status_code=204, response_class=Response, responses=problems(401, 403, 503))
    def log_out(request: Request, who: Viewer) -> Response:
        """End the session, and the notifications of its device."""
        if who.authentication == "session":
            logins.log_out(request)
            record(who, "logout")
            if push is not None:
                push.remove(lambda device: device.session == session_of(who))
        answer = Response(status_code=204, headers=NO_STORE)
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=logins.is_secure(request))
        return answer

    return router
