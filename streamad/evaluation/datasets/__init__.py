"""Data sets: found by name or by folder, all read into `Dataset` and `Clip`."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from streamad.errors import DatasetError, suggestion
from streamad.evaluation.datasets.avenue import find_avenue
from streamad.evaluation.datasets.files import image_files
from streamad.evaluation.datasets.folder import find_folder
from streamad.evaluation.datasets.layout import Found
from streamad.evaluation.datasets.part import part_of
from streamad.evaluation.datasets.records import Clip, Dataset
from streamad.evaluation.datasets.shanghaitech import find_shanghaitech
from streamad.evaluation.datasets.ucsd import find_ped1, find_ped2

__all__ = ["DATASETS", "Clip", "Dataset", "find_dataset", "image_files", "load_dataset", "part_of"]


class LayoutDiscovery(Protocol):
    """A function that finds one data set in a folder."""

    def __call__(self, root: Path, *, label_set: str | None = None, allow_pickle: bool = False) -> Found:
        """See the modules of the data sets."""


DATASETS: dict[str, LayoutDiscovery] = {
    "avenue": find_avenue,
    "ped1": find_ped1,
    "ped2": find_ped2,
    "shanghaitech": find_shanghaitech,
}
"""Data sets by name. Any other data set is a folder in the layout of `folder`."""


def find_dataset(
    name_or_path: str | Path, data: Path | None = None, *, label_set: str | None = None, allow_pickle: bool = False
) -> Found:
    """Find a data set without counting its frames.

    Args:
        name_or_path: A name from `DATASETS`, or the folder of a data set in the layout of `folder`. A folder with the
            name of a known data set is read as that data set.
        data: If a name is given, the data set's folder, or the folder that contains it under its name.
        label_set: The labels to use, for data sets that have several.
        allow_pickle: Read pickled labels, with an unpickler that creates nothing but arrays.

    Raises:
        DatasetError: The name is unknown, or the folder is missing or contains no such data set; names the path.
    """
    if data is None:
        path = Path(name_or_path)
        if not path.is_dir():
            raise DatasetError(
                f"data set {str(name_or_path)!r} not found: it is not a folder, and a name needs --data",
                hint=suggestion(str(name_or_path), DATASETS)
                or f"specify a folder, or one of {', '.join(sorted(DATASETS))} with --data FOLDER",
            )
        known = DATASETS.get(path.resolve().name.lower())
        if known is None:
            return find_folder(path, label_set=label_set, allow_pickle=allow_pickle)
        return known(path, label_set=label_set, allow_pickle=allow_pickle)
    name = str(name_or_path).lower()
    if name not in DATASETS:
        raise DatasetError(
            f"unknown data set {str(name_or_path)!r}",
            hint=suggestion(name, DATASETS)
            or f"known data sets: {', '.join(sorted(DATASETS))}; for any other, specify its folder",
        )
    if not data.is_dir():
        raise DatasetError(f"the data set's folder {data} does not exist", hint="specify its path with --data")
    root = data / name if (data / name).is_dir() else data
    return DATASETS[name](root, label_set=label_set, allow_pickle=allow_pickle)


def load_dataset(
    name_or_path: str | Path,
    data: Path | None = None,
    *,
    label_set: str | None = None,
    allow_pickle: bool = False,
    keep_damaged: bool = False,
) -> Dataset:
    """Read a data set: count the frames of every clip, and read the labels of every test clip.

    Args: Those of `find_dataset`, and `keep_damaged`; see `Found.dataset`.

    Raises:
        DatasetError: As for `find_dataset`, or clips and labels disagree; names the path.
    """
    return find_dataset(name_or_path, data, label_set=label_set, allow_pickle=allow_pickle).dataset(
        keep_damaged=keep_damaged
    )
