"""Helpers for tests of clips: color video, and its packets for comparison."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from rtsp_support import pictures


def write_color_video(path: Path, *, frames: int, fps: int = 25, codec: str = "libx264", bframes: int = 2) -> Path:
    """Encode `pictures` over a red left and a blue right half, with a key frame each second. Returns the path."""
    options = {"libx264": {"preset": "veryfast", "bf": str(bframes), "sc_threshold": "0"}}.get(codec, {})
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = fps
        for gray in pictures(frames):
            color = np.stack([gray] * 3, axis=-1)
            color[60:, :160, 1:] //= 3
            color[60:, 160:, :2] //= 3
            container.mux(stream.encode(av.VideoFrame.from_ndarray(color, format="rgb24")))
        container.mux(stream.encode())
    return path


def packets_of(path: Path) -> list[bytes]:
    """The video packets of a file."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]


def slices_of(path: Path) -> list[bytes]:
    """The coded pictures of an H.264 file in MP4, without parameter sets and other information, which RTSP adds."""
    found = []
    for packet in packets_of(path):
        while packet:
            size = int.from_bytes(packet[:4], "big")
            unit, packet = packet[4 : 4 + size], packet[4 + size :]
            if unit[0] & 31 in (1, 5):
                found.append(unit)
    return found


def decoded(path: Path) -> list[av.VideoFrame]:
    """All pictures of a file, which must decode without an error."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"err_detect": "explode"}
        return [frame for frame in container.decode(stream) if isinstance(frame, av.VideoFrame)]


def is_red_and_blue(frame: av.VideoFrame) -> bool:
    """Whether a picture has the colors of `write_color_video`."""
    rgb = frame.to_ndarray(format="rgb24").astype(float)
    left, right = rgb[70:110, :100].mean(axis=(0, 1)), rgb[70:110, 220:].mean(axis=(0, 1))
    return bool(left[0] > left[2] + 30 and right[2] > right[0] + 30)
