"""Whether a PNG file is whole: decoders fill what is missing with black and say nothing."""

from __future__ import annotations

import struct
import zlib

from streamad.errors import DatasetError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def check_png(content: bytes, name: str) -> None:
    """Walk through the chunks of a PNG file and compare their checksums.

    Args:
        content: of the file.
        name: of the file, for the error.

    Raises:
        DatasetError: no PNG, truncated, or a checksum that differs.
    """
    hint = "the download or copy may have been interrupted: fetch it again"
    if not content.startswith(_SIGNATURE):
        what = "is empty" if not content else "is no PNG file"
        raise DatasetError(f"{name} {what}", hint=hint)
    at = len(_SIGNATURE)
    while True:
        if at + 12 > len(content):
            raise DatasetError(f"{name} is truncated after {len(content)} bytes", hint=hint)
        length = struct.unpack(">I", content[at : at + 4])[0]
        end = at + 12 + length
        if end > len(content):
            raise DatasetError(f"{name} is truncated after {len(content)} bytes", hint=hint)
        kind = content[at + 4 : at + 8]
        if zlib.crc32(content[at + 4 : end - 4]) != struct.unpack(">I", content[end - 4 : end])[0]:
            raise DatasetError(f"{name} is damaged: the checksum of its part {kind!r} differs", hint=hint)
        if kind == b"IEND":
            return
        at = end
