"""`streamad discover`: which ONVIF cameras answer in the network."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Annotated

from streamad.cli.common import JsonOption, emit, say, table
from streamad.cli.help import opt


def discover(
    seconds: Annotated[float, opt(min=0.5, max=60, unit="SECONDS", help="How long to wait for answers.")] = 4.0,
    interface: Annotated[
        str | None,
        opt(unit="ADDRESS", help="This machine's IP address in the cameras' network. Default: the system's choice."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the ONVIF cameras in the local network.

    Sends one question to all devices (WS-Discovery) and contacts none of them otherwise. The address of a camera's
    stream is not part of the answer: it is in the camera's manual or on its page.

    Examples:
        streamad discover
        streamad discover --interface 192.0.2.5 --json
    """
    from streamad.errors import UsageError
    from streamad.sources.discovery import discover as find

    if interface is not None and not re.fullmatch(r"\d{1,3}(\.\d{1,3}){3}", interface):
        raise UsageError(f"--interface {interface!r}: expected an IPv4 address of this machine, such as 192.0.2.5")
    devices = find(seconds, interface=interface)
    if as_json:
        emit({"devices": [asdict(device) for device in devices]})
        return
    if not devices:
        say("no camera answered: ONVIF may be off in the camera, or it is in another network (--interface)")
        return
    table([
        {"address": d.address, "name": d.name, "hardware": d.hardware, "service": d.services[0] if d.services else None}
        for d in devices
    ])  # fmt: skip
    example = devices[0]
    name = re.sub(r"[^a-z0-9]+", "-", (example.name or "camera").lower()).strip("-") or "camera"
    say(f"to go on: streamad learn rtsp://{example.address}/STREAM --minutes 10 --out models/{name}")
