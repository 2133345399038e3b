"""Socket protocol between the main process and a decoder process. Pixels go through shared memory instead.

The main process first sends the job, pickled. It contains the credentials, which must appear neither in arguments nor
in the environment. After that it sends single bytes: `STOP`; `SPACE` if the decoder is waiting for a free
slot; `LOOK` if somebody wants to see the next frame in color; and JSON objects, the arguments of
`ClipRecorder.request` or, with "at", of `ClipRecorder.picture`.
The decoder sends JSON objects with a `type`: hello, info, ring (with the ring's descriptor), wake, problem, clip,
picture (with the descriptor of a JPEG), end.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any

from streamad.sources.spec import SourceSpec

STOP = b"q"
SPACE = b"s"
LOOK = b"c"
MAX_MESSAGE = 65536
LINGER_SECONDS = 10.0
"""How long a decoder that records serves clips after the end of its stream."""
MAX_TEXT = 2000
"""Maximum number of characters of a text in a message."""


@dataclass(frozen=True, slots=True)
class RecordingSpec:
    """What a decoder process keeps of its stream for clips.

    Attributes:
        keep_seconds: Length of stream to keep, > 0. Longer where key frames are further apart.
        max_clip_seconds: Longest clip.
        max_bytes: Largest size of the packets kept, and of those that wait to be written.
    """

    keep_seconds: float
    max_clip_seconds: float
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Job:
    """A decoding job for a decoder process.

    Attributes:
        camera: The configured camera id.
        spec: The source.
        slots: Number of frames in the ring.
        drop: Whether the oldest unread frame is dropped for the newest; otherwise the decoder waits.
        recording: What to keep for clips. Default: nothing.
        decode: Whether to decode; see `ContainerSource`.
    """

    camera: str
    spec: SourceSpec
    slots: int
    drop: bool
    recording: RecordingSpec | None = None
    decode: bool = True


def pair() -> tuple[socket.socket, socket.socket]:
    """Create two connected sockets that preserve message boundaries and pass descriptors."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(link: socket.socket, message: dict[str, Any], descriptor: int | None = None) -> None:
    """Send one message, optionally with a descriptor. Blocks while the other side is behind."""
    data = json.dumps(message).encode()
    if descriptor is None:
        link.send(data)
    else:
        socket.send_fds(link, [data], [descriptor])


def receive(link: socket.socket) -> tuple[dict[str, Any], int | None] | None:
    """Receive the next message and its descriptor; None at the end of the connection.

    Raises:
        BlockingIOError: If no message has arrived (the socket must be non-blocking).
    """
    try:
        try:
            data, descriptors, _, _ = socket.recv_fds(link, MAX_MESSAGE, 1)
        except ConnectionResetError:
            # The other side ended before it had read everything. What it sent before is still there.
            data, descriptors, _, _ = socket.recv_fds(link, MAX_MESSAGE, 1)
    except ConnectionResetError:
        return None
    if not data:
        return None
    message: dict[str, Any] = json.loads(data)
    return message, descriptors[0] if descriptors else None
