"""The socket between the main process and a decoder's: small messages; pixels go through shared memory.

Main to decoder, once: the job, pickled (it holds the credentials, so it goes neither through the arguments
nor the environment). Then one byte: `STOP`, or `SPACE` where the decoder waits for a free slot.
Decoder to main: JSON objects with a `type`: hello, info, ring (with the ring's descriptor), wake, problem,
end.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any

from streamad.sources.spec import DeviceSpec, FileSpec, ImagesSpec, RtspSpec

STOP = b"q"
SPACE = b"s"
MAX_MESSAGE = 65536
MAX_TEXT = 2000
"""Characters of a text in a message."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a decoder's process has to do.

    Attributes:
        camera: the configured id.
        spec: the source.
        slots: frames in the ring.
        drop: whether the oldest unread frame gives way to the newest, else the decoder waits.
        threads: decoder threads.
    """

    camera: str
    spec: FileSpec | ImagesSpec | RtspSpec | DeviceSpec
    slots: int
    drop: bool
    threads: int


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets that keep the bounds of messages: each arrives whole, with its descriptor."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(link: socket.socket, message: dict[str, Any], descriptor: int | None = None) -> None:
    """Send one message, with a descriptor where one is given. Waits while the other side is behind."""
    data = json.dumps(message).encode()
    if descriptor is None:
        link.send(data)
    else:
        socket.send_fds(link, [data], [descriptor])


def receive(link: socket.socket) -> tuple[dict[str, Any], int | None] | None:
    """The next message and its descriptor; None at the end of the connection.

    Raises:
        BlockingIOError: there is none yet (the socket must be non-blocking).
    """
    try:
        data, descriptors, _, _ = socket.recv_fds(link, MAX_MESSAGE, 1)
    except ConnectionResetError:
        return None
    if not data:
        return None
    message: dict[str, Any] = json.loads(data)
    return message, descriptors[0] if descriptors else None
