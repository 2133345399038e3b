"""A calibration put into a bundle: killed anywhere, the bundle loads, with the old calibration or the new one whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from bundle_support import small_manifest
from kill_support import killed_at_every_change

from streamad.bundle import combined_sha256, load_bundle, write_manifest
from streamad.calibration import Calibration, calibrate
from streamad.calibration.per_location import PerLocationSpec, PerLocationStatistics
from streamad.calibration.per_location_fit import CellSamples, fit_per_location
from streamad.workflows.calibrate import save_into_bundle


def places(seed: int) -> PerLocationStatistics:
    samples = CellSamples((2, 3))
    for anomaly_map in np.random.default_rng(seed).normal(size=(100, 2, 3)).astype(np.float32):
        samples.add(anomaly_map)
    return fit_per_location(samples, PerLocationSpec())


def test_killed_anywhere_the_bundle_loads_with_one_calibration_whole(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"onnx")
    (folder / "weights.safetensors").write_bytes(b"weights")
    sha = combined_sha256(write_manifest(folder, small_manifest(name="small")))
    scores = np.random.default_rng(0).normal(size=500)
    first, second, plain = (
        calibrate([scores + k], fps=10, model="small", model_sha256=sha, source=str(k), local=local)
        for k, local in enumerate((places(1), places(2), None))
    )
    save_into_bundle(load_bundle(folder), first)
    shutil.copytree(folder, tmp_path / "first")
    for new in (second, plain):

        def prepare() -> None:
            shutil.rmtree(folder)
            shutil.copytree(tmp_path / "first", folder)

        found = []
        for _ in killed_at_every_change(prepare, lambda new=new: save_into_bundle(load_bundle(folder), new)):
            path = load_bundle(folder).calibration_path  # every hash fits
            assert path is not None
            found.append(Calibration.load(path))
            assert found[-1] in (first, new)
        assert found[0] == first
        assert found[-1] == new
        assert set(load_bundle(folder).manifest.files) >= {"calibration.json", "model.onnx"}
    assert not list(folder.glob("calibration.local*"))
