"""Why a source failed: a typed reason for every failure, and the errors that carry it.

PyAV's own exceptions hold the address with its password in their text, so none of their text reaches a
message and none is chained: `classify` writes the message anew.
"""

from __future__ import annotations

import errno
import socket
from enum import StrEnum
from pathlib import Path

from streamad.errors import ExitCode, StreamadError
from streamad.sources.url import Url


class FailureReason(StrEnum):
    """The kinds of failure that an operator acts on differently; also the `reason` label of the metrics."""

    AUTH = "auth"
    """The server wants other credentials (401, 403), or ours cannot be read."""
    TLS = "tls"
    """The encrypted connection could not be made: certificate not trusted, or the server speaks no TLS."""
    TIMEOUT = "timeout"
    """No answer, or no data, in time."""
    NOT_FOUND = "not_found"
    """No such file, device or stream (404)."""
    REFUSED = "refused"
    """Nothing listens there, the transport is refused, or the device is in use."""
    NETWORK = "network"
    """The host has no address or no route, the connection broke, or the answer made no sense."""
    CODEC = "codec"
    """There is data, but no video that can be decoded here."""
    ENDED = "ended"
    """The stream ended (a camera that closes the connection, a server that was stopped)."""
    STALLED = "stalled"
    """Connected, but no frame within the stall timeout; the decoder was killed."""
    MEMORY = "memory"
    """Its pictures or packets take more memory than a decoder may have."""
    CRASHED = "crashed"
    """The decoder's process died."""


class SourceError(StreamadError):
    """A source that cannot be opened or read. Subclasses also derive from the built-in of their kind."""

    exit_code = ExitCode.SOURCE
    reason: FailureReason = FailureReason.CRASHED


class SourceNotFoundError(SourceError, FileNotFoundError):
    """No such file, folder, device or stream."""

    reason = FailureReason.NOT_FOUND


class SourceAuthError(SourceError, PermissionError):
    """Credentials or permissions are missing or wrong."""

    reason = FailureReason.AUTH


class SourceTlsError(SourceError, ConnectionError):
    """The encrypted connection could not be made."""

    reason = FailureReason.TLS


class SourceTimeoutError(SourceError, TimeoutError):
    """No answer or no data in time."""

    reason = FailureReason.TIMEOUT


class SourceStalledError(SourceTimeoutError):
    """Connected, but no frame within the stall timeout."""

    reason = FailureReason.STALLED


class SourceRefusedError(SourceError, ConnectionRefusedError):
    """The other side refuses the connection, the transport, or the device is in use."""

    reason = FailureReason.REFUSED


class SourceNetworkError(SourceError, ConnectionError):
    """The host cannot be reached or its answer cannot be understood."""

    reason = FailureReason.NETWORK


class SourceCodecError(SourceError, ValueError):
    """No video that can be decoded here."""

    reason = FailureReason.CODEC


class SourceEndedError(SourceError, EOFError):
    """A stream that should go on has ended."""

    reason = FailureReason.ENDED


class SourceMemoryError(SourceError, MemoryError):
    """Pictures or packets take more memory than a decoder may have."""

    reason = FailureReason.MEMORY


class SourceCrashedError(SourceError, RuntimeError):
    """The decoder's process died."""

    reason = FailureReason.CRASHED


_CLASSES: dict[FailureReason, type[SourceError]] = {
    FailureReason.AUTH: SourceAuthError,
    FailureReason.TLS: SourceTlsError,
    FailureReason.TIMEOUT: SourceTimeoutError,
    FailureReason.NOT_FOUND: SourceNotFoundError,
    FailureReason.REFUSED: SourceRefusedError,
    FailureReason.NETWORK: SourceNetworkError,
    FailureReason.CODEC: SourceCodecError,
    FailureReason.ENDED: SourceEndedError,
    FailureReason.STALLED: SourceStalledError,
    FailureReason.MEMORY: SourceMemoryError,
    FailureReason.CRASHED: SourceCrashedError,
}

_HINTS: dict[FailureReason, str] = {
    FailureReason.AUTH: "check user and password (username_env and password_env, or secret_file)",
    FailureReason.TLS: "give the camera's certificate as ca_file; on a trusted network, tls_verify: false",
    FailureReason.TIMEOUT: "check that the camera is on; on slow networks raise open_timeout_seconds",
    FailureReason.NOT_FOUND: "check the path (of a stream: in the camera's manual)",
    FailureReason.REFUSED: "check address and port, and that RTSP is switched on in the camera",
    FailureReason.NETWORK: "check the host's name, the network, and that this port speaks RTSP",
    FailureReason.CODEC: "check that it plays in a video player; H.264, H.265 and MJPEG are safe choices",
    FailureReason.MEMORY: "give the camera a smaller picture",
}


def source_error(reason: FailureReason, message: str, *, hint: str | None = None) -> SourceError:
    """The error class of `reason`, with the usual hint where none is given."""
    return _CLASSES[reason](message, hint=hint or _HINTS.get(reason))


def classify(
    error: BaseException,
    *,
    target: Url | Path | str,
    elapsed_seconds: float | None = None,
    timeout_seconds: float | None = None,
) -> SourceError:
    """Turn what PyAV (or the system) raised into a typed error with a message that holds no secret.

    Args:
        error: what was raised while opening or reading.
        target: the address, path or device; printed, an address redacted.
        elapsed_seconds: time since the call that failed began. PyAV reports a server that accepts and stays
            silent as invalid data at the end of the timeout, so time alone tells the two apart.
        timeout_seconds: the timeout of that call.

    Returns:
        The error to raise, `from None`: PyAV's own text holds the password.
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
        return FailureReason.TIMEOUT, "no data in time"
    if elapsed is not None and timeout is not None and elapsed >= 0.95 * timeout:
        return FailureReason.TIMEOUT, f"no answer in {timeout:g} s"
    if isinstance(error, ff.HTTPUnauthorizedError | ff.HTTPForbiddenError):
        return FailureReason.AUTH, "the server refuses the credentials" if remote else "not permitted"
    if isinstance(error, ff.HTTPNotFoundError | FileNotFoundError) or number in (errno.ENODEV, errno.ENXIO):
        return FailureReason.NOT_FOUND, "the server has no such stream" if remote else "not found"
    if isinstance(error, ff.HTTPError):
        return FailureReason.NETWORK, f"the server answered with an error ({error.strerror})"
    if isinstance(error, ConnectionRefusedError):
        return FailureReason.REFUSED, "connection refused"
    if number == errno.EPROTONOSUPPORT:
        return FailureReason.REFUSED, "the server refuses this transport; try the other one (tcp, udp)"
    if number == errno.EBUSY:
        return FailureReason.REFUSED, "in use by another program"
    if isinstance(error, PermissionError):
        return FailureReason.AUTH, "no permission to read it"
    if isinstance(error, ff.DecoderNotFoundError | ff.PatchWelcomeError | ff.DemuxerNotFoundError):
        return FailureReason.CODEC, "its format or codec is not supported by this FFmpeg"
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
        return FailureReason.NETWORK, "the name of its host has no address"
    if isinstance(error, ConnectionError):
        return FailureReason.NETWORK, "the connection broke"
    if url.scheme == "rtsps" and getattr(error, "errno", None) == errno.EIO:
        return (
            FailureReason.TLS,
            "no encrypted connection: certificate not trusted, or the server speaks no TLS",
        )
    if isinstance(error, ff.InvalidDataError):
        return FailureReason.NETWORK, "the answer is no RTSP, or the host cannot be reached"
    return FailureReason.NETWORK, f"cannot be reached ({_name_of(error)})"


def _name_of(error: BaseException) -> str:
    # errno's name is free of secrets, which the text of the exception is not.
    number = getattr(error, "errno", None)
    name = errno.errorcode.get(number) if isinstance(number, int) else None
    return name or type(error).__name__
