"""Per-location calibration: score each cell of an anomaly map relative to what is normal at its location.

See docs/concepts/per-location-calibration.md. The statistics are fitted in `per_location_fit`.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from streamad.array_files import read_arrays
from streamad.errors import CalibrationError
from streamad.files import write_atomic

FORMAT = "streamad-local"
VERSION = 1

Map = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PerLocationSpec:
    """Parameters of per-location calibration, chosen on normal video.

    Attributes:
        pool: Side of the square of cells over which scores are averaged first, odd; 1 disables averaging.
        neighbors: Side of the square of cells toward which a cell's statistics are shrunk first, odd.
        prior_samples: Number of samples that the wider level counts for when a narrower one is shrunk toward it.
        tail_share: Share of a cell's normal scores that the tail is fitted to, in (0, 0.5].
        share: The frame's score is the mean evidence of this share of cells, the highest ones, in (0, 1].
        median_frames: Length in frames of the causal median over frame scores; 1 disables it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False, validate_by_name=True)

    pool: int = 1
    neighbors: Annotated[int, Field(alias="neighbours")] = 3  # its name in files, whose digest covers it
    prior_samples: float = 500.0
    tail_share: float = 0.1
    share: float = 0.03
    median_frames: int = 5

    def __post_init__(self) -> None:
        for name in ("pool", "neighbors"):
            value = getattr(self, name)
            if value < 1 or value % 2 == 0:
                raise CalibrationError(f"per-location calibration: {name} must be odd and at least 1, got {value}")
        if self.median_frames < 1:
            raise CalibrationError(
                f"per-location calibration: median_frames must be at least 1, got {self.median_frames}"
            )
        if not 0 < self.share <= 1:
            raise CalibrationError(f"per-location calibration: share must lie in (0, 1], got {self.share}")
        if not (math.isfinite(self.prior_samples) and self.prior_samples > 0):
            raise CalibrationError(f"per-location calibration: prior_samples must be > 0, got {self.prior_samples}")
        if not 0 < self.tail_share <= 0.5:
            raise CalibrationError(f"per-location calibration: tail_share must lie in (0, 0.5], got {self.tail_share}")


_SPEC = TypeAdapter(PerLocationSpec)


@dataclass(frozen=True, eq=False)
class PerLocationStatistics:
    """How each cell of a camera's view scores in normal video: one curve per cell from raw score to evidence.

    Attributes:
        spec: The parameters used.
        levels: (K,) float32, evidence −log10 p at the points of the curves, increasing. Curves are extrapolated
            linearly beyond the last point.
        curves: (K, rows, cols) float32, raw scores at these points, increasing along K.
        picture: (K,) float32, the curve of the whole image, used for anomaly maps of another size.
        frames: Number of frames of normal video that the curves were fitted to.
    """

    spec: PerLocationSpec
    levels: Map
    curves: Map
    picture: Map
    frames: int

    def __post_init__(self) -> None:
        k = self.levels.size
        if k < 2 or self.curves.ndim != 3 or self.curves.shape[0] != k or self.picture.shape != (k,):
            raise CalibrationError(
                f"per-location statistics are inconsistent: {k} levels, curves {self.curves.shape}, picture "
                f"{self.picture.shape}"
            )
        good = all(np.isfinite(a).all() for a in (self.levels, self.curves, self.picture))
        good = good and all((np.diff(a, axis=0) > 0).all() for a in (self.levels, self.curves, self.picture))
        if not good:
            raise CalibrationError("per-location statistics are damaged: values out of range", hint="calibrate again")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PerLocationStatistics) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, cols) of the anomaly maps that the statistics describe."""
        return self.curves.shape[1:]

    @property
    def sha256(self) -> str:
        """SHA-256 of the content, 64 hexadecimal digits; it does not depend on how the file was written."""
        content = hashlib.sha256(json.dumps(self._header(), sort_keys=True).encode())
        for name, array in self._arrays().items():
            content.update(name.encode() + str((array.shape, array.dtype.str)).encode() + array.tobytes())
        return content.hexdigest()

    def pooled(self, anomaly_map: Map) -> Map:
        """Average the anomaly map over squares of `spec.pool` cells, as for the fit."""
        return pooled(anomaly_map, self.spec.pool)

    def evidence(self, anomaly_map: Map) -> Map:
        """How rare each cell's score is at its location: −log10 of the share of normal scores at least as high.

        Args:
            anomaly_map: (rows, cols) raw scores, NaN for cells that were not scored. If the size differs from `grid`,
                the statistics of the whole image are used.

        Returns:
            (rows, cols) float32, ≥ 0, NaN for cells that were not scored.
        """
        raw = self.pooled(anomaly_map)
        known = raw.shape == self.grid
        return _read(raw, self.curves if known else self.picture[:, None, None], self.levels)

    def save(self, path: Path) -> None:
        """Write an .npz file without pickled objects, atomically.

        Raises:
            OutputError: The file cannot be written.
        """
        buffer = io.BytesIO()
        header = np.frombuffer(json.dumps(self._header()).encode(), np.uint8)
        np.savez_compressed(buffer, header=header, **self._arrays())  # type: ignore[arg-type]
        write_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> PerLocationStatistics:
        """Read a file written by `save`.

        Raises:
            CalibrationError: The file is missing, damaged, or of an unsupported version.
        """
        try:
            arrays = read_arrays(path)
            header = json.loads(arrays.pop("header").tobytes().decode())
        except FileNotFoundError as error:
            raise CalibrationError(
                f"the calibration's per-location statistics {path} are missing",
                hint="keep the file beside the calibration, or calibrate again: streamad calibrate",
            ) from error
        except (OSError, ValueError, KeyError, RecursionError) as error:
            raise CalibrationError(
                f"{path} contains no per-location statistics: {error}", hint="calibrate again"
            ) from error
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise CalibrationError(f"{path} contains no per-location statistics", hint="calibrate again")
        if header.get("version") != VERSION:
            raise CalibrationError(
                f"{path}: version {header.get('version')!r} is not supported, only version {VERSION}",
                hint="update streamad, or calibrate again",
            )
        try:
            return cls(
                spec=_SPEC.validate_python(header["spec"], by_alias=True),
                frames=int(header["frames"]),
                **arrays,
            )
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            raise CalibrationError(f"{path} is damaged: {error}", hint="calibrate again") from error

    def _header(self) -> dict[str, Any]:
        spec = _SPEC.dump_python(self.spec, by_alias=True)
        return {"format": FORMAT, "version": VERSION, "spec": spec, "frames": self.frames}

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {name: getattr(self, name) for name in ("levels", "curves", "picture")}


class PerLocationScore:
    """Turns the anomaly maps of one camera into frame scores: mean evidence of the highest cells, then a causal median.

    Args:
        statistics: Statistics of the camera's normal video.
    """

    def __init__(self, statistics: PerLocationStatistics) -> None:
        self.statistics = statistics
        self._recent: deque[float] = deque(maxlen=statistics.spec.median_frames)

    def update(self, anomaly_map: npt.NDArray[np.float32]) -> tuple[float, npt.NDArray[np.float32]]:
        """Return the score (≥ 0) of the next frame and its (rows, cols) evidence; see `PerLocationStatistics`."""
        evidence = self.statistics.evidence(anomaly_map)
        self._recent.append(highest(evidence, self.statistics.spec.share))
        return float(median(self._recent)), evidence

    def reset(self) -> None:
        """Forget all previous frames."""
        self._recent.clear()


def highest(evidence: npt.NDArray[np.float32], share: float) -> float:
    """Mean of the highest `share` of all cells. Cells without a score count as 0, which means nothing unusual."""
    cells = max(1, round(share * evidence.size))
    known = evidence[np.isfinite(evidence)]
    if known.size > cells:
        known = np.partition(known, known.size - cells)[-cells:]
    return float(known.sum()) / cells


def pooled(anomaly_map: Map, side: int) -> Map:
    """Average each cell with its neighbors in a square; cells without a score are left out.

    Args:
        anomaly_map: (rows, cols) scores.
        side: Side of the square in cells, odd, at least 1.

    Returns:
        (rows, cols) float32, NaN where no cell of the square has a score.
    """
    if side == 1:
        return anomaly_map
    known = np.isfinite(anomaly_map)
    total = cv2.boxFilter(np.where(known, anomaly_map, 0).astype(np.float32), -1, (side, side), normalize=False,
                          borderType=cv2.BORDER_CONSTANT)  # fmt: skip
    count = cv2.boxFilter(known.astype(np.float32), -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, total / count, np.float32(np.nan)).astype(np.float32)


def _read(raw: Map, curves: Map, levels: Map) -> Map:
    """Evidence of raw scores by piecewise linear curves: 0 far below the first point, extrapolated past the last."""
    with np.errstate(invalid="ignore"):
        first = curves[1] - curves[0]
        answer = np.clip(1 + (raw - curves[0]) / first, 0, 1) * levels[0]
        for k in range(1, len(levels)):
            share = (raw - curves[k - 1]) / (curves[k] - curves[k - 1])
            answer += np.clip(share, 0, 1 if k < len(levels) - 1 else None) * (levels[k] - levels[k - 1])
    return np.asarray(answer, dtype=np.float32)
