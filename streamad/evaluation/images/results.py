"""ImageResult: what one training of the image benchmarks came to, one JSON file each."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
        cpus: processors of the machine.
        threads: threads that torch used on the processor.
        machine: architecture, such as x86_64.
        torch: version of torch.
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
        layout: which files it was read from.
        notes: what a reader of the figures must know about the data.
        classes: names of all classes in the official order.
        data_sha256: over the normal class' training images and the test images, labels included.
        detector: its name.
        class_index: place of the normal class in `classes`.
        seed: of everything drawn.
        given: options given by the user; all others are the detector's defaults.
        description: everything that was chosen, as the task says it.
        samples: training images.
        validation: training images held out.
        test: test images.
        auroc: 0..1 by score; the first is the headline, fixed beforehand.
        epochs: epochs run.
        best_epoch: the epoch with the highest validation.
        rule: what picked the checkpoint.
        seconds: training with validation, without interruptions.
        scoring_seconds: scoring all test images.
        hardware: what it ran on.
        version: of streamad.
        format: of this file.
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
    format: int = FORMAT

    @property
    def headline(self) -> str:
        """The name of the score that counts."""
        return next(iter(self.auroc))


def run_name(classes: Sequence[str], k: int, seed: int) -> str:
    """Name of a run's files: "05-sandal-seed-1"."""
    return f"{k:02d}-{re.sub(r'[^a-z0-9]+', '-', classes[k].lower()).strip('-')}-seed-{seed}"


def write_result(folder: Path, result: ImageResult) -> Path:
    """Write the result's file, whole or not at all; returns its path.

    Raises:
        OutputError: it cannot be written.
    """
    path = folder / f"{run_name(result.classes, result.class_index, result.seed)}.json"
    write_json(path, asdict(result))
    return path


def read_result(path: Path) -> ImageResult:
    """Read a result's file.

    Raises:
        DatasetError: it is damaged or not of this format.
    """
    try:
        document = read_json(path)
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise DatasetError(f"{path} is no result of format {FORMAT}", hint="remove it, or give another --out")
        result = TypeAdapter(ImageResult).validate_python(document)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise DatasetError(
            f"{path} is no result of this version: {place}: {problem['msg']}",
            hint="remove it, or give another --out",
        ) from error
    except (OSError, ValueError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{path} cannot be read: {error}", hint="remove it, or give another --out") from error
    if not result.auroc or not 0 <= result.class_index < len(result.classes):
        raise DatasetError(f"{path} names no score or no class", hint="remove it, or give another --out")
    return result


def read_results(folder: Path) -> list[ImageResult]:
    """All results in a folder, by seed and class.

    Raises:
        DatasetError: one is damaged.
    """
    results = [read_result(path) for path in sorted(folder.glob("*-seed-*.json")) if not path.name.startswith(".")]
    return sorted(results, key=lambda result: (result.seed, result.class_index))


def identity(result: ImageResult) -> dict[str, Any]:
    """What two runs must share to be of one evaluation."""
    return {"data set": result.data_set, "detector": result.detector, "options given": result.given}


def require_same(there: dict[str, Any], here: dict[str, Any], place: str) -> None:
    """Refuse to mix what was made under different choices.

    Args:
        there: what was chosen for what lies at `place`.
        here: what is chosen now.
        place: named in the error.

    Raises:
        UsageError: they differ; the message says in what.
    """
    # Through JSON, since tuples come back from a file as lists.
    known, wanted = (json.loads(json.dumps(choice, default=str)) for choice in (there, here))
    differences = [
        f"{key} is {known.get(key, 'not named')!s:.80} there, {wanted.get(key, 'not named')!s:.80} here"
        for key in sorted(known.keys() | wanted.keys())
        if known.get(key) != wanted.get(key)
    ]
    if differences:
        raise UsageError(
            f"{place} was made with other options: {'; '.join(differences)}",
            hint="give another --out, or remove what is there to start afresh",
        )
