"""Configuration of the web server: where its endpoints are served.

It is defined here, below `live`, because the configuration is composed below the web server itself.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

HOST = r"^(\*|(\*\.)?[A-Za-z0-9_-]([A-Za-z0-9._-]*[A-Za-z0-9_-])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$"
"""A name, all names below one, an address, or "*" for any."""


class Role(StrEnum):
    """What a user or a token may do. Each role may do what those before it may."""

    METRICS = "metrics"
    """Read the metrics. For tokens only."""
    VIEWER = "viewer"
    """Read everything but the audit trail."""
    OPERATOR = "operator"
    """Mark events and change what a camera looks for."""
    ADMIN = "admin"
    """Read the audit trail and reload the configuration."""

    @property
    def level(self) -> int:
        """Position among the roles."""
        return list(Role).index(self)


class WebSpec(BaseModel):
    """Where the page, the metrics, and the health endpoints are served."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="false: no page, metrics, or health endpoints")
    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="address to listen on; there is no login, so use a proxy for access from other machines",
    )
    allowed_hosts: tuple[Annotated[str, Field(pattern=HOST)], ...] = Field(
        (),
        max_length=100,
        description="host names that a proxy, Prometheus or a browser may use for this server, without a port; "
        "*.example.org: all names below one; loopback names, `host`, and the machine's addresses are always allowed",
    )
    port: int = Field(8080, ge=0, le=65535, description="TCP port to listen on; 0: any free port")
