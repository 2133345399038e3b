"""Where the endpoints are served: the web server's part of the configuration.

It lives here, below the pipeline, since the configuration is composed there; the server itself stands on top.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class WebSpec(BaseModel):
    """Where the page, the metrics and the health endpoints are served."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="false: no page, no metrics, no health endpoints")
    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="address to listen on; there is no login, so beyond this machine put a proxy in front",
    )
    port: int = Field(8080, ge=0, le=65535, description="TCP port to listen on; 0: any free one")
