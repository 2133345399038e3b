"""Small data sets on disk: real videos, images and arrays."""

import fractions

import av
import cv2
import numpy as np


def write_video(path, frames, fps=10):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fractions.Fraction(fps))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(frames):
            picture = np.full((48, 64), (i * 5) % 256, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        container.mux(stream.encode(None))


def write_images(folder, frames, first=0, pattern="{:03d}.jpg"):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + frames):
        cv2.imwrite(str(folder / pattern.format(i)), np.full((8, 8), i % 256, np.uint8))


def write_labels(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.asarray(labels))


def cut_off(path, share=0.6):
    """Truncate an .avi to this share of its pictures, as by an interrupted copy."""
    content = path.read_bytes()
    first, index = content.index(b"movi"), content.index(b"idx1")
    path.write_bytes(content[: first + int((index - first) * share)])
