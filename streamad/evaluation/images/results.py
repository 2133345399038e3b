"""ImageResult: the result of one training of the image benchmarks, one JSON file each."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from streamad.errors import DatasetError, UsageError
from streamad.files import read_json, write_json

FORMAT = 1


@dataclass(frozen=True)
class Hardware:
    """What a training ran on.

    Attributes:
        device: cpu, or the name of the GPU.
        cpus: Number of processors of the machine.
        threads: Number of CPU threads that torch used.
        machine: Architecture, such as x86_64.
        torch: Version of torch.
    """

    device: str
    cpus: int
    threads: int
    machine: str
    torch: str


@dataclass(frozen=True)
class ImageResult:
    """One training with one class normal, and its AUROC on the whole test split.

    Attributes:
        data_set: mnist, fashion-mnist, cifar10 or mvtec.
        layout: Which files it was read from.
        notes: What readers of the metrics must know about the data.
        classes: Names of all classes in the official order.
        data_sha256: SHA-256 of the normal class's training images and the test images, including labels.
        detector: Name of the detector.
        class_index: Position of the normal class in `classes`.
        seed: Seed of all random draws.
        given: Options given by the user; all others are the detector's defaults.
        description: All choices, as described by the task.
        samples: Number of training images.
        validation: Number of training images held out.
        test: Number of test images.
        auroc: 0..1 by score; the first is the headline, fixed beforehand.
        epochs: Number of epochs run.
        best_epoch: The epoch with the best validation result.
        rule: How the checkpoint was selected.
        seconds: Time of training with validation, without interruptions.
        scoring_seconds: Time of scoring all test images.
        hardware: What it ran on.
        version: Version of streamad.
        metrics: Metrics of data sets with masks, 0..1 by name; see `streamad.evaluation.images.defects`.
        format: Version of this file format.
    """

    data_set: str
    layout: str
    notes: tuple[str, ...]
    classes: tuple[str, ...]
    data_sha256: str
    detector: str
    class_index: int
    seed: int
    given: dict[str, Any]
    description: dict[str, Any]
    samples: int
    validation: int
    test: int
    auroc: dict[str, float]
    epochs: int
    best_epoch: int
    rule: str
    seconds: float
    scoring_seconds: float
    hardware: Hardware
    version: str
    metrics: dict[str, float] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def headline(self) -> str:
        """Name of the headline score."""
        return next(iter(self.auroc))


def run_name(classes: Sequence[str], k: int, seed: int) -> str:
    """Name of a run's files: "05-sandal-seed-1"."""
    return f"{k:02d}-{re.sub(r'[^a-z0-9]+', '-', classes[k].lower()).strip('-')}-seed-{seed}"


def write_result(folder: Path, result: ImageResult) -> Path:
    """Write the result's file atomically; returns its path.

    Raises:
        OutputError: The file cannot be written.
    """
    path = folder / f"{run_name(result.classes, result.class_index, result.seed)}.json"
    write_json(path, asdict(result))
    return path


def read_result(path: Path) -> ImageResult:
    """Read a result's file.

    Raises:
        DatasetError: The file is damaged or of another format.
    """
    try:
        document = read_json(path)
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise DatasetError(f"{path} is not a result of format {FORMAT}", hint="remove it, or choose another --out")
        result = TypeAdapter(ImageResult).validate_python(document)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise DatasetError(
            f"{path} is not a result of this version: {place}: {problem['msg']}",
            hint="remove it, or choose another --out",
        ) from error
    except (OSError, ValueError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{path} cannot be read: {error}", hint="remove it, or choose another --out") from error
    if not result.auroc or not 0 <= result.class_index < len(result.classes):
        raise DatasetError(f"{path} lacks a score or a class", hint="remove it, or choose another --out")
    return result


def read_results(folder: Path) -> list[ImageResult]:
    """Read all results in a folder, by seed and class.

    Raises:
        DatasetError: A file is damaged.
    """
    results = [read_result(path) for path in sorted(folder.glob("*-seed-*.json")) if not path.name.startswith(".")]
    return sorted(results, key=lambda result: (result.seed, result.class_index))


def identity(result: ImageResult) -> dict[str, Any]:
    """What two runs must share to belong to one evaluation."""
    return {"data set": result.data_set, "detector": result.detector, "options given": result.given}


def require_same(there: dict[str, Any], here: dict[str, Any], place: str) -> None:
    """Reject mixing results that were produced with different choices.

    Args:
        there: The choices behind what is at `place`.
        here: The current choices.
        place: The location, for the error message.

    Raises:
        UsageError: They differ; the message says how.
    """
    # Through JSON, because tuples come back from a file as lists.
    known, wanted = (json.loads(json.dumps(choice, default=str)) for choice in (there, here))
    differences = [
        f"{key} is {known.get(key, 'not named')!s:.80} there, {wanted.get(key, 'not named')!s:.80} here"
        for key in sorted(known.keys() | wanted.keys())
        if known.get(key) != wanted.get(key)
    ]
    if differences:
        raise UsageError(
            f"{place} was created with other options: {'; '.join(differences)}",
            hint="choose another --out, or remove the existing files to start over",
        )
