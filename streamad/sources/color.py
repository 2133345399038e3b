"""Color pictures of a stream for people: scoring uses luma alone, so they are made only while somebody looks."""

from __future__ import annotations

import os

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from streamad.frame import UInt8Image
from streamad.sources.orientation import orientation_of

MAX_WIDTH = 960
"""Width above which pictures are scaled down, pixels."""
MAX_BYTES = 4 << 20
_QUALITY = 80


def color_jpeg(frame: av.VideoFrame) -> bytes | None:
    """Encode a decoded frame as JPEG, rotated for display and at most `MAX_WIDTH` wide; None if JPEG cannot hold it."""
    width = min(frame.width, MAX_WIDTH)
    height = max(1, round(frame.height * width / frame.width))
    # One thread: starting more takes longer than one picture.
    scaled = VideoReformatter().reformat(frame, width, height, format="bgr24", interpolation="AREA", threads=1)
    pixels: UInt8Image = np.asarray(scaled.to_ndarray(), dtype=np.uint8)
    orientation = orientation_of(frame)
    if orientation is not None:
        pixels = orientation.apply(pixels)
    try:
        ok, data = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    except cv2.error:  # JPEG's sides end at 65,535 pixels
        return None
    return data.tobytes() if ok else None


def shared(data: bytes) -> int:
    """Put bytes into anonymous shared memory; returns its descriptor, which is the caller's to close."""
    descriptor = os.memfd_create("streamad-picture", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def received(descriptor: int) -> bytes:
    """Read what `shared` put there, at most `MAX_BYTES`, and close the descriptor."""
    try:
        return os.pread(descriptor, MAX_BYTES, 0)
    finally:
        os.close(descriptor)
