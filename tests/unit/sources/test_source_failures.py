"""Failures: what the libraries raise becomes a typed error that holds no secret."""

from __future__ import annotations

import errno
from pathlib import Path

import av
import av.error
import pytest

from streamad.errors import ExitCode
from streamad.sources import FailureReason, SourceError, Url, classify, source_error

URL = Url("rtsp://root:hunter2@127.0.0.1:1/a")


def ffmpeg(name: str, number: int = 1) -> Exception:
    error = getattr(av.error, name)(number, "text", URL.reveal())
    assert "hunter2" in str(error)
    return error  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("error", "reason", "builtin"),
    [
        (ffmpeg("HTTPUnauthorizedError"), FailureReason.AUTH, PermissionError),
        (ffmpeg("HTTPForbiddenError"), FailureReason.AUTH, PermissionError),
        (ffmpeg("HTTPNotFoundError"), FailureReason.NOT_FOUND, FileNotFoundError),
        (ffmpeg("HTTPServerError"), FailureReason.NETWORK, ConnectionError),
        (ffmpeg("ExitError"), FailureReason.TIMEOUT, TimeoutError),
        (ffmpeg("TimeoutError", errno.ETIMEDOUT), FailureReason.TIMEOUT, TimeoutError),
        (ffmpeg("ConnectionRefusedError", errno.ECONNREFUSED), FailureReason.REFUSED, ConnectionRefusedError),
        (ffmpeg("ConnectionResetError", errno.ECONNRESET), FailureReason.NETWORK, ConnectionError),
        (ffmpeg("OSError", errno.EPROTONOSUPPORT), FailureReason.REFUSED, ConnectionRefusedError),
        (ffmpeg("InvalidDataError"), FailureReason.NETWORK, ConnectionError),
        (ffmpeg("DecoderNotFoundError"), FailureReason.CODEC, ValueError),
    ],
)
def test_streams(error: Exception, reason: FailureReason, builtin: type[Exception]) -> None:
    typed = classify(error, target=URL)
    assert typed.reason is reason
    assert isinstance(typed, builtin)
    assert typed.exit_code is ExitCode.SOURCE
    assert str(typed).startswith("rtsp://***@127.0.0.1:1/…: ")
    assert "hunter2" not in f"{typed} {typed.hint} {typed!r}"


def test_a_silent_server_is_a_timeout() -> None:
    error = ffmpeg("InvalidDataError")
    assert classify(error, target=URL, elapsed_seconds=4.0, timeout_seconds=4.0).reason is FailureReason.TIMEOUT
    assert classify(error, target=URL, elapsed_seconds=1.0, timeout_seconds=4.0).reason is FailureReason.NETWORK


def test_a_failed_handshake_is_tls() -> None:
    error = av.error.OSError(errno.EIO, "Input/output error", "x")
    assert classify(error, target=Url("rtsps://127.0.0.1/a")).reason is FailureReason.TLS
    assert classify(error, target=Url("rtsp://127.0.0.1/a")).reason is FailureReason.NETWORK


def test_files() -> None:
    path = Path("a.mp4")
    assert classify(av.error.InvalidDataError(1, "x"), target=path).reason is FailureReason.CODEC
    assert classify(PermissionError(errno.EACCES, "x"), target=path).reason is FailureReason.AUTH
    assert classify(OSError(errno.EBUSY, "x"), target=path).reason is FailureReason.REFUSED


def test_every_reason_has_its_error() -> None:
    for reason in FailureReason:
        error = source_error(reason, "m", hint="h")
        assert isinstance(error, SourceError)
        assert (error.reason, str(error), error.hint) == (reason, "m", "h")
        assert classify(error, target="x") is error
