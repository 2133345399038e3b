"""Cameras that offer several authentication methods: what FFmpeg receives, what it sends, and what is reported."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rtsp_support import RtspServer, frame_number, require_rtsp_server, write_video

from streamad.sources import FailureReason, RtspSpec, SourceError, open_source
from streamad.sources.rtsp_auth import Challenge, answered_challenge, parse_challenges
from streamad.sources.url import Url

USER, PASSWORD = "us er", "s3cret/?"
CHALLENGES = {
    "basic": 'Basic realm="cam"',
    "digest": 'Digest realm="cam", nonce="abc123", algorithm=MD5',
    "plain": 'Digest realm="cam", nonce="abc123"',
    "sha256": 'Digest realm="cam", nonce="abc123", algorithm=SHA-256',
    "sha512": 'Digest realm="cam", nonce="abc123", algorithm="SHA-512-256", qop="auth"',
    "bearer": 'Bearer realm="cam"',
}


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


class Camera(socketserver.ThreadingTCPServer):
    """A camera that answers 404 after successful authentication and records what it received."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, offers: list[str], *, joined: bool = False) -> None:
        self.sent: list[str] = []
        names = [CHALLENGES[offer] for offer in offers]
        lines = [", ".join(names)] if joined else names
        self.refusal = "".join(f"WWW-Authenticate: {line}\r\n" for line in lines)
        super().__init__(("127.0.0.1", 0), Visit)

    @property
    def url(self) -> Url:
        return Url(f"rtsp://127.0.0.1:{self.server_address[1]}/x?channel=1").with_credentials(USER, PASSWORD)


class Visit(socketserver.StreamRequestHandler):
    """One connection."""

    def handle(self) -> None:
        camera = self.server
        assert isinstance(camera, Camera)
        while request := self.rfile.readline().decode():
            headers = {}
            while line := self.rfile.readline().decode().strip():
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            answer = "401 Unauthorized\r\n" + camera.refusal.rstrip("\r\n")
            method = request.split()[0]
            if method == "OPTIONS":
                answer = "200 OK\r\nPublic: OPTIONS, DESCRIBE"
            elif "authorization" in headers:
                is_right = self.is_right(method, headers["authorization"])
                camera.sent.append(f"{headers['authorization'].split()[0].lower()}:{is_right}")
                answer = "404 Not Found" if is_right else answer
            self.wfile.write(f"RTSP/1.0 {answer}\r\nCSeq: {headers['cseq']}\r\n\r\n".encode())

    def is_right(self, method: str, authorization: str) -> bool:
        if authorization.startswith("Basic"):
            return base64.b64decode(authorization.split()[1]) == f"{USER}:{PASSWORD}".encode()
        given = dict(re.findall(r'(\w+)="?([^",]*)"?', authorization))
        secret, asked = md5(f"{USER}:cam:{PASSWORD}"), md5(f"{method}:{given['uri']}")
        return given["response"] == md5(f"{secret}:abc123:{asked}")


@contextmanager
def camera(*offers: str, joined: bool = False) -> Iterator[Camera]:
    with Camera(list(offers), joined=joined) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def failure(url: Url) -> SourceError:
    spec = RtspSpec(url=url, open_timeout_seconds=5, read_timeout_seconds=3)
    with pytest.raises(SourceError) as caught:
        open_source(spec, camera="cam")
    assert PASSWORD not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("offers", "sent"),
    [
        (["basic"], "basic:True"),
        (["plain"], "digest:True"),
        (["basic", "digest"], "digest:True"),
        (["sha256", "digest"], "digest:True"),
        (["digest", "sha256"], "digest:True"),
        (["plain", "sha512", "basic"], "digest:True"),
        (["basic", "bearer"], "basic:True"),
    ],
)
def test_what_is_on_offer_and_spoken_works(offers: list[str], sent: str) -> None:
    with camera(*offers) as server:
        assert failure(server.url).reason is FailureReason.NOT_FOUND
        assert server.sent == [sent]
        assert failure(server.url.with_credentials(USER, "wrong")).reason is FailureReason.AUTH
        assert set(server.sent[1:]) == {sent.replace("True", "False")}


@pytest.mark.parametrize(
    ("offers", "named"),
    [
        (["sha256"], "Digest with SHA-256"),
        (["sha512"], "Digest with SHA-512-256"),
        (["basic", "sha256"], "Digest with SHA-256"),
        (["sha256", "basic"], "Digest with SHA-256"),
        (["bearer"], "Bearer"),
    ],
)
def test_what_is_not_spoken_is_named_and_nothing_is_sent(offers: list[str], named: str) -> None:
    """In particular not the password in clear text, as in Basic: FFmpeg prefers Digest and would not have sent it."""
    with camera(*offers) as server:
        error = failure(server.url)
        assert error.reason is FailureReason.AUTH
        assert f"the camera requires {named}, which FFmpeg does not support; no credentials were sent" in str(error)
        assert error.hint == "set the camera's RTSP authentication to digest (MD5) or basic"
        assert server.sent == []


def test_no_credentials_where_some_are_wanted() -> None:
    with camera("digest") as server:
        error = failure(Url(server.url.reveal(credentials=False)))
        assert error.reason is FailureReason.AUTH
        assert "requires credentials, but none are configured" in str(error)


def test_challenges_in_one_line() -> None:
    line = b"WWW-Authenticate: " + ", ".join(CHALLENGES.values()).encode() + b"\r\n"
    found = parse_challenges(line)
    assert [str(c) for c in found] == [
        "Basic",
        "Digest with MD5",
        "Digest",
        "Digest with SHA-256",
        "Digest with SHA-512-256",
        "Bearer",
    ]
    assert answered_challenge(found) == Challenge("Digest", "SHA-512-256")
    assert parse_challenges(b"Server: Digest algorithm=MD5\r\n") == []


@contextmanager
def offering_sha256(port: int) -> Iterator[int]:
    """Run a proxy that adds a SHA-256 challenge to those of the server at `port`; yield its own port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def passed(source: socket.socket, target: socket.socket, *, adds: bool) -> None:
        try:
            while data := source.recv(65536):
                if adds and data.startswith(b"RTSP/1.0 401"):
                    offer = f"\r\nWWW-Authenticate: {CHALLENGES['sha256']}\r\n\r\n".encode()
                    data = data.replace(b"\r\n\r\n", offer)
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        finally:
            source.close()
            target.close()

    def serve() -> None:
        while True:
            try:
                player, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=passed, args=(player, server), kwargs={"adds": False}, daemon=True).start()
            threading.Thread(target=passed, args=(server, player), kwargs={"adds": True}, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    with listener:
        yield listener.getsockname()[1]


@pytest.mark.rtsp
def test_a_stream_through_the_relay(tmp_path: Path) -> None:
    require_rtsp_server()
    video = write_video(tmp_path / "short.mp4", frames=60)
    with RtspServer({"short": video}, user=USER, password=PASSWORD) as server, offering_sha256(server.port) as port:
        url = Url(server.url("short")).at("127.0.0.1", port)
        with open_source(RtspSpec(url=url, read_timeout_seconds=3), camera="cam") as source:
            numbers = [frame_number(frame.pixels) for frame in source]
    assert len(numbers) > 40
    assert numbers == sorted(numbers)
