"""Url: no printed form shows a secret, and what connects is encoded as FFmpeg expects."""

from __future__ import annotations

import json
import pickle
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from streamad.sources import RtspSpec, Url


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://cam.local/stream", "rtsp://cam.local/stream"),
        ("rtsp://root:hunter2@10.0.0.7:554/a/b?x=1", "rtsp://***@10.0.0.7:554/a/b?x=1"),
        ("RTSPS://root@[fe80::1]:322/a", "rtsps://***@[fe80::1]:322/a"),
        ("rtsp://u:hun@ter2@host/a", "rtsp://***@host/a"),
        (
            "rtsp://h/live?channel=2&user=root&password=hunter2&t=1",
            "rtsp://h/live?channel=2&user=***&password=***&t=1",
        ),
        ("rtsp://h/user=root_password=hunter2_channel=1.sdp", "rtsp://h/user=***"),
        ("rtsp://u:1/hunter2@host/a", "rtsp://***@host/a"),
    ],
)
def test_printed_forms_are_redacted(text: str, shown: str) -> None:
    url = Url(text)
    assert str(url) == shown
    assert f"{url}" == shown
    assert "hunter2" not in repr(url)
    assert "hunter2" not in repr(RtspSpec(url=url))
    assert json.loads(RtspSpec(url=url).model_dump_json())["url"] == shown
    assert RtspSpec(url=url).model_dump()["url"] == shown


@given(user=st.text(min_size=1, max_size=12), password=st.text(max_size=12))
def test_credentials_survive_encoding(user: str, password: str) -> None:
    url = Url("rtsp://host:8554/stream").with_credentials(user, password)
    parts = urlsplit(url.reveal())
    assert (parts.hostname, parts.port, parts.path) == ("host", 8554, "/stream")
    secret = parts.netloc.rpartition("@")[0]
    assert [unquote(part) for part in secret.split(":")] == [user, password]
    assert str(url) == "rtsp://***@host:8554/stream"
    assert Url(url.reveal()) == url
    assert pickle.loads(pickle.dumps(url)) == url


def test_encoded_credentials_are_not_encoded_twice() -> None:
    assert Url("rtsp://us%20er:p%40ss@h/a").reveal() == "rtsp://us%20er:p%40ss@h/a"
    assert Url("rtsp://us er:p@ss@h/a").reveal() == "rtsp://us%20er:p%40ss@h/a"


@pytest.mark.parametrize(
    "text",
    ["", "cam.local", "http://u:hunter2@h/a", "rtsp://", "rtsp://u:hunter2@/a", "rtsp://u:hun/hunter2@h/a"],
)
def test_wrong_addresses_are_refused_without_showing_them(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected rtsp|no valid host") as caught:
        Url(text)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ValidationError) as invalid:
        RtspSpec.model_validate({"url": text})
    assert "hunter2" not in str(invalid.value)


def test_scrub_removes_the_secret_from_texts_of_others() -> None:
    url = Url("rtsp://root:p@ss@h/a")
    assert url.scrub(f"[Errno 1] 401: {url.reveal()!r}, p@ss, p%40ss") == ("[Errno 1] 401: 'rtsp://***@h/a', ***, ***")


def test_a_schema_can_be_written() -> None:
    class Holder(BaseModel):
        url: Url

    assert Holder.model_json_schema()["properties"]["url"]["type"] == "string"
