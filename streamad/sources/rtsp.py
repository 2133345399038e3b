"""RtspSource: an RTSP camera."""

from __future__ import annotations

import time
from collections.abc import Callable

from av.container import InputContainer

from streamad.sources.container import ContainerSource, OnPacket
from streamad.sources.failures import SourceAuthError, classify
from streamad.sources.rtsp_auth import DigestRelay, explain_failure
from streamad.sources.spec import RtspSpec


class RtspSource(ContainerSource):
    """An RTSP camera, decoded in this process.

    Iteration simply ends when the server goes away: FFmpeg does not distinguish a closed connection from the end of a
    stream. If the server freezes, iteration raises after up to twice the read timeout, or never. Use
    `SupervisedSource` for cameras: it has the required watchdog and reconnects.

    Args:
        spec: The address, credentials and timeouts.
        camera: The configured camera id.
        threads: Number of decoder threads; 1 for cameras.
        clock: Monotonic clock, seconds.
        on_packet: See `ContainerSource`.
        decode: See `ContainerSource`.

    Raises:
        SourceError: If the stream cannot be opened; see the subclass and `reason`. No message contains a password.
    """

    def __init__(
        self,
        spec: RtspSpec,
        *,
        camera: str,
        threads: int = 1,
        clock: Callable[[], float] = time.monotonic,
        on_packet: OnPacket | None = None,
        decode: bool = True,
    ) -> None:
        self._spec = spec
        self._relay: DigestRelay | None = None
        super().__init__(
            camera,
            spec.url,
            hwaccel=spec.hwaccel,
            threads=threads,
            clock=clock,
            on_packet=on_packet,
            decode=decode,
        )
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
            failure = explain_failure(error, url, spec)
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
        """Release the decoder and the connection."""
        super().close()
        if self._relay is not None:
            self._relay.close()
