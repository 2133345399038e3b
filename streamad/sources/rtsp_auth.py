"""RTSP authentication that FFmpeg does not support: detect it, report it, and work around it if MD5 is offered too.

FFmpeg supports Basic and Digest with MD5. Of several challenges it answers the last Digest one. If that requires
another algorithm, FFmpeg sends no credentials at all and reports that they were rejected.
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

_SUPPORTED = ("", "MD5", "MD5-sess")
_CHALLENGE = re.compile(rb"www-authenticate\s*:\s*(.*?)\s*$", re.IGNORECASE | re.DOTALL)
_NEXT_CHALLENGE = re.compile(r",\s*(?=[A-Za-z][\w-]*\s+[\w-]+\s*=)")
_ALGORITHM = re.compile(r"\balgorithm\s*=\s*\"?([\w-]*)", re.IGNORECASE)
_MAX_LINE_BYTES = 16384
_MAX_LINES = 200
_MAX_BODY_BYTES = 1 << 20
_INTERLEAVED = b"$"
"""First byte of a stream packet that is interleaved with protocol messages (RFC 2326, section 10.12)."""


class Challenge(NamedTuple):
    """An authentication challenge from a camera.

    Attributes:
        scheme: The scheme: "Digest", "Basic" or another.
        algorithm: The algorithm of Digest; empty if not named (MD5).
    """

    scheme: str
    algorithm: str

    @property
    def is_supported(self) -> bool:
        """Whether FFmpeg can answer the challenge."""
        if self.scheme.lower() == "digest":
            return self.algorithm in _SUPPORTED
        return self.scheme.lower() == "basic"

    def __str__(self) -> str:
        return f"{self.scheme} with {self.algorithm}" if self.algorithm else self.scheme


def parse_challenges(line: bytes) -> list[Challenge]:
    """Parse the challenges in a header line; empty for other headers."""
    match = _CHALLENGE.match(line)
    if match is None:
        return []
    answer = []
    for part in _NEXT_CHALLENGE.split(match[1].decode("latin-1")):
        algorithm = _ALGORITHM.search(part)
        answer.append(Challenge((part.split() or ["nothing"])[0][:40], algorithm[1] if algorithm else ""))
    return answer


def answered_challenge(offered: Iterable[Challenge]) -> Challenge | None:
    """Return the challenge that FFmpeg answers: the last Digest, else the last Basic, else None."""
    chosen = None
    for challenge in offered:
        is_digest = challenge.scheme.lower() == "digest"
        if is_digest or (challenge.scheme.lower() == "basic" and (chosen is None or chosen.scheme.lower() == "basic")):
            chosen = challenge
    return chosen


def explain_failure(failure: SourceError, url: Url, spec: RtspSpec) -> SourceError | None:
    """Explain why authentication failed, and decide whether a relay can avoid the failure.

    Args:
        failure: FFmpeg's authentication failure.
        url: The address with credentials.
        spec: The camera's configuration.

    Returns:
        The error to raise; None if connecting through a `DigestRelay` may succeed.
    """
    if not url.has_credentials:
        return source_error(
            FailureReason.AUTH,
            f"{spec.url}: the server requires credentials, but none are configured",
            hint="set the user name and password (username_env and password_env, or secret_file)",
        )
    offered = _offered(url, spec.open_timeout_seconds)
    chosen = answered_challenge(offered)
    if not offered or (chosen is not None and chosen.is_supported):
        return failure
    if any(c.is_supported and c.scheme.lower() == "digest" for c in offered):
        if url.scheme == "rtsp" and spec.transport == "tcp":
            return None
        hint = "set the camera's RTSP authentication to digest (MD5) or basic only, or use rtsp:// over tcp"
    else:
        hint = "set the camera's RTSP authentication to digest (MD5) or basic"
    wanted = chosen or offered[0]
    return source_error(
        FailureReason.AUTH,
        f"{spec.url}: the camera requires {wanted}, which FFmpeg does not support; no credentials were sent",
        hint=hint,
    )


def _offered(url: Url, timeout_seconds: float) -> list[Challenge]:
    """Request the server's challenges without sending credentials."""
    request = f"DESCRIBE {url.reveal(credentials=False)} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    answer: list[Challenge] = []
    try:
        with socket.create_connection((url.host, url.port), timeout=timeout_seconds) as plain:
            link: socket.socket = plain
            if url.scheme == "rtsps":
                # No secret is sent, and FFmpeg has already checked the certificate, so skip the check here.
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                link = context.wrap_socket(plain, server_hostname=url.host)
            link.sendall(request.encode("utf-8", "surrogateescape"))
            with link.makefile("rb") as reader:
                for line in _head(reader, b""):
                    answer += parse_challenges(line)
    except OSError:
        return []  # keep FFmpeg's explanation: it has just reached the server
    return answer


class DigestRelay:
    """A local relay that removes challenges that FFmpeg would pick but cannot answer.

    It accepts one connection on the loopback address and forwards it to the camera. Credentials are sent as FFmpeg
    always sends them: hashed with the camera's nonce.

    Args:
        url: The camera's address, `rtsp://`.
        timeout_seconds: Connection timeout.

    Raises:
        OSError: If the camera cannot be reached.
    """

    def __init__(self, url: Url, timeout_seconds: float) -> None:
        self._camera = socket.create_connection((url.host, url.port), timeout=timeout_seconds)
        self._camera.settimeout(None)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._listener.settimeout(timeout_seconds)
        self.url = url.at("127.0.0.1", self._listener.getsockname()[1])
        """The relay's address, with the same credentials and path."""
        threading.Thread(target=self._serve, name="digest-relay", daemon=True).start()

    def close(self) -> None:
        """Close the connections. May be called more than once."""
        with suppress(OSError):
            self._camera.shutdown(socket.SHUT_RDWR)
        self._camera.close()
        self._listener.close()

    def _serve(self) -> None:
        # Both connections may break here. FFmpeg reports that as the camera's failure.
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
                length = min(max(0, length), _MAX_BODY_BYTES)
                kept = [line for line in lines if all(c.is_supported for c in parse_challenges(line))]
                player.sendall(b"".join(kept) + reader.read(length))
        with suppress(OSError):
            player.shutdown(socket.SHUT_RDWR)


def _head(reader: BinaryIO, first: bytes) -> list[bytes]:
    """Read the lines of a message up to and including the empty line."""
    lines = [first + reader.readline(_MAX_LINE_BYTES)]
    while lines[-1] not in (b"\r\n", b"\n", b"") and len(lines) < _MAX_LINES:
        lines.append(reader.readline(_MAX_LINE_BYTES))
    return lines
