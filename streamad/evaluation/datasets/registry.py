"""load_dataset: a data set by its name or by its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from streamad.errors import DatasetError
from streamad.evaluation.datasets.avenue import find_avenue
from streamad.evaluation.datasets.folder import find_folder
from streamad.evaluation.datasets.layout import Found
from streamad.evaluation.datasets.ped1 import find_ped1
from streamad.evaluation.datasets.ped2 import find_ped2
from streamad.evaluation.datasets.records import Dataset
from streamad.evaluation.datasets.shanghaitech import find_shanghaitech


class LayoutDiscovery(Protocol):
    """Finds one data set in a folder."""

    def __call__(self, root: Path, *, label_set: str | None = None, allow_pickle: bool = False) -> Found:
        """See the modules."""


DATASETS: dict[str, LayoutDiscovery] = {
    "avenue": find_avenue,
    "ped1": find_ped1,
    "ped2": find_ped2,
    "shanghaitech": find_shanghaitech,
}
"""Data sets by name. Any other is a folder in the layout of `folder`."""


def find_dataset(
    name_or_path: str | Path, data: Path | None = None, *, label_set: str | None = None, allow_pickle: bool = False
) -> Found:
    """Find a data set without counting its frames.

    Args:
        name_or_path: a name of `DATASETS`, or the folder of a data set in the layout of `folder` (a folder
            that is called like a known set is read as that set).
        data: for a name: the data set's folder, or the folder that holds it under its name.
        label_set: which labels, where a set has several.
        allow_pickle: read pickled labels, by an unpickler that makes arrays and nothing else.

    Raises:
        DatasetError: an unknown name, a missing folder, or one that holds no such data set; names the path.
    """
    if data is None:
        path = Path(name_or_path)
        if not path.is_dir():
            raise DatasetError(
                f"no data set {str(name_or_path)!r}: neither a folder nor a name with its folder",
                hint=f"give a folder, or one of {', '.join(sorted(DATASETS))} with --data FOLDER",
            )
        known = DATASETS.get(path.resolve().name.lower())
        if known is None:
            return find_folder(path, label_set=label_set, allow_pickle=allow_pickle)
        return known(path, label_set=label_set, allow_pickle=allow_pickle)
    name = str(name_or_path).lower()
    if name not in DATASETS:
        raise DatasetError(
            f"unknown data set {str(name_or_path)!r}",
            hint=f"known are {', '.join(sorted(DATASETS))}; any other is read by its folder's path",
        )
    if not data.is_dir():
        raise DatasetError(f"the data set's folder {data} does not exist", hint="give its path with --data")
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
    """Read a data set: every clip's frames counted, every test clip's labels read.

    Args: those of `find_dataset`, and `keep_damaged`, see `Found.dataset`.

    Raises:
        DatasetError: as `find_dataset`, or clips and labels that disagree; names the path.
    """
    return find_dataset(name_or_path, data, label_set=label_set, allow_pickle=allow_pickle).dataset(
        keep_damaged=keep_damaged
    )
