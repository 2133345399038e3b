"""User and password: what editors and shells add is no part of them, and what cannot be seen is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamad.sources import RtspSpec, SourceAuthError
from streamad.sources.credentials import read_secret_file, suspicious_characters

SECRET = "geheim-hunter2"


@pytest.mark.parametrize(
    ("before", "after"),
    [("", ""), ("", "\n"), ("", "\r\n"), ("", "\r"), ("", "\n\n"), ("\ufeff", ""), ("\ufeff", "\r\n"), ("\n", "\n")],
)
def test_byte_order_mark_and_line_ends_are_dropped(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(f"{before}admin:{SECRET}{after}".encode())
    assert read_secret_file(path) == ("admin", SECRET)


def test_every_other_character_stays(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("ad min: a:b\u200bc \u00a0\n", encoding="utf-8")
    assert read_secret_file(path) == ("ad min", " a:b\u200bc \u00a0")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (f"admin:{SECRET}\n".encode("utf-16"), "UTF-16"),
        (f"admin:{SECRET}\n".encode("utf-16-le"), "UTF-16"),
        (b"\xfe\xff" + f"admin:{SECRET}".encode("utf-16-be"), "UTF-16"),
        (f"admin:{SECRET}é".encode("latin-1"), "not UTF-8"),
        (b"", "is empty"),
        (b"\xef\xbb\xbf\r\n", "is empty"),
        (SECRET.encode(), "does not contain `user:password` on one line"),
        (f":{SECRET}".encode(), "does not contain `user:password` on one line"),
        (f"admin\n{SECRET}\n".encode(), "does not contain `user:password` on one line"),
        (f"admin:{SECRET}\nroot:{SECRET}\n".encode(), "does not contain `user:password` on one line"),
        (f"admin:{SECRET}\rroot:{SECRET}".encode(), "does not contain `user:password` on one line"),
    ],
)
def test_what_is_wrong_with_a_file_is_named_without_its_content(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(SourceAuthError, match=says) as caught:
        read_secret_file(path)
    assert SECRET not in f"{caught.value} {caught.value.hint} {caught.value.__context__ or ''}"
    assert "admin" not in str(caught.value)


@pytest.mark.timeout(10)
def test_a_pipe_as_the_secret_file_holds_nothing_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "secret")
    with pytest.raises(SourceAuthError, match="not a regular file"):
        read_secret_file(tmp_path / "secret")


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_a_line_end_in_a_variable_is_dropped(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    spec = RtspSpec.model_validate({"url": "rtsp://h/x", "username_env": "CAM_U", "password_env": "CAM_P"})
    monkeypatch.setenv("CAM_U", f"\ufeffadmin{end}")
    monkeypatch.setenv("CAM_P", f" {SECRET} {end}")
    assert spec.credentials() == ("admin", f" {SECRET} ")
    assert spec.connection_url().reveal() == f"rtsp://admin:%20{SECRET}%20@h/x"


def test_variables_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = RtspSpec.model_validate({"url": "rtsp://h/x", "username_env": "CAM_U", "password_env": "CAM_P"})
    monkeypatch.setenv("CAM_U", "\n")
    monkeypatch.setenv("CAM_P", SECRET)
    with pytest.raises(SourceAuthError, match="CAM_U is empty"):
        spec.credentials()
    monkeypatch.setenv("CAM_U", "admin")
    monkeypatch.setenv("CAM_P", f"{SECRET}\udcff")  # a byte that is not UTF-8, as Python shows it
    with pytest.raises(SourceAuthError, match="CAM_P is not UTF-8") as caught:
        spec.credentials()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("plain pass:word/é€", []),
        (" a", ["begins with a space"]),
        ("a ", ["ends with a space"]),
        ("a\u200b", ["ZERO WIDTH SPACE (U+200B)"]),
        ("a\u00a0b", ["NO-BREAK SPACE (U+00A0)"]),
        ("a\tb\ufeffc", ["(U+0009)", "ZERO WIDTH NO-BREAK SPACE (U+FEFF)"]),
        ("a\u00adb", ["SOFT HYPHEN (U+00AD)"]),
        ("a\u202e", ["RIGHT-TO-LEFT OVERRIDE (U+202E)"]),
    ],
)
def test_characters_that_nobody_sees(text: str, named: list[str]) -> None:
    found = suspicious_characters(text)
    assert len(found) == len(named)
    assert all(name in said for name, said in zip(named, found, strict=True))
