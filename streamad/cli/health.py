"""`streamad health`: the health endpoint of a running service, for container engines and scripts."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

import typer

from streamad.cli.common import JsonOption, emit
from streamad.cli.help import arg, opt
from streamad.errors import ExitCode, UsageError


def health(
    config: Annotated[Path, arg(unit="CONFIG", help="The YAML configuration of the running service.")],
    ready: Annotated[bool, opt("--ready", help="Ask whether it is ready (/readyz) instead of alive.")] = False,
    timeout: Annotated[float, opt("--timeout", unit="SECONDS", min=0.1, help="Longest wait for the answer.")] = 4.0,
    as_json: JsonOption = False,
) -> None:
    """Ask a running service whether it is alive.

    Uses the address and port of the configuration. Exits with code 1 if the main loop hangs or nothing answers. A dead
    camera does not make the service unhealthy.

    Examples:
        streamad health camera.yaml
        streamad health camera.yaml --ready
    """
    import ssl
    from urllib.error import HTTPError
    from urllib.request import BaseHandler, HTTPSHandler, ProxyHandler, build_opener

    from streamad.config import load_config

    web = load_config(config).web
    if not web.enabled or web.port == 0:
        reason = "web.enabled is false" if not web.enabled else "web.port is 0"
        raise UsageError(f"{config}: {reason}, so there is no known address to ask", hint="set web.port")
    handlers: list[BaseHandler] = [ProxyHandler({})]  # never ask a proxy for this machine
    scheme = "http"
    if web.tls_certificate is not None:
        context = ssl.create_default_context()
        # The certificate is for another name than this address, and nothing secret is sent.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        scheme, handlers = "https", [*handlers, HTTPSHandler(context=context)]
    url = f"{scheme}://{_reachable(web.host)}:{web.port}/{'readyz' if ready else 'healthz'}"
    opener = build_opener(*handlers)
    try:
        with opener.open(url, timeout=timeout) as response:
            ok, answer = True, response.read(4096).decode(errors="replace")
    except HTTPError as error:
        ok, answer = False, error.read(4096).decode(errors="replace") or str(error)
    except (OSError, ValueError) as error:
        ok, answer = False, str(getattr(error, "reason", error))
    if as_json:
        emit({"ok": ok, "url": url, "answer": answer.strip()})
    else:
        typer.echo(f"{url}: {answer.strip()}")
    if not ok:
        raise typer.Exit(ExitCode.RUNTIME)


def _reachable(host: str) -> str:
    """The host to connect to for an address that a server listens on."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    return f"[{address}]" if address.version == 6 else str(address)
