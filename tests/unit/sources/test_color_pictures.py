"""Color pictures of a stream, from a real decoder process: only on demand, and of the frame that they claim."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from clip_support import write_color_video

from streamad.sources import SupervisedSource, wire
from streamad.sources.color import MAX_WIDTH
from streamad.sources.spec import FileSpec

SECONDS = 60.0


def pictures(source: SupervisedSource, *, look: bool, wanted: int) -> list[tuple[int, npt.NDArray[np.uint8]]]:
    """Index and pixels of the color pictures while the source is read, until there are `wanted`."""
    found: list[tuple[int, npt.NDArray[np.uint8]]] = []
    deadline = time.monotonic() + SECONDS
    while len(found) < wanted and not source.over and time.monotonic() < deadline:
        if look:
            source.look()
        frame = source.poll(0.1)
        if frame is not None and (picture := source.color(frame.index)) is not None:
            pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
            found.append((frame.index, np.asarray(pixels, np.uint8)))
    return found


def test_whoever_looks_gets_color(tmp_path: Path) -> None:
    path = write_color_video(tmp_path / "color.mp4", frames=50)
    with SupervisedSource("gate", FileSpec(type="file", path=path, realtime=True, loop=True)) as source:
        assert source.color(10**9) is None
        found = pictures(source, look=True, wanted=2)
    assert len(found) == 2
    assert found[1][0] - found[0][0] >= 15, "one a second at most, of 25 frames"
    for _, pixels in found:
        assert pixels.shape == (240, 320, 3)
        left, right = pixels[80:, 10:150].mean(axis=(0, 1)), pixels[80:, 170:310].mean(axis=(0, 1))
        assert left[2] > 2 * left[0], "blue, green, red: the left half is red"
        assert right[0] > 2 * right[2]


def test_nobody_looks_and_nothing_is_made(tmp_path: Path) -> None:
    path = write_color_video(tmp_path / "color.mp4", frames=60)
    with SupervisedSource("gate", FileSpec(type="file", path=path)) as source:
        assert pictures(source, look=False, wanted=1) == []
        assert source.status.state == "ended"


def test_large_pictures_are_scaled_down(tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (1920, 1080))
    for _ in range(30):
        writer.write(np.full((1080, 1920, 3), 90, np.uint8))
    writer.release()
    with SupervisedSource("gate", FileSpec(type="file", path=path, realtime=True, loop=True)) as source:
        assert pictures(source, look=True, wanted=1)[0][1].shape == (540, MAX_WIDTH, 3)


def test_what_a_decoder_said_last_arrives_though_it_left_something_unread() -> None:
    """A socket that is closed with unread data resets the connection before its last messages are read."""
    ours, theirs = wire.pair()
    with ours:
        wire.send(theirs, {"type": "end", "reason": None})
        ours.send(wire.LOOK)
        theirs.close()
        assert wire.receive(ours) == ({"type": "end", "reason": None}, None)
        assert wire.receive(ours) is None
