"""Data sets: one module a data set, all read into `Dataset` and `Clip`."""

from streamad.evaluation.datasets.files import image_files
from streamad.evaluation.datasets.records import Clip, Dataset
from streamad.evaluation.datasets.registry import DATASETS, find_dataset, load_dataset

__all__ = ["DATASETS", "Clip", "Dataset", "find_dataset", "image_files", "load_dataset"]
