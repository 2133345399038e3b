"""Whether an ONNX file contains all of its weights. Parses the file itself, so that no library is needed.

A tensor of an ONNX file may be stored in another file ("external data"), which engines open by themselves. A bundle
hashes only the files that it lists, so such a file would be loaded unchecked, from any path.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from streamad.files import open_regular

# Field numbers of onnx.proto that lead to tensors: message → field → message.
_INSIDE = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_VARINT, _EIGHT_BYTES, _LENGTH, _GROUP, _END_OF_GROUP, _FOUR_BYTES = range(6)


def has_external_data(path: Path) -> bool:
    """Whether an ONNX file stores a tensor in another file; False for a file that no engine would accept as ONNX.

    Raises:
        OSError: The file cannot be read.
        ValueError: A message in the file is damaged, so the answer is unknown.
    """
    with open_regular(path) as file:
        if not file.peek(1):
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                top = list(_fields(content, 0, len(content)))
            except ValueError:
                return False
            waiting = [(_INSIDE["model"].get(number), value, length) for number, value, length in top]
            while waiting:  # no recursion: a file may nest graphs to any depth
                kind, start, length = waiting.pop()
                if kind is None or length is None:
                    continue
                for number, value, size in _fields(content, start, start + length):
                    if kind != "tensor":
                        waiting.append((_INSIDE[kind].get(number), value, size))
                    elif number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value):
                        return True
    return False


def _fields(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int | None]]:
    """Yield (number, value, None) of each field of a message; (number, offset, length) if it has a length."""
    groups = 0  # a deprecated encoding, which readers skip
    while start < end:
        tag, start = _varint(content, start, end)
        wire, value, length = tag & 7, start, None
        if wire == _VARINT:
            value, start = _varint(content, start, end)
        elif wire == _LENGTH:
            length, value = _varint(content, start, end)
            start = value + length
        elif wire == _GROUP:
            groups += 1
            continue
        elif wire == _END_OF_GROUP and groups:
            groups -= 1
            continue
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            start += 8 if wire == _EIGHT_BYTES else 4
        else:
            raise ValueError("a damaged ONNX file")
        if start > end:
            break
        if not groups:
            yield tag >> 3, value, length
    if start != end or groups:
        raise ValueError("a damaged ONNX file")


def _varint(content: mmap.mmap, start: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while start < end and shift < 70:
        byte = content[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
        shift += 7
    raise ValueError("a damaged ONNX file")
