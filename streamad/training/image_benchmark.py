"""Image benchmarks: for every seed and class, train with that class as the normal one, and measure the test AUROC."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from streamad import __version__
from streamad.errors import DatasetError, UsageError
from streamad.evaluation.images import ImageBenchmark, OneClassSplit, check_training_images
from streamad.evaluation.images.defects import defect_metrics, full_size
from streamad.evaluation.images.results import (
    Hardware,
    ImageResult,
    identity,
    read_results,
    require_same,
    run_name,
    write_result,
)
from streamad.evaluation.metrics import roc_auc
from streamad.files import locked, read_json, write_atomic, write_json
from streamad.training.loop import EpochReport, ImageTask, run_loop
from streamad.visual.defect import defect_picture

if TYPE_CHECKING:  # detectors are built on training
    from streamad.detectors.base import Detector

HELD_OUT = 150
"""Training images held out for validation, as in the ADACL paper."""
HELD_OUT_SHARE = 10
"""At most one in this many training images is held out: MVTec's categories have 60 to 391 images."""
PICTURES = "pictures"
"""In the folder of the results: a folder for each training, with test images and their anomaly maps."""
TINTED = 0.99
"""Share of the pixels of held-out normal images that are not tinted in these pictures."""
CHOICES = "run.json"
"""In a checkpoint's folder: the options that the unfinished training was started with."""


@dataclass(frozen=True)
class BenchmarkProgress:
    """Progress of a benchmark.

    Attributes:
        run: Trainings finished before this one, including those of earlier runs.
        runs: Trainings in all.
        class_name: Normal class of this training.
        seed: Seed of this training.
        share: Share of this training that is done, 0 to 1.
        remaining_seconds: Estimated time until all trainings are done. None: not known yet.
        epoch: Report of the epoch that just ended, if one did.
        result: Result of the training, if it just ended.
    """

    run: int
    runs: int
    class_name: str
    seed: int
    share: float
    remaining_seconds: float | None = None
    epoch: EpochReport | None = None
    result: ImageResult | None = None


def run_image_benchmark(
    benchmark: ImageBenchmark,
    detector: Detector,
    *,
    seeds: Sequence[int],
    out: Path,
    classes: Sequence[int] | None = None,
    device: str = "cpu",
    options: Mapping[str, Any] | None = None,
    threads: int | None = None,
    progress: Callable[[BenchmarkProgress], None] | None = None,
) -> list[ImageResult]:
    """Train and test a detector with each class as the normal one, for every seed.

    All data are checked before the first training. Each training writes a result file of its own to `out`, and pictures
    of the test images with their anomaly maps to `out`/pictures if the data set has masks. Run again
    with the same `out`, finished trainings are skipped, and an interrupted one resumes after its last epoch. Several
    processes with the same `out` share the work.

    Args:
        benchmark: The data set.
        detector: The detector to train.
        seeds: At least one; each seeds the held-out images, the weights and all random choices.
        out: Folder of the results.
        classes: Indices of the classes in the benchmark's order. None: all that are present.
        device: "cpu", "cuda" or "cuda:N".
        options: The detector's options by name; the others have its defaults for this data set.
        threads: CPU threads of torch. None: unchanged.
        progress: Called after each step, epoch and training.

    Returns:
        The requested results by seed and class, without those that another process is working on.

    Raises:
        UsageError: Unknown class or option, the detector cannot be trained on images, or `out` has results made with
            other options.
        DatasetError: Images or labels that cannot be used, or a damaged result in `out`.
        OutputError: `out` cannot be written to.
    """
    present = range(len(benchmark.classes)) if benchmark.present is None else benchmark.present
    chosen = present if classes is None else classes
    _require_distinct("seed", seeds)
    _require_distinct("class", chosen)
    if min(seeds) < 0:
        raise UsageError(f"the seed {min(seeds)} is negative", hint="give seeds of 0 or more")
    if threads is not None:
        torch.set_num_threads(threads)
    plan = _Plan(benchmark, detector, dict(options or {}), device, out)
    results = plan.check(chosen, seeds)
    pairs = [(seed, k) for seed in seeds for k in chosen]
    clock = _Clock(len(pairs) - len(results))
    for seed, k in pairs:
        if (seed, k) in results:
            continue
        clock.next()

        def tell(
            share: float,
            epoch: EpochReport | None = None,
            result: ImageResult | None = None,
            before: float | None = None,
            seed: int = seed,
            k: int = k,
        ) -> None:
            left = clock.remaining(share, share if before is None else before)
            if progress is not None:
                name = benchmark.classes[k]
                progress(BenchmarkProgress(len(results), len(pairs), name, seed, share, left, epoch, result))

        found = plan.run(k, seed, tell)
        if found is not None:
            tell(1.0, result=found)
            results[seed, k] = found
    return [results[pair] for pair in pairs if pair in results]


def held_out(count: int, seed: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the rows to train on and those to validate with, both ascending; they depend on the seed only."""
    rows = np.random.default_rng((seed, count)).permutation(count)
    validation = min(HELD_OUT, max(1, count // HELD_OUT_SHARE))
    return np.sort(rows[validation:]), np.sort(rows[:validation])


class _Clock:
    """Estimates the remaining time from that of the trainings of this process."""

    def __init__(self, runs: int) -> None:
        self._runs = runs
        self._run = -1
        self._started = time.monotonic()
        self._given = 0.0  # share done by earlier runs of resumed trainings
        self._first: float | None = None

    def next(self) -> None:
        """Start the next training."""
        self._run += 1
        self._given += self._first or 0.0
        self._first = None

    def remaining(self, share: float, before: float) -> float | None:
        """Return the estimated remaining seconds; None if nothing was done here yet.

        Args:
            share: Share of this training that is done.
            before: The same before the reported step.
        """
        if self._first is None:
            self._first = before
        done = self._run + share - self._given - self._first
        elapsed = time.monotonic() - self._started
        return (self._runs - self._run - share) * elapsed / done if done > 0 else None


@dataclass(frozen=True)
class _Plan:
    """One benchmark: what is trained, on what, and where the results are kept."""

    benchmark: ImageBenchmark
    detector: Detector
    options: dict[str, Any]
    device: str
    out: Path

    def check(self, classes: Sequence[int], seeds: Sequence[int]) -> dict[tuple[int, int], ImageResult]:
        """Check all data and everything in `out`, and return the finished results by (seed, class)."""
        there = {(result.seed, result.class_index): result for result in read_results(self.out)}
        here = {"data set": self.benchmark.name, "detector": self.detector.name, "options given": self.options}
        for result in there.values():
            require_same(identity(result), here, str(self.out))
        finished = {}
        for k in classes:
            split = self._split(k)
            digest = split.sha256()
            for number, seed in enumerate(seeds):
                old, folder = there.get((seed, k)), self._folder(k, seed)
                begun = (folder / CHOICES).exists()
                if old is None and not begun and (number > 0 or k != classes[0]):
                    continue
                # Made for the first training in any case, so that wrong options are found at once.
                wanted = _choices(self._task(split, seed), digest)
                if old is not None:
                    known = {**old.description, "data_sha256": old.data_sha256}
                    require_same(known, wanted, str(folder.with_suffix(".json")))
                    finished[seed, k] = old
                else:
                    _require_unchanged(folder, wanted)
        return finished

    def run(self, k: int, seed: int, tell: Callable[..., None]) -> ImageResult | None:
        """Run one training and its test; None if another process is working on it."""
        folder = self._folder(k, seed)
        with locked(folder) as mine:
            if not mine:
                return None
            # Another process may have finished it since `check`.
            path = folder.with_suffix(".json")
            if path.exists():
                shutil.rmtree(folder)
                return next(r for r in read_results(self.out) if (r.seed, r.class_index) == (seed, k))
            split = self._split(k)
            task = self._task(split, seed)
            choices = _choices(task, split.sha256())
            _require_unchanged(folder, choices)
            write_json(folder / CHOICES, choices)
            rows, validation = held_out(len(split.train), seed)
            loop = run_loop(
                task,
                samples=len(rows),
                epochs=task.epochs,
                patience=task.patience,
                seed=seed,
                folder=folder,
                progress=lambda report: tell(report.epoch / report.epochs, report),
                step_progress=lambda done, total: tell(done / total, before=(done - 1) / total),
            )
            started = time.monotonic()
            scores = task.score_images(split.test)
            scoring = time.monotonic() - started
            auroc = _aurocs(scores, split, self.detector.name)
            metrics = self._metrics(task, split, validation, scores[next(iter(scores))], k, seed)
            result = ImageResult(
                data_set=self.benchmark.name,
                layout=self.benchmark.layout,
                notes=self.benchmark.notes,
                classes=self.benchmark.classes,
                data_sha256=choices.pop("data_sha256"),
                detector=self.detector.name,
                class_index=k,
                seed=seed,
                given=_plain(self.options),
                description=choices,
                samples=len(rows),
                validation=len(validation),
                test=len(split.test),
                auroc=auroc,
                epochs=loop.epochs_run,
                best_epoch=loop.best_epoch,
                rule=_rule(task, len(validation)),
                seconds=sum(epoch["seconds"] for epoch in loop.history),
                scoring_seconds=scoring,
                hardware=_hardware(self.device),
                version=__version__,
                metrics=metrics,
            )
            write_result(self.out, result)
            shutil.rmtree(folder)
        return result

    def _metrics(
        self,
        task: ImageTask,
        split: OneClassSplit,
        validation: npt.NDArray[np.intp],
        scores: npt.NDArray[np.float64],
        k: int,
        seed: int,
    ) -> dict[str, float]:
        """Return the metrics of a data set with masks, and write a picture of each test image with its anomaly map."""
        if split.masks is None:
            return {}
        held_out = split.train[validation]
        maps = task.anomaly_maps(split.test)
        usual = next(iter(task.score_images(held_out).values()))
        if maps is not None:
            size = split.masks.shape[1:]
            normal = task.anomaly_maps(held_out)
            assert normal is not None
            low = float(np.quantile(full_size(normal, size), TINTED))
            folder = self.out / PICTURES / run_name(self.benchmark.classes, k, seed)
            names = split.names or tuple(f"{number:05d}" for number in range(len(maps)))
            for name, image, one, mask in zip(names, split.test, full_size(maps, size), split.masks, strict=True):
                picture = defect_picture(image, one, mask, low=low, high=float(maps.max()))
                write_atomic(folder / f"{name.replace('/', '-')}.png", picture)
        return defect_metrics(scores, split.labels, usual, maps, split.masks)

    def _split(self, k: int) -> OneClassSplit:
        """Return the split of a class after checking that it can be trained and tested on."""
        split = self.benchmark.split(k)
        what = f"{self.benchmark.name}, class {self.benchmark.classes[k]}"
        check_training_images(split.train, what)
        if len(np.unique(split.labels)) < 2:
            raise DatasetError(
                f"{what}: the test images are all {'anomalies' if len(split.labels) and split.labels[0] else 'normal'}",
                hint="an AUROC needs both: are the test files complete?",
            )
        return split

    def _task(self, split: OneClassSplit, seed: int) -> ImageTask:
        rows, validation = held_out(len(split.train), seed)
        return self.detector.image_task(
            split.train[rows],
            split.train[validation],
            data_set=self.benchmark.name,
            seed=seed,
            device=self.device,
            options=self.options,
        )

    def _folder(self, k: int, seed: int) -> Path:
        """Return the folder of an unfinished training; its result's file has the same name with .json."""
        return self.out / f"{run_name(self.benchmark.classes, k, seed)}.training"


def _choices(task: ImageTask, digest: str) -> dict[str, Any]:
    """What a training must share with the one that it resumes, or whose result it reuses."""
    return {**_plain(task.description()), "data_sha256": digest}


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document as a JSON file would return it."""
    plain: dict[str, Any] = json.loads(json.dumps(document, default=str))
    return plain


def _require_unchanged(folder: Path, choices: dict[str, Any]) -> None:
    """Refuse to resume a training that was started with other options; without a record there is nothing to compare."""
    path = folder / CHOICES
    try:
        known = read_json(path)
    except (FileNotFoundError, NotADirectoryError):  # not started, or just finished by another process
        return
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} cannot be read: {error}", hint="remove its folder to start this training over"
        ) from error
    require_same(known if isinstance(known, dict) else {}, choices, str(folder))


def _aurocs(scores: Mapping[str, npt.NDArray[np.float64]], split: OneClassSplit, detector: str) -> dict[str, float]:
    for name, values in scores.items():
        broken = int(np.count_nonzero(~np.isfinite(values)))
        if broken:
            raise UsageError(
                f"{detector}: {broken} of {len(values)} test images have no finite {name}",
                hint="the training diverged: lower its learning rate with --option",
            )
    return {name: roc_auc(values, split.labels) for name, values in scores.items()}


def _rule(task: ImageTask, validation: int) -> str:
    if task.keep == "last":
        return f"the last of {task.epochs} epochs"
    return (
        f"the epoch with the highest validation on {validation} held-out normal images, "
        f"of at most {task.epochs} epochs (patience {task.patience})"
    )


def _hardware(device: str) -> Hardware:
    kind = torch.device(device)
    return Hardware(
        device=torch.cuda.get_device_name(kind) if kind.type == "cuda" else "cpu",
        cpus=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        machine=platform.machine(),
        torch=torch.__version__,
    )


def _require_distinct(what: str, values: Sequence[int]) -> None:
    if not values:
        raise UsageError(f"no {what} was given", hint=f"give at least one {what}")
    if len(set(values)) < len(values):
        raise UsageError(f"a {what} was given twice: {', '.join(map(str, values))}", hint=f"name each {what} once")
