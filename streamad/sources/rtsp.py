"""RtspSource: a camera that speaks RTSP."""

from __future__ import annotations

import time
from collections.abc import Callable

from av.container import InputContainer

from streamad.sources.container import ContainerSource
from streamad.sources.failures import SourceAuthError, classify
from streamad.sources.rtsp_auth import DigestRelay, explained
from streamad.sources.spec import RtspSpec


class RtspSource(ContainerSource):
    """A camera that speaks RTSP, decoded in this process.

    Iterating simply ends when the server goes away: FFmpeg does not tell a closed connection from the end of
    a stream. A server that freezes raises after up to twice the read timeout, or never: `SupervisedSource`
    has the watchdog that a camera needs, and connects anew.

    Args:
        spec: address, credentials, timeouts.
        camera: the configured id.
        threads: decoder threads; 1 for cameras.
        clock: seconds, monotonic.

    Raises:
        SourceError: the subclass and `reason` of what failed. No message holds a password.
    """

    def __init__(
        self, spec: RtspSpec, *, camera: str, threads: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._spec = spec
        self._relay: DigestRelay | None = None
        super().__init__(camera, spec.url, hwaccel=spec.hwaccel, threads=threads, clock=clock)
        self._read_timeout = spec.read_timeout_seconds
        self._stall_timeout = spec.stall_timeout_seconds

    def _opened(self) -> InputContainer:
        spec = self._spec
        url = spec.connection_url()
        options = {"rtsp_transport": spec.transport, "allowed_media_types": "video", "user_agent": "streamad"}
        if url.scheme == "rtsps":
            options["tls_verify"] = "1" if spec.tls_verify else "0"
            if spec.ca_file is not None:
                options["ca_file"] = str(spec.ca_file)
        timeouts = (spec.open_timeout_seconds, spec.read_timeout_seconds)
        try:
            return self._open(url.reveal(), options=options, timeouts=timeouts)
        except SourceAuthError as error:
            failure = explained(error, url, spec)
        if failure is not None:
            raise failure
        try:
            self._relay = relay = DigestRelay(url, spec.open_timeout_seconds)
        except OSError as error:
            failure = classify(error, target=spec.url)
        else:
            return self._open(relay.url.reveal(), options=options, timeouts=timeouts)
        raise failure

    def close(self) -> None:
        """Release decoder and connection."""
        super().close()
        if self._relay is not None:
            self._relay.close()
