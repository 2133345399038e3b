"""Discovery: which ONVIF cameras answer in the local network.

WS-Discovery (version of April 2005, as the ONVIF Core Specification requires): a probe is sent by multicast, and every
device answers with its address. Why our own code: docs/concepts/libraries.md.
"""

from __future__ import annotations

import re
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from streamad.errors import ExitCode, StreamadError

MULTICAST = ("239.255.255.250", 3702)
REPEAT_SECONDS = 1.0
"""The probe is sent this often: datagrams may be lost."""

_MAX_DATAGRAM = 65_535
_MAX_DEVICES = 1000
_WSD = "{http://schemas.xmlsoap.org/ws/2005/04/discovery}"
_WSA = "{http://schemas.xmlsoap.org/ws/2004/08/addressing}"
_PROBE = """<?xml version="1.0" encoding="utf-8"?>
<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing"
 xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:dn="http://www.onvif.org/ver10/network/wsdl">
<e:Header><w:MessageID>uuid:{id}</w:MessageID>
<w:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>
<w:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action></e:Header>
<e:Body><d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types></d:Probe></e:Body></e:Envelope>"""


class DiscoveryError(StreamadError, OSError):
    """The network cannot be asked."""

    exit_code = ExitCode.SOURCE


@dataclass(frozen=True, slots=True)
class Device:
    """A device that answered.

    Attributes:
        address: Its IP address.
        name: Its name; None if it states none.
        hardware: Its model; None if it states none.
        services: Addresses of its ONVIF service.
    """

    address: str
    name: str | None
    hardware: str | None
    services: tuple[str, ...]


def discover(
    seconds: float = 4.0,
    *,
    interface: str | None = None,
    target: tuple[str, int] = MULTICAST,
    clock: Callable[[], float] = time.monotonic,
) -> list[Device]:
    """Ask the network for cameras, and return those that answered, by address.

    Args:
        seconds: How long to wait for answers.
        interface: IP address of this machine in the network to ask. Default: the one that the system chooses.
        target: Where the probe is sent.
        clock: Monotonic seconds.

    Raises:
        DiscoveryError: The probe cannot be sent.
    """
    probe = _PROBE.format(id=uuid.uuid4()).encode()  # repeated with its id, so that a device answers it once
    found: dict[str, Device] = {}
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
            link.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)  # not beyond this network
            if interface is not None:
                link.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
                link.bind((interface, 0))
            end, again = clock() + seconds, clock()
            while (now := clock()) < end:
                if now >= again:
                    link.sendto(probe, target)
                    again = now + REPEAT_SECONDS
                link.settimeout(max(0.01, min(end, again) - now))
                try:
                    data, sender = link.recvfrom(_MAX_DATAGRAM)
                except TimeoutError:
                    continue
                if len(found) < _MAX_DEVICES and (device := _device(data, sender[0])) is not None:
                    found.setdefault(device.address, device)
    except OSError as error:
        raise DiscoveryError(
            f"cannot ask the network for cameras: {error.strerror or error}",
            hint="give this machine's address in the cameras' network with --interface",
        ) from error
    return sorted(found.values(), key=lambda device: tuple(map(int, device.address.split("."))))


def _device(data: bytes, address: str) -> Device | None:
    """Read an answer; None if it is not one. Nothing in it is trusted: it may come from anyone in the network."""
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        return None
    try:
        root = ElementTree.fromstring(data)  # noqa: S314 - without a document type, at most 64 KiB
    except (ElementTree.ParseError, ValueError, LookupError):
        return None
    match = root.find(f".//{_WSD}ProbeMatch")
    if match is None:
        return None
    scopes = (match.findtext(f"{_WSD}Scopes") or "").split()
    services = (match.findtext(f"{_WSD}XAddrs") or "").split()
    return Device(
        address, _scope(scopes, "name"), _scope(scopes, "hardware"), tuple(s for s in services if _is_web_address(s))
    )


def _scope(scopes: list[str], kind: str) -> str | None:
    """Return what a device says of itself in its scopes, such as onvif://www.onvif.org/name/Gate%20camera."""
    prefix = f"onvif://www.onvif.org/{kind}/"
    found = next((unquote(scope[len(prefix) :]) for scope in scopes if scope.startswith(prefix)), "")
    return re.sub(r"[^\x20-\x7e\xa0-\uffff]", "", found)[:100].strip() or None


def _is_web_address(text: str) -> bool:
    try:
        return urlsplit(text).scheme in ("http", "https") and bool(urlsplit(text).hostname)
    except ValueError:
        return False
