"""Who may use the API: roles, the identity behind a request, and the dependency that routes declare.

A route states the least role that may use it:

    @router.put("/events/{event}/mark")
    def mark_event(who: Annotated[Identity, requires(Role.OPERATOR)]) -> ...:

or, where it needs no name, `dependencies=[requires(Role.OPERATOR)]`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request

from streamad.accounts import Role
from streamad.alerts.audit import Authentication


@dataclass(frozen=True, slots=True)
class Identity:
    """Who makes a request.

    Attributes:
        name: Name of the user or token; None without a login.
        role: What they may do.
        authentication: How they were recognized.
        address: Address of the client, as a proxy reports it if it is one of `web.proxy.addresses`.
        csrf_token: What the header `X-CSRF-Token` must hold in a request that changes something; None where no browser
            sends the credentials by itself.
    """

    name: str | None
    role: Role
    authentication: Authentication
    address: str
    csrf_token: str | None = None

    def may(self, role: Role) -> bool:
        """Whether they may do what needs this role."""
        return self.role.level >= role.level


Authenticator = Callable[[Request], Identity | None]
"""Recognizes the identity behind a request; None without a valid one. The application has it as
`state.authenticate`."""


def identify(request: Request) -> Identity | None:
    """Dependency: the identity behind a request, None without a valid one."""
    authenticate: Authenticator = request.app.state.authenticate
    return authenticate(request)


def requires(role: Role) -> Any:
    """Dependency that admits only identities with at least this role, and returns them."""

    def admitted(identity: Annotated[Identity | None, Depends(identify)]) -> Identity:
        if identity is None:
            raise HTTPException(401, "log in, or send a token", headers={"WWW-Authenticate": "Bearer"})
        if not identity.may(role):
            if identity.name is None:
                raise HTTPException(401, f"log in as {role}: reading is all that is allowed without a login")
            raise HTTPException(403, f"needs the role {role}; {identity.name} has {identity.role}")
        return identity

    admitted.role = role  # type: ignore[attr-defined]  # for the test that every route has one
    return Depends(admitted)
