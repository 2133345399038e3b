"""Credentials in every disguise that a log line may give them."""

from __future__ import annotations

import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamad.redaction import redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://admin:geheim@10.0.0.5:554/live", "rtsp://***@10.0.0.5:554/…"),
        ("rtsp://admin:12345@10.0.0.5", "rtsp://***@10.0.0.5"),
        ("open 'rtsps://a:b@h/s?x=1' failed", "open 'rtsps://***@h/…' failed"),
        ("rtsp://admin:p@ss@host/live: no", "rtsp://***@host/…: no"),
        ("rtsp://admin:p/s?s#@host/live", "rtsp://***"),
        ("rtsp://admin:it's\"q@host/live", "rtsp://***@host/…"),
        ("rtsp://admin:@host/live", "rtsp://***@host/…"),
        ("rtsp:/admin:geheim@host/live", "rtsp://***@host/…"),
        ("http://token@host/x", "http://***@host/…"),
        ("see (http://h/x), then go on", "see (http://h/…), then go on"),
        ("rtsp://[fe80::1]:554/live", "rtsp://[fe80::1]:554/…"),
        ("page: http://127.0.0.1:8080", "page: http://127.0.0.1:8080"),
        ("http://host:8080/path?mail=a@b", "http://***"),
        ("https://hooks.example/services/T0/B0/geheim", "https://hooks.example/…"),
        ("no scheme: user:pass@host", "no scheme: ***@host"),
        ("user=admin&password=geheim&channel=1", "user=***&password=***&channel=1"),
        ("?pw=geheim&b=2", "?pw=***&b=2"),
        ("api_key=abc&b=2", "api_key=***&b=2"),
        ("/cam_password=geheim", "/cam_password=***"),
        ("Authorization: Basic YWRtaW46Z2VoZWlt", "Authorization: Basic ***"),
        ("{'Authorization': 'Bearer abc.def'}", "{'Authorization': 'Bearer ***"),
        ("frames: 12, users 3, passing", "frames: 12, users 3, passing"),
    ],
)
def test_what_is_masked_and_what_is_left(text: str, expected: str) -> None:
    assert redact(text) == expected


@given(
    user=st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=8),
    password=st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=4, max_size=12).map(
        lambda text: f"Qx{text}xQ"
    ),
    encode=st.booleans(),
)
def test_no_password_survives_encoded_or_not(user: str, password: str, encode: bool) -> None:
    written = quote(password, safe="") if encode else password
    text = redact(f"cannot open rtsp://{user}:{written}@camera.example:554/stream: timed out")
    assert written not in text
    assert "timed out" in text
