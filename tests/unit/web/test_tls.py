"""The server with certificates that openssl made."""

from __future__ import annotations

import socket
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from program_support import program

from streamad.errors import ConfigError
from streamad.observability import Health, Metrics
from streamad.web import Logins, WebServer, WebSpec, create_app, guard
from streamad.web.tls import Certificate


def make_certificate(folder: Path, name: str = "one", *, passphrase: str | None = None) -> tuple[Path, Path]:
    """A certificate of this machine, signed by itself."""
    program("openssl")
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    secret = ["-noenc"] if passphrase is None else ["-passout", f"pass:{passphrase}"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", *secret, "-days", "2",
         "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def serve(certificate: Path, key: Path) -> WebServer:
    spec = WebSpec(port=0, tls_certificate=certificate, tls_key=key)
    return WebServer(create_app(metrics=Metrics(), health=Health(), status=dict, logins=Logins(spec)), spec)


def client_of(server: WebServer, certificate: Path) -> httpx.Client:
    return httpx.Client(base_url=server.url, verify=ssl.create_default_context(cafile=certificate), timeout=20)


def common_name(server: WebServer) -> bytes:
    port = int(server.url.rsplit(":", 1)[1])
    pem = ssl.get_server_certificate(("127.0.0.1", port))
    done = subprocess.run(
        ["openssl", "x509", "-noout", "-subject"], input=pem.encode(), capture_output=True, check=True
    )
    return done.stdout


def test_everything_is_served_over_https_and_nothing_without(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with serve(certificate, key) as server, client_of(server, certificate) as client:
        assert server.url.startswith("https://127.0.0.1:")
        assert client.get("/status").status_code == 200
        assert client.get("/status").headers["x-frame-options"] == "DENY"
        with pytest.raises(httpx.HTTPError):
            httpx.get(server.url.replace("https", "http") + "/status")
        with pytest.raises(httpx.ConnectError, match="certificate"):
            httpx.get(f"{server.url}/status")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        port = int(server.url.rsplit(":", 1)[1])
        with pytest.raises(OSError), old.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=20)):
            pass
        assert client.get("/status").status_code == 200


def test_the_cookie_is_sent_over_https_alone(tmp_path: Path) -> None:
    from streamad.accounts import Role, User, changed_accounts, hash_password

    certificate, key = make_certificate(tmp_path)
    users = tmp_path / "users.json"
    with changed_accounts(users) as states:
        states.append(states[0].with_user(User(name="kim", role=Role.VIEWER, password=hash_password("long enough"))))
    spec = WebSpec(port=0, tls_certificate=certificate, tls_key=key, users=users)
    app = create_app(metrics=Metrics(), health=Health(), status=dict, logins=Logins(spec))
    with WebServer(app, spec) as server, client_of(server, certificate) as client:
        answer = client.post("/api/v1/login", json={"name": "kim", "password": "long enough"})
        assert "Secure" in answer.headers["set-cookie"]
        assert client.get("/api/v1/me").json()["name"] == "kim"


def test_a_renewed_certificate_is_used_without_a_restart(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    other, other_key = make_certificate(tmp_path, "two")
    used = Certificate(certificate, key)
    with serve(certificate, key) as server:
        assert b"one" in common_name(server)
        renewed = server._server._certificate
        assert renewed is not None
        certificate.write_text("half a file")
        renewed.renew()
        assert b"one" in common_name(server), "what is damaged is not used"
        other.replace(certificate)
        renewed.renew()
        assert b"one" in common_name(server), "nor a certificate without its key"
        other_key.replace(key)
        renewed.renew()
        assert b"two" in common_name(server)
    assert used.context.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("fault", ["no certificate", "no key", "other key", "text", "passphrase", "folder"])
def test_what_cannot_be_used_is_an_error_before_anything_starts(tmp_path: Path, fault: str) -> None:
    certificate, key = make_certificate(tmp_path)
    if fault == "no certificate":
        certificate.unlink()
    elif fault == "no key":
        key.unlink()
    elif fault == "other key":
        key = make_certificate(tmp_path, "two")[1]
    elif fault == "text":
        certificate.write_text("no certificate")
    elif fault == "passphrase":
        certificate, key = make_certificate(tmp_path, "locked", passphrase="secret")
    else:
        certificate = tmp_path
    with pytest.raises(ConfigError, match="TLS: ") as caught:
        serve(certificate, key)
    assert caught.value.hint


def test_certificate_and_key_belong_together() -> None:
    with pytest.raises(ValueError, match="together"):
        WebSpec(tls_certificate=Path("a.pem"))


# asyncio has accepted the connections that are refused, and leaves closing them to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_clients_that_do_not_finish_the_handshake_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(guard, "_quarter_of_descriptors", lambda: 40)
    certificate, key = make_certificate(tmp_path)
    with serve(certificate, key) as server, client_of(server, certificate) as client:
        port = int(server.url.rsplit(":", 1)[1])
        waiting = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(100)]
        try:
            for one in waiting:
                with suppress(ConnectionError):
                    assert one.recv(1) == b""
            assert len(guard.GuardedProtocol.handshakes) <= 40
            assert client.get("/healthz").status_code in (200, 503)
        finally:
            for one in waiting:
                one.close()
