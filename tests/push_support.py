"""A real push service: HTTPS, and devices that decrypt what they receive and check who signed it."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import http_ece
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from program_support import program
from py_vapid import Vapid02


def base64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def from_base64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Device:
    """A browser's subscription, with the private key that no server knows."""

    def __init__(self, service: PushService, name: str) -> None:
        self._private, self._auth = generate_private_key(SECP256R1()), name.encode().ljust(16, b".")[:16]
        point = self._private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.path, self._service = f"/wpush/v2/{name}-is-secret", service
        self.endpoint = service.url + self.path
        self.subscription = {
            "endpoint": self.endpoint,
            "keys": {"p256dh": base64(point), "auth": base64(self._auth)},
        }

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What the device was sent and the service accepted, decrypted."""
        return [json.loads(self.decrypted(body)) for path, _, body in self._service.accepted if path == self.path]

    def decrypted(self, body: bytes) -> bytes:
        return bytes(http_ece.decrypt(body, private_key=self._private, auth_secret=self._auth, version="aes128gcm"))


class PushService:
    """An HTTPS server in a thread of this process.

    Attributes:
        status: What it answers; for single paths, `statuses`.
        requests: (path, headers, body) of everything that it was sent.
        accepted: The same, of what it answered with 201.
    """

    def __init__(self, folder: Path) -> None:
        self.status = 201
        self.statuses: dict[str, int] = {}
        self.requests: list[tuple[str, Message, bytes]] = []
        self.accepted: list[tuple[str, Message, bytes]] = []
        self.certificate, key = folder / "push.pem", folder / "push.key"
        program("openssl")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "2",
             "-subj", "/CN=push", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", self.certificate],
            check=True, capture_output=True,
        )  # fmt: skip
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = self.path, self.headers, body
                service.requests.append(request)
                status = service.statuses.get(self.path, service.status)
                if status == 201:
                    service.accepted.append(request)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"https://localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def settings(self, folder: Path) -> dict[str, Any]:
        """Settings of a sink that may use it: an operator can name it, a browser cannot."""
        return {
            "type": "webpush", "contact": "kim@site.example", "path": str(folder / "push.json"),
            "services": ["localhost"], "ca_file": str(self.certificate), "timeout_seconds": 5,
        }  # fmt: skip

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def push_service(folder: Path) -> Iterator[PushService]:
    service = PushService(folder)
    try:
        yield service
    finally:
        service.close()


def checked_claims(headers: Message) -> tuple[dict[str, Any], str]:
    """The claims of a request's signature (RFC 8292), and the public key that they were signed with."""
    authorization = headers["Authorization"]
    assert Vapid02.verify(authorization)
    scheme, _, rest = authorization.partition(" ")
    parts = dict(part.strip().split("=", 1) for part in rest.split(","))
    assert scheme == "vapid"
    head, claims = (json.loads(from_base64(part)) for part in parts["t"].split(".")[:2])
    assert head == {"typ": "JWT", "alg": "ES256"}
    return claims, parts["k"]
