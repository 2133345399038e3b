"""ImageFolderSource: a folder of images, in natural order."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from streamad.files import open_regular, read_bytes
from streamad.frame import Frame, FrameFlags, UInt8Image
from streamad.sources.base import Source, SourceInfo
from streamad.sources.failures import SourceCodecError
from streamad.sources.folders import list_images
from streamad.sources.spec import BIT_DEPTHS, ImagesSpec
from streamad.sources.timing import Pacer

DEPTH_SAMPLES = 32
"""Images per folder that are read to determine the folder's bit depth."""

NARROW = 1 / 8
"""Share of the value range below which an image counts as low-contrast: 32 gray levels in 8 bits."""

_JPEG = b"\xff\xd8"

MAX_BYTES = 512 << 20
"""Maximum size of an image file, bytes."""
MAX_PIXELS = 1 << 26
"""Maximum number of pixels in an image; streamad/__init__.py sets the same limit for OpenCV."""


class ImageFolderSource(Source):
    """A folder of images. Subfolders and hidden files are ignored.

    An image that cannot be decoded is counted in `decode_errors`, named in `problems` and skipped. Its number is
    skipped too, so that `Frame.index` stays the position in the folder, to which data set labels refer. A JPEG with
    missing or wrong bytes is flagged CORRUPT, counted and named likewise.

    Args:
        spec: The folder and how to play it.
        camera: The configured camera id.
        clock: Monotonic clock, seconds.
        sleep: Function that waits for a number of seconds, for `realtime`.

    Raises:
        SourceNotFoundError: If the folder does not exist or contains no image.
        SourceCodecError: If no image can be decoded, or the path is a file or a folder of recordings.
    """

    def __init__(
        self,
        spec: ImagesSpec,
        *,
        camera: str,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(camera)
        self._spec = spec
        self._clock = clock
        self._pacer = Pacer(spec.speed, clock=clock, sleep=sleep) if spec.realtime else None
        self._paths = list_images(spec.path)
        self._closed = False
        self._bits = _bits_of(spec, self._paths)
        first = next((pixels for path in self._paths if (pixels := read_gray(path, self._bits)) is not None), None)
        if first is None:
            raise SourceCodecError(
                f"{spec.path}: none of its {len(self._paths)} images can be decoded",
                hint="check that the files are images and not, for example, Git LFS pointers",
            )
        self._info = SourceInfo(
            width=first.shape[1],
            height=first.shape[0],
            fps=spec.fps,
            frames=None if spec.loop else len(self._paths),
            live=False,
            codec=None,
            decoder="opencv",
        )
        self._frames = self._decoded()

    @property
    def info(self) -> SourceInfo:
        """Properties of the folder; `frames` counts the files."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        """Iterate over the images as frames, endlessly if `loop` is set."""
        if self._closed:
            raise ValueError(f"the source {self.camera} is closed")
        return self._frames

    def close(self) -> None:
        """Stop iterating."""
        self._closed = True
        self._frames.close()

    def _decoded(self) -> Generator[Frame, None, None]:
        position, discontinuity = 0, True
        size: tuple[int, ...] | None = None
        while True:
            decoded = 0
            for path in self._paths:
                index, position = position, position + 1
                pixels = read_gray(path, self._bits)
                if pixels is None:
                    self.decode_errors += 1
                    self.report(f"{path}: cannot be decoded, skipped")
                    discontinuity = True
                    continue
                flags = FrameFlags.KEY
                if is_damaged(path):
                    self.decode_errors += 1
                    self.corrupt_frames += 1
                    self.report(f"{path}: damaged")
                    flags |= FrameFlags.CORRUPT
                if discontinuity or pixels.shape != size:
                    flags |= FrameFlags.DISCONTINUITY
                size, discontinuity = pixels.shape, False
                pts_seconds = index / self._spec.fps
                if self._pacer is not None:
                    self._pacer.wait(pts_seconds)
                self.frames_decoded += 1
                decoded += 1
                yield Frame(self.camera, index, pts_seconds, self._clock(), pixels, flags)
            if not self._spec.loop or decoded == 0:
                return
            discontinuity = True


def read_gray(path: Path, bits: int = 16) -> UInt8Image | None:
    """Read an image as (H, W) uint8 gray, full range; None if it cannot be decoded or is too large.

    Args:
        path: The image file.
        bits: Bit depth used by 16-bit images, 8 to 16: 12 maps 0..4095 to black..white, and higher values to white.
            8-bit images are read unchanged.
    """
    if bits < 16:
        pixels = _decoded(path, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
        if pixels is not None and pixels.dtype == np.uint16:
            return np.asarray(np.minimum(pixels >> (bits - 8), 255), dtype=np.uint8)
    pixels = _decoded(path, cv2.IMREAD_GRAYSCALE)
    return None if pixels is None else np.asarray(pixels, dtype=np.uint8)


def is_damaged(path: Path) -> bool:
    """Whether an image that OpenCV decodes has missing or wrong bytes.

    OpenCV rejects other damaged files but fills in a damaged JPEG. FFmpeg detects the errors. If FFmpeg cannot decode
    the image at all, it does not support that kind of JPEG, and the image counts as intact.
    """
    try:
        with open_regular(path) as file:
            start = file.read(len(_JPEG))
            data = start + file.read(MAX_BYTES) if start == _JPEG else b""
    except (OSError, ValueError):
        return False
    return bool(data) and not _is_jpeg_decoded(data, {"err_detect": "explode"}) and _is_jpeg_decoded(data, {})


def _is_jpeg_decoded(data: bytes, options: dict[str, str]) -> bool:
    import av  # only needed for JPEGs

    context = av.CodecContext.create("mjpeg", "r")
    assert isinstance(context, av.VideoCodecContext)
    context.thread_type, context.options = "NONE", options
    try:
        return bool(context.decode(av.Packet(data)))
    except av.FFmpegError:
        return False


def depth_hint(spec: ImagesSpec) -> str | None:
    """Explain why a folder's 16-bit images use little of their range, for messages about rejected frames.

    Returns:
        The hint; None if the images have 8 bits or use the range with which they are read.
    """
    extent = _extent(list_images(spec.path))
    if extent is None:
        return None
    (lowest, highest), bits = extent, _depth(extent[1])
    if highest - lowest < (1 << bits) * NARROW:
        return (
            f"16-bit images whose values lie between {lowest} and {highest}: possibly the raw counts of a thermal "
            "camera. Convert them to 8 bits with one fixed value range, both here and for calibration"
        )
    if spec.bit_depth == "auto" or spec.bit_depth <= bits:
        return None
    return (
        f"16-bit images whose highest value is {highest}: possibly a {bits}-bit camera. Set --bit-depth {bits}, or "
        f"bit_depth: {bits} in the configuration, both here and for calibration"
    )


def _bits_of(spec: ImagesSpec, paths: Sequence[Path]) -> int:
    """Bit depth with which to read 16-bit images."""
    return spec.bit_depth if spec.bit_depth != "auto" else _depth((_extent(paths) or (0, 0))[1])


def _depth(highest: int) -> int:
    """Smallest of the `BIT_DEPTHS` that can represent a value."""
    return next(bits for bits in BIT_DEPTHS if highest < 1 << bits)


def _extent(paths: Sequence[Path]) -> tuple[int, int] | None:
    """Lowest and highest value in a sample of images spread over a folder; None if none of them has 16 bits."""
    step = max(1, len(paths) // DEPTH_SAMPLES)
    found = (_decoded(path, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH) for path in paths[::step][:DEPTH_SAMPLES])
    deep = [pixels for pixels in found if pixels is not None and pixels.dtype == np.uint16]
    return (min(int(p.min()) for p in deep), max(int(p.max()) for p in deep)) if deep else None


def _decoded(path: Path, flags: int) -> npt.NDArray[Any] | None:
    previous = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.imdecode(np.frombuffer(read_bytes(path, MAX_BYTES), np.uint8), flags)
    except (cv2.error, OSError, ValueError):
        return None
    finally:
        cv2.utils.logging.setLogLevel(previous)
