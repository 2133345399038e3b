"""Where the endpoints are served: the web server's part of the configuration.

It lives here, below `live`, since the configuration is composed there; the server itself stands on top.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

HOST = r"^(\*|(\*\.)?[A-Za-z0-9_-]([A-Za-z0-9._-]*[A-Za-z0-9_-])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$"
"""A name, every name under one, an address, or "*" for any."""


class WebSpec(BaseModel):
    """Where the page, the metrics and the health endpoints are served."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="false: no page, no metrics, no health endpoints")
    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="address to listen on; there is no login, so beyond this machine put a proxy in front",
    )
    allowed_hosts: tuple[Annotated[str, Field(pattern=HOST)], ...] = Field(
        (),
        max_length=100,
        description="names by which a proxy, Prometheus or a browser may ask for this server, without a port; "
        "*.example.org: all under a name; loopback names, `host` and the machine's addresses need no entry",
    )
    port: int = Field(8080, ge=0, le=65535, description="TCP port to listen on; 0: any free one")
