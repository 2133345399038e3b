"""WS-Discovery with real sockets: devices that answer, and others that send what they should not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree

import pytest

from streamad.sources.discovery import Device, DiscoveryError, discover

# As cameras answer; the message of the ONVIF Core Specification's example, shortened.
ANSWER = """<?xml version="1.0" encoding="UTF-8"?>
<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://www.w3.org/2003/05/soap-envelope"
 xmlns:wsa="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"
 xmlns:dn="http://www.onvif.org/ver10/network/wsdl">
<SOAP-ENV:Header><wsa:RelatesTo>{relates}</wsa:RelatesTo></SOAP-ENV:Header>
<SOAP-ENV:Body><d:ProbeMatches><d:ProbeMatch>
<wsa:EndpointReference><wsa:Address>urn:uuid:1419d68a-1dd2-11b2-a105-000000000000</wsa:Address></wsa:EndpointReference>
<d:Types>dn:NetworkVideoTransmitter</d:Types>
<d:Scopes>onvif://www.onvif.org/type/video_encoder {scopes}</d:Scopes>
<d:XAddrs>{services}</d:XAddrs><d:MetadataVersion>1</d:MetadataVersion>
</d:ProbeMatch></d:ProbeMatches></SOAP-ENV:Body></SOAP-ENV:Envelope>"""
WSA = "{http://schemas.xmlsoap.org/ws/2004/08/addressing}"


@contextmanager
def responder(*answers: bytes, ignored: int = 0) -> Iterator[tuple[tuple[str, int], list[str]]]:
    """A device on loopback that sends these answers to a probe after the first ones; yields address and message ids."""
    seen: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.bind(("127.0.0.1", 0))
        link.settimeout(0.1)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                try:
                    data, sender = link.recvfrom(65_535)
                except TimeoutError:
                    continue
                probe = ElementTree.fromstring(data)
                assert probe.find(".//{http://schemas.xmlsoap.org/ws/2005/04/discovery}Probe") is not None
                seen.append(str(probe.findtext(f".//{WSA}MessageID")))
                for answer in answers if len(seen) > ignored else ():
                    link.sendto(answer.replace(b"{relates}", seen[-1].encode()), sender)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield link.getsockname(), seen
        finally:
            stop.set()
            thread.join()


def answer(scopes: str = "", services: str = "") -> bytes:
    return ANSWER.format(relates="{relates}", scopes=scopes, services=services).encode()


def test_a_device_is_listed_with_its_name() -> None:
    scopes = "onvif://www.onvif.org/name/Gate%20camera onvif://www.onvif.org/hardware/X-100"
    with responder(answer(scopes, "http://127.0.0.1/onvif/device_service")) as (target, _):
        found = discover(0.5, target=target)
    assert found == [Device("127.0.0.1", "Gate camera", "X-100", ("http://127.0.0.1/onvif/device_service",))]


def test_a_lost_probe_is_sent_again_with_its_id() -> None:
    with responder(answer(), ignored=1) as (target, seen):
        assert [device.address for device in discover(1.6, target=target)] == ["127.0.0.1"]
    assert len(seen) == 2
    assert len(set(seen)) == 1


def test_what_is_no_answer_is_ignored() -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;">]><a>&c;</a>'
    hostile = answer("onvif://www.onvif.org/name/%1b[31mred%0a", "file:///etc/passwd javascript:x http://[ http://ok/")
    for junk in (b"", b"\xff\x00", b"<a/>", bomb, b"<?xml version='1.0' encoding='nonsense'?><a/>"):
        with responder(junk) as (target, _):
            assert discover(0.3, target=target) == []
    with responder(hostile) as (target, _):
        assert discover(0.3, target=target) == [Device("127.0.0.1", "[31mred", None, ("http://ok/",))]


def test_an_address_that_is_not_here_is_an_error() -> None:
    with pytest.raises(DiscoveryError) as caught:
        discover(0.3, interface="192.0.2.77")
    assert "--interface" in str(caught.value.hint)
