"""Files that claim more than they hold, hold more than memory does, or are no files: refused in bounded memory."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from streamad.array_files import read_arrays
from streamad.files import read_bytes, read_json, sha256_of

GIB = 1 << 30


def sparse(path: Path, size: int = 20 * GIB) -> Path:
    """A file whose size is a claim alone: no block of it is on the disk."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def npy(shape: str, *, dtype: str = "<f8", order: bool = False, data: bytes = b"\0" * 80) -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def zipped(path: Path, name: str, content: bytes, *, zeros: int = 0) -> Path:
    """An .npz with one member, whose content ends with so many zeros."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(name, "w", force_zip64=True) as member,
    ):
        member.write(content)
        for start in range(0, zeros, 1 << 24):
            member.write(bytes(min(1 << 24, zeros - start)))
    return path


def black_png(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_arrays_are_those_of_numpy(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "floats": rng.random((3, 4)),
        "columns": np.asfortranarray(rng.random((5, 2))),
        "flags": rng.random(7) < 0.5,
        "none": np.zeros((0, 3), np.int32),
        "one": np.array(4.5),
        "big": rng.integers(0, 9, 5).astype(">i4"),
        "text": np.array(["a", "größe"]),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "all.npz", **arrays)  # type: ignore[arg-type]
        found = read_arrays(tmp_path / "all.npz")
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
    found["floats"][0, 0] = 1  # they can be written to
    np.save(tmp_path / "one.npy", arrays["columns"])
    np.testing.assert_array_equal(read_arrays(tmp_path / "one.npy")["one"], arrays["columns"])


BAD_ARRAYS: dict[str, tuple[Callable[[Path], object], str]] = {
    "shape": (lambda p: p.write_bytes(npy("(1000000000000,)")), "claims 8,000,000,000,000 bytes"),
    "shape that overflows": (lambda p: p.write_bytes(npy("(4294967296, 4294967296, 4294967296)")), "claims"),
    "negative": (lambda p: p.write_bytes(npy("(-1,)")), "claims"),
    "in a zip": (lambda p: zipped(p, "a.npy", npy("(1000000000000,)")), "claims 8,000,000,000,000 bytes"),
    "header": (lambda p: p.write_bytes(b"\x93NUMPY\x02\x00" + struct.pack("<I", 0xFFFFFFF0) + b"{"), "header"),
    "deep header": (lambda p: p.write_bytes(npy("(" * 50)), "header"),
    "objects": (lambda p: zipped(p, "a.npy", npy("(1,)", dtype="|O")), "pickle"),
    "nothing": (lambda p: p.write_bytes(npy("(99,)", dtype="|S0")), "holds nothing"),
    "cut off": (lambda p: p.write_bytes(npy("(10,)")[:-1]), "of which 79 are there"),
    "bomb": (lambda p: zipped(p, "a.npy", npy(f"({2 * GIB},)", dtype="|u1", data=b""), zeros=2 * GIB), "unpacked"),
    "sparse": (sparse, "21,474,836,480 bytes"),
    "no zip": (lambda p: p.write_bytes(b"PK\x03\x04 and no more"), "zip"),
    "not arrays": (lambda p: zipped(p, "a.txt", b"hello"), "not an .npy"),
    "folder": (lambda p: p.mkdir(), "regular file"),
    "pipe": (os.mkfifo, "regular file"),
}  # fmt: skip


@pytest.mark.parametrize("kind", [pytest.param(k, marks=[pytest.mark.slow] if k == "bomb" else []) for k in BAD_ARRAYS])
def test_arrays_that_lie_are_refused(tmp_path: Path, kind: str) -> None:
    make, words = BAD_ARRAYS[kind]
    make(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=words):
        read_arrays(tmp_path / "a.npz")


def test_documents_are_bounded_in_size_and_depth(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, "größe"]}', encoding="utf-8")
    assert read_json(path) == {"a": [1, "größe"]}
    path.write_text("[" * 1_000_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json(path)
    with pytest.raises(ValueError, match="1,000,000 bytes, at most 999,999 are allowed"):
        read_bytes(path, 999_999)
    with pytest.raises(ValueError, match="21,474,836,480 bytes"):
        read_json(sparse(path))
    with pytest.raises(ValueError, match="21,474,836,480 bytes"):
        sha256_of(path, GIB)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match="regular file"):
        read_bytes(path)


MEASURED = """
import importlib, json, resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[2]), int(sys.argv[2])))
from pathlib import Path
from streamad.errors import StreamadError
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
path = Path(sys.argv[1])
m = importlib.import_module(sys.argv[3])
before, said = peak(), None
try:
    result = {call}
    said = repr(result)[:200]
except StreamadError as error:
    said = str(error)
print(json.dumps([said, (peak() - before) // 1024]))
"""


def tiff(path: Path) -> None:
    """A TIFF of 60000 × 60000 pixels that is 200 bytes long."""
    entries = [(256, 4, 60000), (257, 4, 60000), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 200), (278, 4, 60000)]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(90))


def matlab(path: Path) -> None:
    """A MATLAB 5 file of 3 GB of zeros, packed."""
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(bytes(1 << 24)) for _ in range(192)) + packer.flush()
    path.write_bytes(b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(data)) + data)


def packed(path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(bytes(1 << 24))


PNG = "m.read_gray(path)"
SPARSE = "21,474,836,480 bytes"
READERS: dict[str, tuple[str, Callable[[Path], object], str, str, str]] = {
    # file, how it is made, module, call, words
    "labels": (
        "a.npz", lambda p: zipped(p, "a.npy", npy("(900000000000,)")), "evaluation.datasets.files",
        "m.load_arrays(path)", "claims",
    ),
    "scores": ("a.csv", sparse, "evaluation.score_files", "m.read_scores(path)", SPARSE),
    "pickled": ("a.pkl", sparse, "evaluation.datasets.files", "m.load_arrays(path, allow_pickle=True)", SPARSE),
    "masks": (
        "a.npy", lambda p: p.write_bytes(npy("(2, 900000, 900000)", dtype="|u1")), "evaluation.datasets.masks",
        "next(m.array_masks(path, 'a'))", "claims",
    ),
    "MATLAB masks": (
        "a.mat", matlab, "evaluation.datasets.masks", "next(m.matlab_masks(path))", "when unpacked",
    ),
    "MNIST": ("a.gz", packed, "evaluation.images.idx", "m.read_idx(path, axes=3)", "when unpacked"),
    "image": ("a.png", lambda p: p.write_bytes(black_png(32000)), "sources", PNG, "None"),
    "wide image": ("a.tif", tiff, "sources", PNG, "None"),
    "sparse image": ("a.jpg", sparse, "sources", PNG, "None"),
    "MVTec image": (
        "a.png", lambda p: p.write_bytes(black_png(32000)), "evaluation.images.mvtec", "m._decode(path, 1)",
        "cannot be decoded",
    ),
    "calibration": ("a.json", sparse, "calibration", "m.Calibration.load(path)", SPARSE),
    "deep calibration": (
        "a.json", lambda p: p.write_text("[" * 3_000_000), "calibration", "m.Calibration.load(path)",
        "nested too deeply",
    ),
    "statistics": ("a.npz", sparse, "calibration", "m.PerLocationStatistics.load(path)", SPARSE),
    "result": (
        "a.json", lambda p: p.write_text('{"a":' * 1_000_000), "evaluation.result", "m.EvaluationRecord.load(path)",
        "nested too deeply",
    ),
    "UCSD labels": ("a.m", sparse, "evaluation.datasets.ucsd", "m.read_gt_frames(path)", SPARSE),
    "truth": ("a.json", sparse, "synthetic_scene.truth", "m.load_truth(path)", SPARSE),
}  # fmt: skip
SLOW = {"MATLAB masks", "MNIST", "image", "MVTec image"}
"""What takes seconds to make."""


@pytest.mark.parametrize("kind", [pytest.param(k, marks=[pytest.mark.slow] if k in SLOW else []) for k in READERS])
def test_what_others_give_is_read_in_bounded_memory(tmp_path: Path, kind: str) -> None:
    """Each reader in a process of its own that may allocate 2.5 GB, with its peak measured."""
    name, make, module, call, words = READERS[kind]
    if kind == "MATLAB masks":
        pytest.importorskip("scipy")
    make(tmp_path / name)
    program = MEASURED.replace("{call}", call)
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / name), str(5 * GIB // 2), f"streamad.{module}"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    said, megabytes = json.loads(ran.stdout)
    assert words in said
    assert "\n" not in said
    assert megabytes < 600
