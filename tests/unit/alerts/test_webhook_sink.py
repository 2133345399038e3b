"""Webhooks against a real HTTP server: the body, the picture, the signature as openssl computes it, and failures."""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from receiver_support import Receiver, parts_of, receiver
from unit.alerts.alert_events import START, make_event

from streamad.alerts.sinks import SinkContext, WebhookSinkSpec
from streamad.alerts.sinks.notification import Notification, of_event
from streamad.alerts.sinks.webhook import WebhookSender
from streamad.errors import OutputError

JPEG = b"\xff\xd8\xff\xe0 any bytes \r\n--boundary\r\n \xff\xd9"


@pytest.fixture
def server() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("opensesame\n")
    return path


def notification() -> Notification:
    return of_event(make_event(camera="tür"), "opened", START, None)


def send(server_url: str, what: Notification, **settings: Any) -> None:
    spec = WebhookSinkSpec.model_validate({"url": server_url, "timeout_seconds": 2, **settings})
    sender = spec.build_sender(SinkContext())
    try:
        sender.send(what)
    finally:
        sender.close()


def openssl_hmac(secret: str, data: bytes) -> str:
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", secret, "-hex"], input=data, capture_output=True, check=True
    )
    return done.stdout.decode().split()[-1]


def test_without_a_picture_the_body_is_the_document(server: Receiver) -> None:
    what = notification()
    send(server.url, what, headers={"Authorization": "Bearer t"})
    ((headers, body),) = server.requests
    assert json.loads(body) == what.to_dict()
    assert (headers["Content-Type"], headers["Idempotency-Key"]) == ("application/json", what.id)
    assert headers["Authorization"] == "Bearer t"
    assert headers["X-Streamad-Signature"] is None


def test_with_a_picture_the_body_has_two_parts(server: Receiver, tmp_path: Path) -> None:
    picture = tmp_path / "snapshot.jpg"
    picture.write_bytes(JPEG)
    what = notification().with_picture(picture)
    send(server.url, what)
    ((headers, body),) = server.requests
    assert headers.get_content_type() == "multipart/form-data"
    parts = parts_of(headers, body)
    assert json.loads(parts["notification"]) == what.to_dict()
    assert parts["picture"] == JPEG
    send(server.url, what, picture=False)
    send(server.url, what.with_picture(tmp_path / "gone.jpg"))
    assert [h.get_content_type() for h, _ in server.requests[1:]] == ["application/json"] * 2


@pytest.mark.parametrize("has_picture", [False, True])
def test_the_signature_is_what_openssl_computes(
    server: Receiver, secret: Path, tmp_path: Path, has_picture: bool
) -> None:
    (tmp_path / "p.jpg").write_bytes(JPEG)
    spec = WebhookSinkSpec.model_validate({"url": server.url, "secret_file": secret})
    sender = WebhookSender(spec, clock=lambda: 1_767_225_600.9)
    sender.send(notification().with_picture(tmp_path / "p.jpg" if has_picture else None))
    sender.close()
    ((headers, body),) = server.requests
    assert headers["X-Streamad-Timestamp"] == "1767225600"
    assert headers["X-Streamad-Signature"] == "sha256=" + openssl_hmac("opensesame", b"1767225600." + body)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (500, "answered 500 Internal Server Error"),
        (404, "answered 404 Not Found"),
        (302, "answered 302 Found"),
        (None, "did not answer within 0.3 s"),
    ],
)
def test_other_answers_are_failures(server: Receiver, status: int | None, message: str) -> None:
    server.status = status
    with pytest.raises(OutputError, match=message) as caught:
        send(server.url, notification(), timeout_seconds=0.3)
    assert "/hook" not in str(caught.value)
    assert len(server.requests) == 1


def test_errors_and_logs_show_the_host_only(
    server: Receiver, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    secret_url = server.url.replace("http://", "http://user:hunter2@").replace("/hook", "/services/hunter2?t=hunter2")
    spec = WebhookSinkSpec.model_validate({"url": secret_url, "headers": {"X-Token": "hunter2"}})
    send(secret_url, notification(), headers={"X-Token": "hunter2"})
    assert len(server.requests) == 1
    with pytest.raises(OutputError) as caught:
        send("http://user:hunter2@127.0.0.1:1/hunter2", notification())
    assert "127.0.0.1:1" in str(caught.value)
    assert "refused" in str(caught.value)
    shown = f"{caught.value} {caplog.text} {spec!r} {spec.model_dump(mode='json')} {spec.problem()}"
    assert "hunter2" not in shown


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "ftp://hunter2/"},
        {"url": "hunter2"},
        {"url": "http:///hunter2"},
        {"url": "http://h/", "secret_env": "A", "secret_file": "b"},
        {"url": "http://h/", "headers": {"X Y": "hunter2"}},
        {"url": "http://h/", "headers": {"X": "a\r\nInjected: hunter2"}},
        {"url": "http://h/", "timeout_seconds": 0},
    ],
)
def test_wrong_settings_are_refused_without_showing_them(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        WebhookSinkSpec.model_validate(settings)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("content", [None, "", b"\xff\xfe\x00"])
def test_a_secret_that_cannot_be_read_is_found_before_anything_is_sent(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    spec = WebhookSinkSpec.model_validate({"url": "http://h/", "secret_file": path})
    assert str(path) in (spec.problem() or "")
    unset = WebhookSinkSpec.model_validate({"url": "http://h/", "secret_env": "NO_SUCH_SECRET"})
    assert "NO_SUCH_SECRET is not set" in (unset.problem() or "")
