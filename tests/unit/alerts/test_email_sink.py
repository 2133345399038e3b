"""E-mail to a real SMTP server (aiosmtpd): encryption, login, threads, attachments, refusals."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from unit.alerts.alert_events import START, make_event

from streamad.alerts.sinks import EmailSinkSpec, SinkContext
from streamad.alerts.sinks.notification import notification_of_test, of_event
from streamad.errors import OutputError

pytest.importorskip("aiosmtpd", reason="needs aiosmtpd (the extra `dev`)")
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

PLAIN = {"host": "127.0.0.1", "security": "none", "from_address": "streamad@site.example", "to": ["a@b.example"]}


class Mailbox:
    """Keeps what it is sent; refuses recipients at nowhere.example."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        self.answer = "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if address.endswith("nowhere.example"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.answer.startswith("250"):
            message = message_from_bytes(envelope.content, policy=policy.default)
            assert isinstance(message, EmailMessage)
            self.messages.append(message)
        return self.answer


class Server:
    def __init__(self, **settings: Any) -> None:
        self.mailbox = Mailbox()
        self._controller = Controller(self.mailbox, hostname="127.0.0.1", port=free_port(), **settings)
        self._controller.start()
        self.port = self._controller.port

    def close(self) -> None:
        self._controller.stop()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, pem = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    extension = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(pem)]
    subprocess.run([*command, *extension], check=True, capture_output=True)
    return pem, key


def send(port: int, what: Any, **settings: Any) -> None:
    EmailSinkSpec.model_validate({**PLAIN, "port": port, "timeout_seconds": 3, **settings}).build_sender(
        SinkContext()
    ).send(what)


def test_a_message_has_text_picture_and_a_thread(server: Server, tmp_path: Path) -> None:
    picture, event = tmp_path / "p.jpg", make_event(camera="gate")
    picture.write_bytes(b"\xff\xd8 jpeg \xff\xd9")
    opened = of_event(event, "opened", START, None).with_picture(picture)
    closed = of_event(event, "closed", START, None)
    for what in (opened, opened, closed):
        send(server.port, what, to=["a@b.example", "c@d.example"])
    first, again, last = server.mailbox.messages
    assert first["Subject"] == opened.subject
    assert first["To"] == "a@b.example, c@d.example"
    body = first.get_body()
    assert body is not None
    assert body.get_content().strip() == opened.text
    (attached,) = first.iter_attachments()
    assert (attached.get_content_type(), attached.get_content()) == ("image/jpeg", picture.read_bytes())
    assert first["Message-ID"] == again["Message-ID"] != last["Message-ID"]
    assert first["References"] == last["References"]
    assert list(last.iter_attachments()) == []


@pytest.mark.filterwarnings(
    "ignore:Requiring AUTH while not requiring TLS"
)  # the connection is encrypted from its start
@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_encryption_and_login(certificate: tuple[Path, Path], tmp_path: Path, security: str) -> None:
    def check(server: Any, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
        assert isinstance(given, LoginPassword)
        return AuthResult(success=(given.login, given.password) == (b"streamad", b"hunter2:x"), handled=False)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    encryption = {"ssl_context": context} if security == "tls" else {"tls_context": context, "require_starttls": True}
    running = Server(authenticator=check, auth_required=True, auth_require_tls=security == "starttls", **encryption)
    secret = tmp_path / "secret"
    settings = {"security": security, "secret_file": secret, "ca_file": certificate[0], "timeout_seconds": 30}
    try:
        secret.write_text("streamad:hunter2:x\n")
        send(running.port, notification_of_test("email"), **settings)
        assert len(running.mailbox.messages) == 1
        secret.write_text("streamad:hunter3\n")
        with pytest.raises(OutputError, match="answered 535") as caught:
            send(running.port, notification_of_test("email"), **settings)
        assert "hunter" not in str(caught.value)
        with pytest.raises(OutputError, match=r"(?i)certificate verify failed"):
            send(running.port, notification_of_test("email"), **{**settings, "ca_file": None})
    finally:
        running.close()


def test_refusals_are_failures(server: Server) -> None:
    what = notification_of_test("email")
    with pytest.raises(OutputError, match="refused all recipients"):
        send(server.port, what, to=["x@nowhere.example"])
    with pytest.raises(OutputError, match="STARTTLS"):
        send(server.port, what, security="starttls")
    server.mailbox.answer = "452 the disk is full"
    with pytest.raises(OutputError, match="answered 452 the disk is full"):
        send(server.port, what)
    with pytest.raises(OutputError, match="refused"):
        send(free_port(), what)


def test_a_server_that_never_answers_is_given_up_within_the_time_limit() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(OutputError, match=r"did not answer within 0\.3 s"):
            send(silent.getsockname()[1], notification_of_test("email"), timeout_seconds=0.3)


@pytest.mark.parametrize(
    "settings",
    [
        {"to": []},
        {"to": ["a@b\r\nBcc: c@d"]},
        {"from_address": "nobody"},
        {"username_env": "A"},
        {"username_env": "A", "password_env": "B", "secret_file": "c"},
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EmailSinkSpec.model_validate({**PLAIN, **settings})


def test_missing_credentials_are_found_before_anything_is_sent(tmp_path: Path) -> None:
    spec = EmailSinkSpec.model_validate({**PLAIN, "secret_file": tmp_path / "nothing"})
    assert "cannot read the secret file" in (spec.problem() or "")
