"""Label files with pickled arrays: rejected unless requested, and then read without running any code in them."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamad.array_files import MOST_ARRAY_BYTES
from streamad.errors import DatasetError
from streamad.files import read_bytes

_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
    ("_codecs", "encode"),  # bytes as stored by Python 2 and protocol 2
}
"""What a pickle of arrays, lists, dicts, and numbers needs. None of these calls its arguments."""


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise DatasetError(
                f"the file refers to {module}.{name}, which label arrays do not need; it was not read",
                hint="save the labels as plain .npy or .npz arrays",
            )
        return super().find_class(module, name)


def load_pickled(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read the arrays of a pickle file, or of an .npy with objects, by name, or as "0", "1", … if they have no names.

    Args:
        path: `.pkl`, `.pickle` or `.npy`.

    Raises:
        DatasetError: The file is missing, damaged, contains anything but arrays of numbers, or refers to code.
    """
    try:
        raw = read_bytes(path, MOST_ARRAY_BYTES)
        content = _ArraysOnly(io.BytesIO(_after_header(raw)), encoding="latin1").load()
    except OSError as error:
        raise DatasetError(f"cannot read the labels {path}: {error.strerror or error}") from error
    except (
        pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, AttributeError, TypeError, OverflowError,
        MemoryError, RecursionError,
    ) as error:  # fmt: skip
        if isinstance(error, DatasetError):
            raise DatasetError(f"{path}: {error}", hint=error.hint) from error
        raise DatasetError(f"cannot read the labels {path}: {error}") from error
    if isinstance(content, dict):
        named = {str(name): np.asarray(value) for name, value in content.items()}
    else:
        parts = content.ravel().tolist() if _of_objects(content) else content
        parts = parts if isinstance(parts, list | tuple) else [parts]
        named = {str(k): np.asarray(value) for k, value in enumerate(parts)}
    if sum(array.nbytes for array in named.values()) > MOST_ARRAY_BYTES:
        raise DatasetError(f"{path}: its arrays are larger than {MOST_ARRAY_BYTES:,} bytes")
    bad = [name for name, array in named.items() if array.dtype.kind not in "buif"]
    if bad or not named:
        raise DatasetError(f"{path}: expected arrays of numbers, found {named[bad[0]].dtype if bad else 'nothing'}")
    return named


def _of_objects(content: Any) -> bool:
    return isinstance(content, np.ndarray) and content.dtype == object


def _after_header(raw: bytes) -> bytes:
    """The part after the header of an .npy with objects; the whole content of any other file."""
    if not raw.startswith(np.lib.format.MAGIC_PREFIX):
        return raw
    file = io.BytesIO(raw)
    version = np.lib.format.read_magic(file)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    reader(file)
    return file.read()
