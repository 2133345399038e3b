"""Failures of sources: a typed reason for each, and the errors that carry it.

PyAV's exceptions contain the address with its password. `classify` therefore writes its own message, and PyAV's
exceptions are never chained.
"""

from __future__ import annotations

import errno
import socket
from enum import StrEnum
from pathlib import Path

from streamad.errors import ExitCode, StreamadError
from streamad.sources.url import Url


class FailureReason(StrEnum):
    """Kinds of failure that call for different actions by an operator; also the `reason` label of the metrics."""

    AUTH = "auth"
    """The server rejects the credentials (401, 403), or they cannot be read."""
    TLS = "tls"
    """No encrypted connection: the certificate is not trusted, or the server does not support TLS."""
    TIMEOUT = "timeout"
    """No answer or no data within the timeout."""
    NOT_FOUND = "not_found"
    """No such file, device or stream (404)."""
    REFUSED = "refused"
    """Nothing listens on the port, the transport is rejected, or the device is in use."""
    NETWORK = "network"
    """The host name does not resolve, there is no route, the connection broke, or the answer is not understood."""
    CODEC = "codec"
    """Data arrives, but it contains no video that can be decoded here."""
    ENDED = "ended"
    """The stream ended: the camera closed the connection or the server stopped."""
    STALLED = "stalled"
    """Connected, but no frame arrived within the stall timeout, so the decoder was killed."""
    MEMORY = "memory"
    """Pictures or packets exceed the decoder's memory limit."""
    CRASHED = "crashed"
    """The decoder process died."""


class SourceError(StreamadError):
    """A source cannot be opened or read. Subclasses also derive from the matching built-in exception."""

    exit_code = ExitCode.SOURCE
    reason: FailureReason = FailureReason.CRASHED


class SourceNotFoundError(SourceError, FileNotFoundError):
    """The file, folder, device or stream does not exist."""

    reason = FailureReason.NOT_FOUND


class SourceAuthError(SourceError, PermissionError):
    """Credentials or permissions are missing or wrong."""

    reason = FailureReason.AUTH


class SourceTlsError(SourceError, ConnectionError):
    """An encrypted connection could not be established."""

    reason = FailureReason.TLS


class SourceTimeoutError(SourceError, TimeoutError):
    """No answer or no data within the timeout."""

    reason = FailureReason.TIMEOUT


class SourceStalledError(SourceTimeoutError):
    """Connected, but no frame arrived within the stall timeout."""

    reason = FailureReason.STALLED


class SourceRefusedError(SourceError, ConnectionRefusedError):
    """The connection or transport is refused, or the device is in use."""

    reason = FailureReason.REFUSED


class SourceNetworkError(SourceError, ConnectionError):
    """The host cannot be reached, or its answer is not understood."""

    reason = FailureReason.NETWORK


class SourceCodecError(SourceError, ValueError):
    """The data contains no video that can be decoded here."""

    reason = FailureReason.CODEC


class SourceEndedError(SourceError, EOFError):
    """A stream that should not end has ended."""

    reason = FailureReason.ENDED


class SourceMemoryError(SourceError, MemoryError):
    """Pictures or packets exceed the decoder's memory limit."""

    reason = FailureReason.MEMORY


class SourceCrashedError(SourceError, RuntimeError):
    """The decoder process died."""

    reason = FailureReason.CRASHED


_ERRORS: tuple[type[SourceError], ...] = (
    SourceAuthError, SourceTlsError, SourceTimeoutError, SourceNotFoundError, SourceRefusedError, SourceNetworkError,
    SourceCodecError, SourceEndedError, SourceStalledError, SourceMemoryError, SourceCrashedError,
)  # fmt: skip
_CLASSES = {kind.reason: kind for kind in _ERRORS}

_HINTS: dict[FailureReason, str] = {
    FailureReason.AUTH: "check the user name and password (username_env and password_env, or secret_file)",
    FailureReason.TLS: "set ca_file to the camera's certificate, or tls_verify: false on a trusted network",
    FailureReason.TIMEOUT: "check that the camera is on; on a slow network raise open_timeout_seconds",
    FailureReason.NOT_FOUND: "check the path (a camera's manual lists its stream paths)",
    FailureReason.REFUSED: "check the address and port, and that RTSP is enabled on the camera",
    FailureReason.NETWORK: "check the host name, the network, and that this port speaks RTSP",
    FailureReason.CODEC: "check that it plays in a video player; H.264, H.265 and MJPEG are safe choices",
    FailureReason.MEMORY: "lower the camera's resolution",
}


def source_error(reason: FailureReason, message: str, *, hint: str | None = None) -> SourceError:
    """Create the error of class `reason`, with that reason's default hint if none is given."""
    return _CLASSES[reason](message, hint=hint or _HINTS.get(reason))


def classify(
    error: BaseException,
    *,
    target: Url | Path | str,
    elapsed_seconds: float | None = None,
    timeout_seconds: float | None = None,
) -> SourceError:
    """Convert an exception of PyAV or the system to a typed error whose message contains no secret.

    Args:
        error: The exception raised while opening or reading.
        target: The address, path or device for the message; addresses are redacted.
        elapsed_seconds: Time since the failed call began. If a server accepts the connection and stays silent,
            PyAV reports invalid data when the timeout expires, so only the elapsed time separates the two cases.
        timeout_seconds: The timeout of that call.

    Returns:
        The error, to be raised `from None`: PyAV's own message contains the password.
    """
    if isinstance(error, SourceError):
        return error
    reason, what = _reason(error, target, elapsed_seconds, timeout_seconds)
    return source_error(reason, f"{target}: {what}")


def _reason(
    error: BaseException, target: Url | Path | str, elapsed: float | None, timeout: float | None
) -> tuple[FailureReason, str]:
    import av.error as ff

    number = getattr(error, "errno", None)
    remote = isinstance(target, Url)
    if isinstance(error, ff.ExitError | TimeoutError) or number == errno.ETIMEDOUT:
        return FailureReason.TIMEOUT, "no data before the timeout"
    if elapsed is not None and timeout is not None and elapsed >= 0.95 * timeout:
        return FailureReason.TIMEOUT, f"no answer within {timeout:g} s"
    if isinstance(error, ff.HTTPUnauthorizedError | ff.HTTPForbiddenError):
        return FailureReason.AUTH, "the server rejected the credentials" if remote else "not permitted"
    if isinstance(error, ff.HTTPNotFoundError | FileNotFoundError) or number in (errno.ENODEV, errno.ENXIO):
        return FailureReason.NOT_FOUND, "the server has no such stream" if remote else "not found"
    if isinstance(error, ff.HTTPError):
        return FailureReason.NETWORK, f"the server answered with an error ({error.strerror})"
    if isinstance(error, ConnectionRefusedError):
        return FailureReason.REFUSED, "connection refused"
    if number == errno.EPROTONOSUPPORT:
        return FailureReason.REFUSED, "the server does not accept this transport; try the other one (tcp, udp)"
    if number == errno.EBUSY:
        return FailureReason.REFUSED, "in use by another program"
    if isinstance(error, PermissionError):
        return FailureReason.AUTH, "permission denied"
    if isinstance(error, ff.DecoderNotFoundError | ff.PatchWelcomeError | ff.DemuxerNotFoundError):
        return FailureReason.CODEC, "format or codec not supported by this FFmpeg"
    if isinstance(target, Url):
        return _network_reason(error, target)
    if isinstance(error, ff.InvalidDataError):
        return FailureReason.CODEC, "not a video file, or damaged beyond reading"
    return FailureReason.CODEC, f"cannot be read ({_name_of(error)})"


def _network_reason(error: BaseException, url: Url) -> tuple[FailureReason, str]:
    import av.error as ff

    try:
        socket.getaddrinfo(url.host, None)
    except OSError:
        return FailureReason.NETWORK, "the host name does not resolve"
    if isinstance(error, ConnectionError):
        return FailureReason.NETWORK, "the connection broke"
    if url.scheme == "rtsps" and getattr(error, "errno", None) == errno.EIO:
        return (
            FailureReason.TLS,
            "no encrypted connection: certificate not trusted, or the server does not support TLS",
        )
    if isinstance(error, ff.InvalidDataError):
        return FailureReason.NETWORK, "the answer is not RTSP, or the host cannot be reached"
    return FailureReason.NETWORK, f"cannot be reached ({_name_of(error)})"


def _name_of(error: BaseException) -> str:
    # The name of the errno contains no secret; the exception's text may.
    number = getattr(error, "errno", None)
    name = errno.errorcode.get(number) if isinstance(number, int) else None
    return name or type(error).__name__
