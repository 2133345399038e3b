"""Routes of web push: the server's key, and turning notifications on and off for a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import Response

from streamad.accounts import Role
from streamad.alerts.sinks import Subscriptions
from streamad.alerts.sinks.subscriptions import fingerprint
from streamad.web.access import Identity, requires
from streamad.web.answers import NO_STORE, no_store, problems
from streamad.web.models import PushDevice, PushEndpoint, PushServer


def _person(who: Annotated[Identity, requires(Role.VIEWER)]) -> Identity:
    """Dependency that admits people who are logged in: a device is told as long as its user may be."""
    if who.name is None:
        raise HTTPException(401, "log in to be notified on this device")
    if who.authentication == "token":
        raise HTTPException(403, "a token has no device to notify; use a webhook (docs/how-to/get-notified.md)")
    return who


Person = Annotated[Identity, Depends(_person)]


def push_router(push: Subscriptions | None, record: Callable[..., None]) -> APIRouter:
    """Create the routes.

    Args:
        push: The devices. Without, every route returns 404.
        record: Adds to the audit trail what an identity did, as `audit.record` with its store.
    """
    router = APIRouter(tags=["push"])

    def devices() -> Subscriptions:
        if push is None:
            raise HTTPException(404, "this server does not notify browsers", headers=NO_STORE)
        return push

    @router.get("/push", response_model=PushServer, responses=problems(404, 503))
    def get_push() -> Response:
        """What a browser needs to subscribe to notifications."""
        return no_store({"key": devices().public_key()})

    @router.post(
        "/push/subscribe", status_code=204, response_class=Response, responses=problems(401, 403, 404, 422, 503)
    )
    def subscribe(device: PushDevice, who: Person) -> Response:
        """Notify a device from now on, until its user turns it off, logs out on it, or may not log in any more."""
        name, keys = str(who.name), device.keys
        if devices().add(name, session_of(who), device.endpoint, keys.p256dh, keys.auth):
            record(who, "push.subscribe", urlsplit(device.endpoint).hostname)
        return Response(status_code=204, headers=NO_STORE)

    @router.post(
        "/push/unsubscribe", status_code=204, response_class=Response, responses=problems(401, 403, 404, 422, 503)
    )
    def unsubscribe(device: PushEndpoint, who: Person) -> Response:
        """Notify a device no longer."""
        if devices().remove(lambda one: one.endpoint == device.endpoint and one.user == who.name):
            record(who, "push.unsubscribe", urlsplit(device.endpoint).hostname)
        return Response(status_code=204, headers=NO_STORE)

    return router


def session_of(who: Identity) -> str:
    """What tells a session from others; its devices are forgotten when it ends by a logout."""
    return fingerprint(who.csrf_token or "")
