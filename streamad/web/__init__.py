"""The live page, the metrics and health endpoints, and the web server."""

from streamad.observability.endpoints import WebSpec
from streamad.web.app import create_app
from streamad.web.server import WebServer

__all__ = ["WebServer", "WebSpec", "create_app"]
