"""DeviceSource where there is no camera: every wrong device is a typed error. (A camera needs hardware.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from streamad.sources import DeviceSpec, FailureReason, SourceError, open_source


def test_a_missing_device(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such device") as caught:
        open_source(DeviceSpec(device=tmp_path / "video9"), camera="cam")
    assert isinstance(caught.value, SourceError)
    assert caught.value.hint


def test_a_file_is_no_device(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"x")
    with pytest.raises(SourceError, match="not a video device"):
        open_source(DeviceSpec(device=path), camera="cam")


def test_another_device_is_no_camera() -> None:
    with pytest.raises(SourceError) as caught:
        open_source(DeviceSpec(device=Path("/dev/null"), width=640, height=480, fps=25), camera="cam")
    assert caught.value.reason in (FailureReason.CODEC, FailureReason.NOT_FOUND)
    assert "/dev/null" in str(caught.value)
