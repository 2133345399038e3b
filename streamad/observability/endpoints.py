"""Configuration of the web server: where its endpoints are served, and to whom.

It is defined here, below `live`, because the configuration is composed below the web server itself.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from streamad.accounts import Role, UserRole

HOST = r"^(\*|(\*\.)?[A-Za-z0-9_-]([A-Za-z0-9._-]*[A-Za-z0-9_-])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$"
"""A name, all names below one, an address, or "*" for any."""


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is not an address or network: {error}") from error


Network = Annotated[str, AfterValidator(_network)]


class ProxySpec(BaseModel):
    """A reverse proxy that logs users in and names them in a header."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    addresses: tuple[Network, ...] = Field(
        min_length=1,
        max_length=100,
        description="addresses or networks (192.0.2.0/24) of the proxies; the header of others is ignored",
    )
    user_header: str = Field(
        "Remote-User",
        pattern=r"^[A-Za-z0-9-]{1,64}$",
        description="header with the user's name, which the proxy must set or remove",
    )
    role: UserRole = Field(Role.VIEWER, description="role of users who are not in the users file")


class WebSpec(BaseModel):
    """Where the page, the API, the metrics, and the health endpoints are served, and to whom."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="false: no page, metrics, or health endpoints")
    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="address to listen on; one that other machines can reach needs `users` or `proxy`",
    )
    allowed_hosts: tuple[Annotated[str, Field(pattern=HOST)], ...] = Field(
        (),
        max_length=100,
        description="host names that a proxy, Prometheus or a browser may use for this server, without a port; "
        "*.example.org: all names below one; loopback names, `host`, and the machine's addresses are always allowed",
    )
    port: int = Field(8080, ge=0, le=65535, description="TCP port to listen on; 0: any free port")
    anonymous: Literal["loopback", "anywhere", "nowhere"] = Field(
        "loopback",
        description="who may read without a login: programs on this machine, everyone who can connect, or nobody; "
        "nobody may change anything without one",
    )
    users: Path | None = Field(
        None, description="file of users and tokens, made by `streamad users add`; empty: no logins"
    )
    session_hours: float = Field(24.0, gt=0, le=8784, description="how long a login lasts at most")
    session_idle_minutes: float = Field(60.0, gt=0, le=527_040, description="how long a login lasts without a request")
    proxy: ProxySpec | None = Field(None, description="proxy that logs users in; empty: none")
    tls_certificate: Path | None = Field(
        None, description="certificate chain in PEM format; with `tls_key`, the server speaks HTTPS only"
    )
    tls_key: Path | None = Field(None, description="private key of the certificate in PEM format, without a passphrase")

    @property
    def has_logins(self) -> bool:
        """Whether anybody can log in."""
        return self.users is not None or self.proxy is not None

    @model_validator(mode="after")
    def _not_openly(self) -> Self:
        if self.enabled and not is_loopback(self.host) and not self.has_logins and self.anonymous != "anywhere":
            raise ValueError(
                f"other machines can reach `host: {self.host}`, and nobody can log in: set `users`, or `proxy`; "
                "`anonymous: anywhere` lets everyone who can connect read"
            )
        return self

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("`tls_certificate` and `tls_key` are needed together")
        return self


def is_loopback(host: str) -> bool:
    """Whether a name or address always means this machine."""
    name = host.strip("[]").lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
