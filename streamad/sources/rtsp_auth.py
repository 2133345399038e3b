"""Ways of authentication that FFmpeg does not speak: found out, named, and where MD5 is offered too, avoided.

FFmpeg answers Basic and Digest with MD5. Of several challenges it takes the last Digest; where that asks for another
algorithm it sends no credentials at all and reports that they were refused.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from streamad.sources.failures import FailureReason, SourceError, source_error
from streamad.sources.spec import RtspSpec
from streamad.sources.url import Url

_SPOKEN = ("", "MD5", "MD5-sess")
_CHALLENGE = re.compile(rb"www-authenticate\s*:\s*(.*?)\s*$", re.IGNORECASE | re.DOTALL)
_NEXT_CHALLENGE = re.compile(r",\s*(?=[A-Za-z][\w-]*\s+[\w-]+\s*=)")
_ALGORITHM = re.compile(r"\balgorithm\s*=\s*\"?([\w-]*)", re.IGNORECASE)
_LONGEST_LINE = 16384
_MOST_LINES = 200
_LARGEST_BODY = 1 << 20
_INTERLEAVED = b"$"
"""Begins a packet of the stream between the messages of the protocol (RFC 2326, section 10.12)."""


class Challenge(NamedTuple):
    """One way of authentication that a camera offers.

    Attributes:
        scheme: "Digest", "Basic", or another.
        algorithm: of Digest, empty where it is not named (MD5).
    """

    scheme: str
    algorithm: str

    @property
    def is_spoken(self) -> bool:
        """Whether FFmpeg can answer it."""
        if self.scheme.lower() == "digest":
            return self.algorithm in _SPOKEN
        return self.scheme.lower() == "basic"

    def __str__(self) -> str:
        return f"{self.scheme} with {self.algorithm}" if self.algorithm else self.scheme


def challenges_of(line: bytes) -> list[Challenge]:
    """The challenges of a header line, none where it is another header."""
    match = _CHALLENGE.match(line)
    if match is None:
        return []
    answer = []
    for part in _NEXT_CHALLENGE.split(match[1].decode("latin-1")):
        algorithm = _ALGORITHM.search(part)
        answer.append(Challenge((part.split() or ["nothing"])[0][:40], algorithm[1] if algorithm else ""))
    return answer


def taken(offered: Iterable[Challenge]) -> Challenge | None:
    """The challenge that FFmpeg answers: the last Digest, else the last Basic; None where there is neither."""
    chosen = None
    for challenge in offered:
        is_digest = challenge.scheme.lower() == "digest"
        if is_digest or (challenge.scheme.lower() == "basic" and (chosen is None or chosen.scheme.lower() == "basic")):
            chosen = challenge
    return chosen


def explained(failure: SourceError, url: Url, spec: RtspSpec) -> SourceError | None:
    """Why the server let nobody in, and whether that can be avoided.

    Args:
        failure: FFmpeg's failure to authenticate.
        url: the address, with credentials.
        spec: the camera.

    Returns:
        The failure to raise; None where a connection through a `DigestRelay` is worth a try.
    """
    if not url.has_credentials:
        return source_error(
            FailureReason.AUTH,
            f"{spec.url}: the server wants credentials, and none are given",
            hint="give user and password (username_env and password_env, or secret_file)",
        )
    offered = _offered(url, spec.open_timeout_seconds)
    chosen = taken(offered)
    if not offered or (chosen is not None and chosen.is_spoken):
        return failure
    if any(c.is_spoken and c.scheme.lower() == "digest" for c in offered):
        if url.scheme == "rtsp" and spec.transport == "tcp":
            return None
        hint = "set the camera's RTSP authentication to digest (MD5) or basic alone, or use rtsp:// over tcp"
    else:
        hint = "set the camera's RTSP authentication to digest (MD5) or basic"
    wanted = chosen or offered[0]
    return source_error(
        FailureReason.AUTH,
        f"{spec.url}: the camera asks for {wanted}, which FFmpeg does not speak; no credentials were sent",
        hint=hint,
    )


def _offered(url: Url, timeout_seconds: float) -> list[Challenge]:
    """What the server offers to whom it does not know; nothing of the credentials is sent."""
    request = f"DESCRIBE {url.reveal(credentials=False)} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    answer: list[Challenge] = []
    try:
        with socket.create_connection((url.host, url.port), timeout=timeout_seconds) as plain:
            link: socket.socket = plain
            if url.scheme == "rtsps":
                # No secret goes over it, so the certificate, which FFmpeg has looked at, does not matter.
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                link = context.wrap_socket(plain, server_hostname=url.host)
            link.sendall(request.encode("utf-8", "surrogateescape"))
            with link.makefile("rb") as reader:
                for line in _head(reader, b""):
                    answer += challenges_of(line)
    except OSError:
        return []  # it has just answered FFmpeg; what FFmpeg said of it stands
    return answer


class DigestRelay:
    """Hides from FFmpeg the challenges that it would take and cannot answer.

    It listens on the loopback address for one connection and passes it on to the camera. Credentials cross as FFmpeg
    sends them anywhere: hashed with the camera's nonce.

    Args:
        url: the camera's address, `rtsp://`.
        timeout_seconds: longest time to connect.

    Raises:
        OSError: the camera cannot be reached.
    """

    def __init__(self, url: Url, timeout_seconds: float) -> None:
        self._camera = socket.create_connection((url.host, url.port), timeout=timeout_seconds)
        self._camera.settimeout(None)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._listener.settimeout(timeout_seconds)
        self.url = url.at("127.0.0.1", self._listener.getsockname()[1])
        """The address to connect to instead, with the same credentials and path."""
        threading.Thread(target=self._serve, name="digest-relay", daemon=True).start()

    def close(self) -> None:
        """Break the connection. Closing twice is allowed."""
        with suppress(OSError):
            self._camera.shutdown(socket.SHUT_RDWR)
        self._camera.close()
        self._listener.close()

    def _serve(self) -> None:
        # The ends of both connections are normal here: FFmpeg reports them as those of the camera.
        with suppress(OSError), self._listener:
            player, _ = self._listener.accept()
            self._listener.close()
            with player:
                player.settimeout(None)
                back = threading.Thread(target=self._pass_back, args=(player,), name="digest-relay-back", daemon=True)
                back.start()
                while data := player.recv(65536):
                    self._camera.sendall(data)
        self.close()

    def _pass_back(self, player: socket.socket) -> None:
        with suppress(OSError, ValueError), self._camera.makefile("rb") as reader:
            while first := reader.read(1):
                if first == _INTERLEAVED:
                    header = reader.read(3)
                    player.sendall(first + header + reader.read(int.from_bytes(header[1:], "big")))
                    continue
                lines = _head(reader, first)
                length = next((int(line[15:]) for line in lines if line.lower().startswith(b"content-length:")), 0)
                length = min(max(0, length), _LARGEST_BODY)
                kept = [line for line in lines if all(c.is_spoken for c in challenges_of(line))]
                player.sendall(b"".join(kept) + reader.read(length))
        with suppress(OSError):
            player.shutdown(socket.SHUT_RDWR)


def _head(reader: BinaryIO, first: bytes) -> list[bytes]:
    """The lines of a message to the empty one."""
    lines = [first + reader.readline(_LONGEST_LINE)]
    while lines[-1] not in (b"\r\n", b"\n", b"") and len(lines) < _MOST_LINES:
        lines.append(reader.readline(_LONGEST_LINE))
    return lines
