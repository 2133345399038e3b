"""Url: no printed form shows a secret, and what connects is encoded as FFmpeg expects."""

from __future__ import annotations

import json
import pickle
from urllib.parse import unquote, urlsplit

import pytest
from address_support import FORMS, SECRET
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from streamad.errors import UsageError
from streamad.redaction import mask_addresses, redact
from streamad.sources import FileSpec, RtspSpec, Url, parse_source


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://cam.local", "rtsp://cam.local"),
        ("rtsp://cam.local/", "rtsp://cam.local/"),
        ("rtsp://cam.local/stream", "rtsp://cam.local/…"),
        ("rtsp://cam.local?x=1", "rtsp://cam.local/…"),
        ("rtsp://root:hunter2@10.0.0.7:554/a/b?x=1", "rtsp://***@10.0.0.7:554/…"),
        ("RTSPS://root@[fe80::1]:322/a", "rtsps://***@[fe80::1]:322/…"),
        ("rtsp://u:hun@ter2@host/a", "rtsp://***@host/…"),
        ("rtsp://h/live?channel=2&user=root&password=hunter2&t=1", "rtsp://h/…"),
        ("rtsp://h/user=root_password=hunter2_channel=1.sdp", "rtsp://h/…"),
        # Where a password holds an unencoded "/", what looks like the host is the user.
        ("rtsp://u:1/hunter2@host/a", "rtsp://***"),
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
    assert str(url) == "rtsp://***@host:8554/…"
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


@pytest.mark.parametrize("port", ["1", "554", "65535", "00554"])
def test_ports_that_exist(port: str) -> None:
    assert Url(f"rtsp://h:{port}/x").reveal() == f"rtsp://h:{port}/x"


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("h:0/x", "port must be a number from 1 to 65535"),
        ("h:99999/x", "port must be a number from 1 to 65535"),
        ("h:65536/x", "port must be a number from 1 to 65535"),
        ("h:5540000/x", "port must be a number from 1 to 65535"),
        ("h:/x", "port must be a number from 1 to 65535"),
        ("[2001:db8::1]:99999/x", "port must be a number from 1 to 65535"),
        ("2001:db8::1/x", "write an IPv6 address in brackets"),
        ("fe80::1%eth0/x", "write an IPv6 address in brackets"),
        ("[2001:db8::1::2]/x", "not a valid IP address"),
        ("192.168.1.300/x", "not a valid IP address"),
        ("[fe80::1%]/x", "no valid host"),
        ("camera 1/x", "no valid host"),
    ],
)
def test_what_is_wrong_with_a_host_is_named(address: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        Url(f"rtsp://{address}")
    assert address not in str(caught.value)
    with pytest.raises(UsageError, match=says):
        parse_source(f"rtsp://{address}")


def test_a_port_may_be_the_beginning_of_a_password() -> None:
    with pytest.raises(ValueError, match=r"1 to 65535; a user name or password with /.* percent-encoded") as caught:
        Url("rtsp://admin:99999/hunter2@h/x")
    assert "99999" not in str(caught.value)


@pytest.mark.parametrize("written", ["[fe80::1%25eth0]", "[fe80::1%eth0]"])
def test_an_ipv6_zone_reaches_the_resolver_in_its_form(written: str) -> None:
    url = Url(f"rtsp://u:p@{written}:8554/x")
    assert url.host == "fe80::1%eth0"
    assert url.reveal() == "rtsp://u:p@[fe80::1%eth0]:8554/x"
    assert str(url) == "rtsp://***@[fe80::1%eth0]:8554/…"
    assert pickle.loads(pickle.dumps(url)) == url
    assert mask_addresses(f"rtsp://u:p@{written}/x") == f"rtsp://***@{written}/…"


@pytest.mark.parametrize("text", FORMS)
def test_no_form_of_an_address_shows_its_secret(text: str) -> None:
    printed = [mask_addresses(f"cannot open {text.strip()}: timed out")] if "://" in text else []
    try:
        url = Url(text)
    except ValueError as error:
        printed.append(f"{error} {error!r}")
    else:
        assert pickle.loads(pickle.dumps(url)).reveal() == url.reveal()
        printed += [str(url), repr(url), f"{url}", repr(RtspSpec(url=url)), RtspSpec(url=url).model_dump_json()]
    for document in (
        {"url": text},
        {"url": text, "transport": "pigeon"},
        {"url": text, "username_env": "A"},
        {text: 1},
    ):
        try:
            RtspSpec.model_validate({"type": "rtsp", **document})
        except ValidationError as error:
            # pydantic names an unknown key; the configuration's own message passes the second net.
            printed.append(redact(str(error)) if text in document else str(error))
    for shown in printed:
        assert SECRET not in unquote(shown), shown


@pytest.mark.parametrize("text", [text for text in FORMS if text.strip().lower().startswith(("rtsp", "rtmp", "http"))])
def test_a_path_is_never_an_address(text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        FileSpec.model_validate({"path": text})
    assert SECRET not in str(caught.value)


def test_a_schema_can_be_written() -> None:
    class Holder(BaseModel):
        url: Url

    assert Holder.model_json_schema()["properties"]["url"]["type"] == "string"
