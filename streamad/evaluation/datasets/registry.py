"""load_dataset: a data set by its name or by its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from streamad.errors import DatasetError
from streamad.evaluation.datasets.avenue import load_avenue
from streamad.evaluation.datasets.folder import load_folder
from streamad.evaluation.datasets.ped2 import load_ped2
from streamad.evaluation.datasets.records import Dataset

DATASETS: dict[str, Callable[[Path], Dataset]] = {"avenue": load_avenue, "ped2": load_ped2}
"""Data sets by name. Any other is a folder in the layout of `folder`."""


def load_dataset(name_or_path: str | Path, data: Path | None = None) -> Dataset:
    """Read a data set.

    Args:
        name_or_path: a name of `DATASETS`, or the folder of a data set in the layout of `folder` (a folder
            that is called like a known set is read as that set).
        data: for a name: the data set's folder, or the folder that holds it under its name.

    Raises:
        DatasetError: an unknown name, a missing folder, or a data set that its loader refuses; names the
            path.
    """
    if data is None:
        path = Path(name_or_path)
        if not path.is_dir():
            raise DatasetError(
                f"no data set {str(name_or_path)!r}: neither a folder nor a name with its folder",
                hint=f"give a folder, or one of {', '.join(sorted(DATASETS))} with --data FOLDER",
            )
        return DATASETS.get(path.resolve().name.lower(), load_folder)(path)
    name = str(name_or_path).lower()
    if name not in DATASETS:
        raise DatasetError(
            f"unknown data set {str(name_or_path)!r}",
            hint=f"known are {', '.join(sorted(DATASETS))}; any other is read by its folder's path",
        )
    if not data.is_dir():
        raise DatasetError(f"the data set's folder {data} does not exist", hint="give its path with --data")
    return DATASETS[name](data / name if (data / name).is_dir() else data)
