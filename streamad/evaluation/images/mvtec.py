"""MVTec AD in its official folders, one category per class, read on demand.

    CATEGORY/train/good/*.png
    CATEGORY/test/good/*.png, CATEGORY/test/DEFECT/*.png
    CATEGORY/ground_truth/DEFECT/*_mask.png

Images are read as RGB and resized to a square with INTER_AREA, which avoids aliasing. The images of a category must
have one size, as the official ones do: after resizing from several sizes, a network could tell images apart by the
traces of their size.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from streamad.errors import DatasetError, UsageError
from streamad.evaluation.images.official import CLASSES, MVTEC_COUNTS
from streamad.evaluation.images.records import ImageBenchmark, Images, OneClassSplit
from streamad.files import read_bytes
from streamad.sources.images import MAX_BYTES

SIDE = 256
GOOD = "good"
OFFICIAL_WIDTH = 700
"""Width of the smallest official images (metal_nut), pixels."""


def categories_in(folder: Path) -> tuple[str, ...]:
    """Official categories that the folder contains."""
    return tuple(name for name in CLASSES["mvtec"] if (folder / name / "train").is_dir())


def load_mvtec(folder: Path, *, side: int = SIDE) -> ImageBenchmark:
    """Open MVTec AD; its images are read when a category is requested.

    Args:
        folder: Folder of the categories' folders; missing categories can be left out by the caller.
        side: Side in pixels of the square that images are resized to.

    Raises:
        UsageError: The side is less than 8 pixels.
        DatasetError: There is no official category.
    """
    if side < 8:
        raise UsageError(
            f"images cannot be resized to {side} pixels", hint="use a side of 8 or more; 256 is the default"
        )
    present = categories_in(folder)
    if not present:
        raise DatasetError(f"{folder} contains no category of MVTec AD", hint="expected e.g. bottle/train/good/000.png")
    notes = tuple(note for name in present for note in _count_notes(folder / name))
    return ImageBenchmark(
        "mvtec",
        CLASSES["mvtec"],
        f"official folders, resized to {side}×{side}",
        lambda k: read_category(folder / CLASSES["mvtec"][k], side=side),
        notes,
        tuple(CLASSES["mvtec"].index(name) for name in present),
    )


def read_category(folder: Path, *, side: int = SIDE) -> OneClassSplit:
    """Read all images of one category, with masks if the category has `ground_truth/`.

    Args:
        folder: Folder of the category.
        side: Side of the square that images are resized to.

    Raises:
        DatasetError: A folder, an image, or a mask is missing, unreadable, or truncated, images have several sizes, or
            all test images are of one kind.
    """
    if not folder.is_dir():
        raise DatasetError(
            f"the category {folder.name} is missing: looked for {folder}",
            hint="download it, or select other categories with --classes",
        )
    sizes: dict[tuple[int, int], Path] = {}
    train = _read(_files(folder / "train" / GOOD), side, sizes)
    defects = sorted(path.name for path in _folders(folder / "test"))
    if GOOD not in defects or len(defects) < 2:
        raise DatasetError(
            f"{folder / 'test'} contains {', '.join(defects) or 'no folders'}; "
            f"expected {GOOD} and at least one kind of defect"
        )
    truth = folder / "ground_truth"
    images, labels, masks, names = [], [], [], list[str]()
    for defect in defects:
        files = _files(folder / "test" / defect)
        images.append(_read(files, side, sizes))
        labels += [int(defect != GOOD)] * len(files)
        names += [f"{defect}/{path.stem}" for path in files]
        masks.append(_masks(files, truth / defect if defect != GOOD else None, side) if truth.is_dir() else None)
    known = [mask for mask in masks if mask is not None]
    return OneClassSplit(
        train,
        np.concatenate(images),
        np.asarray(labels, np.uint8),
        np.concatenate(known) if known else None,
        tuple(names),
    )


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DatasetError(
            f"{folder} does not exist", hint="expected train/good, test/good and test/DEFECT in a category"
        )
    return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.glob("*.png") if not path.name.startswith("."))
    if not files:
        raise DatasetError(f"{folder} contains no .png images", hint="was the archive unpacked completely?")
    return files


def _read(files: list[Path], side: int, sizes: dict[tuple[int, int], Path]) -> Images:
    """(n, 3, side, side) images; `sizes` remembers the first file with the category's single size."""
    images = np.empty((len(files), 3, side, side), np.uint8)
    for number, path in enumerate(files):
        picture = _decode(path, cv2.IMREAD_COLOR)
        size = (picture.shape[1], picture.shape[0])
        sizes.setdefault(size, path)
        if len(sizes) > 1:
            (first, where), _ = sizes.items()
            raise DatasetError(
                f"{path} is {size[0]}×{size[1]} pixels, but {where} is {first[0]}×{first[1]}",
                hint="the images of a category must have one size: crop or resize them, or download the category again",
            )
        small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        images[number] = cv2.cvtColor(small, cv2.COLOR_BGR2RGB).transpose(2, 0, 1)
    return images


def _masks(files: list[Path], folder: Path | None, side: int) -> Images:
    masks = np.zeros((len(files), side, side), np.uint8)
    for number, path in enumerate(files if folder is not None else ()):
        assert folder is not None
        mask = _decode(folder / f"{path.stem}_mask.png", cv2.IMREAD_GRAYSCALE)
        masks[number] = cv2.resize(mask, (side, side), interpolation=cv2.INTER_NEAREST) > 0
    return masks


def _decode(path: Path, mode: int) -> Images:
    try:
        content = read_bytes(path, MAX_BYTES)
    except ValueError as error:
        raise DatasetError(f"{path} is not an image of MVTec AD: {error}", hint="download it again") from error
    except OSError as error:
        raise DatasetError(
            f"cannot read {path}: {error.strerror or error}", hint="was the archive unpacked completely?"
        ) from error
    _check_png(content, path)
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), mode)
    except cv2.error:  # over MAX_PIXELS
        picture = None
    if picture is None:
        raise DatasetError(f"{path} is a PNG file that cannot be decoded", hint="download it again")
    return np.asarray(picture, np.uint8)


def _check_png(content: bytes, path: Path) -> None:
    """Reject a truncated or damaged PNG file: OpenCV decodes what it can and fills the rest with black."""
    try:
        with (
            warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
            Image.open(io.BytesIO(content), formats=["PNG"]) as image,
        ):
            image.verify()  # compares the checksums of all image data
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"{path} cannot be decoded: it has more pixels than any camera", hint="check the file"
        ) from error
    except Exception as error:  # Pillow documents no set of errors; damaged files raise several kinds
        what = "is empty" if not content else f"is not a complete PNG file: {error}"
        raise DatasetError(
            f"{path} {what}", hint="the download or copy may have been interrupted; download the file again"
        ) from error


def _count_notes(folder: Path) -> list[str]:
    found = (
        len(list((folder / "train" / GOOD).glob("*.png"))),
        len(list((folder / "test" / GOOD).glob("*.png"))),
        sum(1 for path in (folder / "test").glob("*/*.png") if path.parent.name != GOOD),
    )
    official = MVTEC_COUNTS[folder.name]
    width = min((_width(path) for path in (folder / "train" / GOOD).glob("*.png")), default=OFFICIAL_WIDTH)
    notes = [f"{folder.name}: files of {width} pixels; the official ones have 700 to 1024"]
    if width >= OFFICIAL_WIDTH:
        notes = []
    if found == official:
        return notes
    words = [f"{n[0]} training, {n[1]} good and {n[2]} defective test images" for n in (found, official)]
    return [f"{folder.name} is not the official split: {words[0]}; the official one has {words[1]}", *notes]


def _width(path: Path) -> int:
    """Width that the header of a PNG file states, pixels; a file without one is reported when it is read."""
    with path.open("rb") as file:
        header = file.read(24)
    return int.from_bytes(header[16:20], "big") if len(header) == 24 else OFFICIAL_WIDTH
