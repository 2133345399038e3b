"""MNIST's format: IDX files, plain or gzip (MNIST and Fashion-MNIST)."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamad.errors import DatasetError
from streamad.evaluation.images.checks import image_array, label_array
from streamad.evaluation.images.official import CLASSES, count_notes
from streamad.evaluation.images.records import ImageBenchmark, labeled_benchmark
from streamad.files import open_regular, read_bytes

FILES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}
"""The official names; also spelled `.idx3-ubyte`, and with `.gz`."""

MOST_UNPACKED_BYTES = 256 << 20
"""Five times the size of the largest official file."""

_AGAIN = "the download or copy may have been interrupted: download the file again"


def find_idx(folder: Path) -> dict[tuple[str, str], Path]:
    """Find the IDX files in a folder, preferring plain ones over compressed ones; missing ones are left out."""
    found = {}
    for key, name in FILES.items():
        spellings = (name, name.replace("-idx", ".idx"))
        paths = [folder / f"{spelling}{ending}" for ending in ("", ".gz") for spelling in spellings]
        path = next((path for path in paths if path.is_file()), None)
        if path is not None:
            found[key] = path
    return found


def load_idx(name: str, folder: Path) -> ImageBenchmark:
    """Read MNIST or Fashion-MNIST from its four official files.

    Args:
        name: mnist or fashion-mnist.
        folder: Folder of the files.

    Raises:
        DatasetError: A file is missing, truncated, or not IDX, or images and labels disagree.
    """
    files = find_idx(folder)
    missing = [f"{name}[.gz]" for key, name in FILES.items() if key not in files]
    if missing:
        raise DatasetError(f"{folder} has no {', '.join(missing)}", hint="all four official files are required")
    classes = CLASSES[name]
    splits = []
    for split in ("train", "test"):
        path = files[split, "images"]
        images = image_array(read_idx(path, axes=3), str(path))
        path = files[split, "labels"]
        splits.append((images, label_array(read_idx(path, axes=1), str(path), len(images), classes)))
    notes = count_notes(name, splits[0][1], splits[1][1], str(folder))
    return labeled_benchmark(name, classes, "official IDX files", splits[0], splits[1], notes)


def read_idx(path: Path, *, axes: int) -> npt.NDArray[np.uint8]:
    """Read the array in an IDX file of unsigned bytes.

    Args:
        path: The file; gzip if its name ends in .gz.
        axes: 3 for images (magic number 2051), 1 for labels (2049).

    Raises:
        DatasetError: The file cannot be read, has another magic number, or more or fewer bytes than its header
            declares.
    """
    content = _content(path)
    start = 4 + 4 * axes
    magic = 0x0800 + axes
    if len(content) < 4:
        raise DatasetError(f"{path} has {len(content)} bytes, not even a header", hint=_AGAIN)
    found = struct.unpack(">I", content[:4])[0]
    if found != magic:
        kind = {0x0801: ": this is a file of labels", 0x0803: ": this is a file of images"}.get(found, "")
        raise DatasetError(
            f"{path} starts with {found:#010x}, expected {magic:#010x} (IDX, unsigned bytes, {axes} axes){kind}",
            hint="is it the official file? An error page may have been saved in its place",
        )
    if len(content) < start:
        raise DatasetError(f"{path} ends within its header ({len(content)} of {start} bytes)", hint=_AGAIN)
    shape = struct.unpack(f">{axes}I", content[4:start])
    wanted = start + int(np.prod(shape, dtype=np.int64))
    if len(content) != wanted:
        word = "is truncated" if len(content) < wanted else "is too long"
        raise DatasetError(
            f"{path} {word}: {len(content)} bytes, its header ({'×'.join(map(str, shape))}) requires {wanted}",
            hint=_AGAIN,
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _content(path: Path) -> bytes:
    try:
        if path.suffix != ".gz":
            return read_bytes(path, MOST_UNPACKED_BYTES)
        with open_regular(path) as raw, gzip.open(raw) as file:
            content = file.read(MOST_UNPACKED_BYTES + 1)
        if len(content) > MOST_UNPACKED_BYTES:
            raise ValueError(f"over {MOST_UNPACKED_BYTES:,} bytes when unpacked")
        return content
    except ValueError as error:
        raise DatasetError(f"{path} is not an official file: {error}", hint=_AGAIN) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DatasetError(f"{path} is truncated or not a gzip file: {error}", hint=_AGAIN) from error
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error
