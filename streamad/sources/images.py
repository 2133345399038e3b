"""ImageFolderSource: a folder of images, in natural order."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import cv2
import numpy as np

from streamad.frame import Frame, FrameFlags, UInt8Image
from streamad.sources.base import Source, SourceInfo
from streamad.sources.failures import SourceCodecError
from streamad.sources.folders import list_images
from streamad.sources.spec import ImagesSpec
from streamad.sources.timing import Pacer


class ImageFolderSource(Source):
    """A folder of images. Only the folder itself is read, not its subfolders; hidden files are left out.

    An image that cannot be decoded is counted in `decode_errors`, named in `problems` and skipped. Its number
    is skipped too, so that `Frame.index` stays the position in the folder, which labels of data sets refer
    to.

    Args:
        spec: the folder and how to play it.
        camera: the configured id.
        clock: seconds, monotonic.
        sleep: waits for so many seconds (`realtime`).

    Raises:
        SourceNotFoundError: no such folder, or no image in it.
        SourceCodecError: none of the images can be decoded, or a file or a folder of recordings was given.
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
        first = next((pixels for path in self._paths if (pixels := read_grey(path)) is not None), None)
        if first is None:
            raise SourceCodecError(
                f"{spec.path}: none of its {len(self._paths)} images can be decoded",
                hint="check that the files are images and not, say, placeholders of a large-file store",
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
        """What is known of the folder; `frames` counts the files."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        """The images as frames; for ever, with `loop`."""
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
                pixels = read_grey(path)
                if pixels is None:
                    self.decode_errors += 1
                    self.report(f"{path}: cannot be decoded, skipped")
                    discontinuity = True
                    continue
                flags = FrameFlags.KEY
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


def read_grey(path: Path) -> UInt8Image | None:
    """(H, W) uint8 grey, full range, of an image (16 bits scaled to 8); None where undecodable."""
    previous = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        pixels = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
    except (cv2.error, OSError):
        return None
    finally:
        cv2.utils.logging.setLogLevel(previous)
    return None if pixels is None else np.asarray(pixels, dtype=np.uint8)
