"""PerLocationStatistics: from a cell's raw score to how rare it is there."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from streamad.array_files import read_arrays
from streamad.calibration.per_location.spec import PerLocationSpec
from streamad.errors import CalibrationError
from streamad.files import write_atomic

FORMAT = "streamad-local"
VERSION = 1

Map = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PerLocationStatistics:
    """How every cell of a camera scores in normal video: for each a curve from raw score to evidence; see `fit_local`.

    Attributes:
        spec: what was chosen.
        levels: (K,) float32 evidence −log10 p at the points of the curves, rising; beyond the last a straight line.
        curves: (K, rows, cols) float32 raw scores of these points, rising along K.
        picture: (K,) float32 the same for the whole picture, for heat maps of another size.
        frames: frames of normal video behind it.
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
                f"local statistics do not fit together: {k} levels, curves {self.curves.shape}, picture "
                f"{self.picture.shape}"
            )
        good = all(np.isfinite(a).all() for a in (self.levels, self.curves, self.picture))
        good = good and all((np.diff(a, axis=0) > 0).all() for a in (self.levels, self.curves, self.picture))
        if not good:
            raise CalibrationError("local statistics are damaged: values out of range", hint="calibrate again")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PerLocationStatistics) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, cols) of the heat maps that it knows."""
        return self.curves.shape[1:]

    @property
    def sha256(self) -> str:
        """Of the content, 64 hexadecimal digits; the same for the same numbers, whatever wrote the file."""
        content = hashlib.sha256(json.dumps(self._header(), sort_keys=True).encode())
        for name, array in self._arrays().items():
            content.update(name.encode() + str((array.shape, array.dtype.str)).encode() + array.tobytes())
        return content.hexdigest()

    def pooled(self, anomaly_map: Map) -> Map:
        """The heat map averaged over `spec.pool` squares: what the statistics are of."""
        return pooled(anomaly_map, self.spec.pool)

    def evidence(self, anomaly_map: Map) -> Map:
        """How rare each cell's score is at its place: −log10 of the share of its normal scores that are as high.

        Args:
            anomaly_map: (rows, cols) raw scores, NaN where a cell was not scored. If its size differs from `grid`, the
                statistics of the whole picture are used.

        Returns:
            (rows, cols) float32 ≥ 0, NaN where a cell was not scored.
        """
        raw = self.pooled(anomaly_map)
        known = raw.shape == self.grid
        return _read(raw, self.curves if known else self.picture[:, None, None], self.levels)

    def save(self, path: Path) -> None:
        """Write as .npz, atomically; nothing in it is pickled.

        Raises:
            OutputError: the file cannot be written.
        """
        buffer = io.BytesIO()
        header = np.frombuffer(json.dumps(self._header()).encode(), np.uint8)
        np.savez_compressed(buffer, header=header, **self._arrays())  # type: ignore[arg-type]
        write_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> PerLocationStatistics:
        """Read what `save` wrote.

        Raises:
            CalibrationError: it is missing, damaged, or of another version.
        """
        try:
            arrays = read_arrays(path)
            header = json.loads(arrays.pop("header").tobytes().decode())
        except FileNotFoundError as error:
            raise CalibrationError(
                f"the calibration's local statistics {path} are missing",
                hint="keep the file beside the calibration, or calibrate again: streamad calibrate",
            ) from error
        except (OSError, ValueError, KeyError, RecursionError) as error:
            raise CalibrationError(f"{path} holds no local statistics: {error}", hint="calibrate again") from error
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise CalibrationError(f"{path} holds no local statistics", hint="calibrate again")
        if header.get("version") != VERSION:
            raise CalibrationError(
                f"{path}: version {header.get('version')!r}, this program reads version {VERSION}",
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


_SPEC = TypeAdapter(PerLocationSpec)


def pooled(anomaly_map: Map, side: int) -> Map:
    """Mean over squares of side×side cells, around every cell; of those that have a score, NaN where none has.

    Args:
        anomaly_map: (rows, cols).
        side: odd, at least 1.
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
    """Evidence of raw scores by piecewise linear curves: 0 far below the first point, a straight line past the last."""
    with np.errstate(invalid="ignore"):
        first = curves[1] - curves[0]
        answer = np.clip(1 + (raw - curves[0]) / first, 0, 1) * levels[0]
        for k in range(1, len(levels)):
            share = (raw - curves[k - 1]) / (curves[k] - curves[k - 1])
            answer += np.clip(share, 0, 1 if k < len(levels) - 1 else None) * (levels[k] - levels[k - 1])
    return np.asarray(answer, dtype=np.float32)
