"""Apprise, the real library, to a real HTTP server."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from receiver_support import Receiver, receiver
from unit.alerts.alert_events import START, make_event

from streamad.alerts.sinks import AppriseSinkSpec, SinkContext
from streamad.alerts.sinks.notification import of_event
from streamad.errors import OutputError

pytest.importorskip("apprise", reason="needs apprise (the extra `apprise`)")


@pytest.fixture
def server() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


def test_a_service_gets_subject_text_and_picture(
    server: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    address = server.url.replace("http://", "json://user:hunter2@").replace("/hook", "/hunter2/")
    sender = AppriseSinkSpec.model_validate({"url": address}).build_sender(SinkContext())
    picture = tmp_path / "p.jpg"
    picture.write_bytes(b"\xff\xd8 jpeg \xff\xd9")
    what = of_event(make_event(), "opened", START, None)
    sender.send(what.with_picture(picture))
    ((_, body),) = server.requests
    document = json.loads(body)
    assert (document["title"], document["message"], document["type"]) == (what.subject, what.text, "warning")
    assert base64.b64decode(document["attachments"][0]["base64"]) == picture.read_bytes()
    server.status = 500
    with pytest.raises(OutputError, match="json: not accepted") as caught:
        sender.send(what)
    assert "hunter2" not in caplog.text + str(caught.value)
    sender.close()


def test_an_unknown_address_is_found_before_anything_is_sent() -> None:
    problem = AppriseSinkSpec.model_validate({"url": "pigeon://hunter2"}).problem()
    assert problem is not None
    assert "does not know this address" in problem
    assert "hunter2" not in problem
