"""Fitting the next version of a model, in a process of its own.

In a thread of the watch, the fit would hold Python's lock at the lowest priority, which delays frames on a busy
machine, and its matrix products would use all cores. A process has one core at the lowest priority, its memory is
returned, and whatever befalls it, the watch goes on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from streamad.bundle import CALIBRATION, PLACE, load_bundle, write_manifest
from streamad.calibration import AlertPolicySpec, Calibration
from streamad.calibration.false_alarms import FalseAlarm
from streamad.detectors import FittedDetector, detector_of
from streamad.errors import StreamadError, UsageError
from streamad.formatting import span
from streamad.sources.limits import end_with_parent
from streamad.workflows.fit import calibrate_fit
from streamad.zones import ZoneSpec

NICE = 19
"""Lowest priority of a process."""

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class LearnJob:
    """What to fit.

    Attributes:
        base: Folder of the version to learn on from.
        watched: See `streamad.training.watched`.
        out: Empty folder of the next version.
        camera: The camera's id, for the record.
        alerts_per_day: Budget of false alerts.
        rules: Duration, cooldown and hysteresis of the alerts, and the other fields of `AlertPolicySpec`.
        false_alarms: Alerts that the operator marked as false, as the fields of `FalseAlarm`.
        zones: The zones that the video was watched with, as the fields of `ZoneSpec`.
    """

    base: str
    watched: str
    out: str
    camera: str
    alerts_per_day: float
    rules: dict[str, Any]
    false_alarms: Sequence[Sequence[float]] = ()
    zones: Sequence[dict[str, Any]] = ()


class LearnError(StreamadError, RuntimeError):
    """The next version could not be made."""


class LearnProcess:
    """The process of one job. It must be started from the thread that waits for it, whose end is its end too."""

    def __init__(self, job: LearnJob) -> None:
        entry = f"import sys; sys.path[:] = {sys.path!r}; from streamad.workflows.learn_on.job import main; main()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", entry],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **ONE_THREAD},
            start_new_session=True,
            text=True,
        )
        self._job = job

    def wait(self) -> None:
        """Wait until the next version is complete.

        Raises:
            LearnError: It is not.
        """
        out, err = self._process.communicate(json.dumps(asdict(self._job)))
        if self._process.returncode == 0:
            return
        last = next((line for line in reversed(err.splitlines()) if line.strip()), "")
        try:
            message = str(json.loads(out)["error"])
        except (ValueError, KeyError, TypeError):
            message = last or f"its process ended with {self._process.returncode}"
        raise LearnError(message)

    def stop(self) -> None:
        """End it now."""
        self._process.kill()


def learn_next(job: LearnJob) -> Calibration:
    """Fit and calibrate the next version of a model, and write it, complete, to the job's folder.

    Raises:
        StreamadError: Too little moved, the base cannot be read, or the folder cannot be written to.
    """
    base, out = load_bundle(job.base), Path(job.out)
    detector = detector_of(base)
    if not isinstance(detector, FittedDetector):
        raise UsageError(f"{detector.name} cannot learn on from watched video")
    before = float(base.manifest.training.options.get("seconds", 0.0))
    alarms = [FalseAlarm(*alarm) for alarm in job.false_alarms]
    fit = detector.learn_on(base, Path(job.watched), out, false_alarms=alarms)
    after = float(fit.bundle.manifest.training.options.get("seconds", 0.0))
    calibration = calibrate_fit(
        fit,
        source=f"{base.manifest.training.data}: {span(after)} of normal video, the last {span(after - before)} of them "
        f"watched by {job.camera}, each part scored by a model of the others",
        alerts_per_day=job.alerts_per_day,
        rules=AlertPolicySpec.model_validate(job.rules),
        zones=[ZoneSpec.model_validate(zone) for zone in job.zones],
    )
    calibration.save(out / CALIBRATION)
    if base.place_path is not None:
        shutil.copy2(base.place_path, out / PLACE)
    write_manifest(out, fit.bundle.manifest)
    return calibration


def main() -> None:
    """Run the job on standard input."""
    end_with_parent()
    os.nice(NICE)
    job = LearnJob(**json.loads(sys.stdin.read()))
    try:
        learn_next(job)
    except StreamadError as error:
        sys.stdout.write(json.dumps({"error": str(error)}))
        sys.exit(1)
