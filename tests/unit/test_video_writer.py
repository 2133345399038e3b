"""The H.264 writer, its files read back by PyAV."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from streamad.errors import OutputError, UsageError
from streamad.visual import H264Writer


def _gradient(width: int, height: int, step: int) -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([(x * 2 + step * 3) % 256, y * 3 % 256, np.full_like(x, 90)], axis=-1).astype(np.uint8)


def _write(path: Path, frames: int, width: int = 64, height: int = 48, fps: float | Fraction = 12.5) -> None:
    with H264Writer(path, width=width, height=height, fps=fps, crf=10) as writer:
        for step in range(frames):
            writer.write(_gradient(width, height, step))
        assert writer.frames == frames


@pytest.mark.parametrize(
    ("width", "height", "even"), [(64, 48, (64, 48)), (65, 48, (66, 48)), (64, 49, (64, 50)), (71, 53, (72, 54))]
)
def test_count_size_and_rate_are_read_back_also_for_odd_sizes(
    tmp_path: Path, width: int, height: int, even: tuple[int, int]
) -> None:
    path = tmp_path / "new" / "clip.mp4"
    _write(path, 30, width, height)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == Fraction(25, 2)
        frames = list(container.decode(stream))
    assert len(frames) == 30
    assert {(frame.width, frame.height) for frame in frames} == {even}
    np.testing.assert_allclose([float(f.pts * f.time_base) for f in frames], np.arange(30) / 12.5, atol=1e-3)  # type: ignore[operator]


def test_colors_and_columns_survive(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    flat = np.zeros((33, 47, 3), np.uint8)
    flat[:] = (200, 60, 30)
    with H264Writer(path, width=47, height=33, fps=5, crf=5) as writer:
        for _ in range(3):
            writer.write(flat)
    with av.open(str(path)) as container:
        frame = next(iter(container.decode(video=0))).to_ndarray(format="rgb24")
    # The padding repeats the edge, so it has the picture's color and not black.
    assert np.abs(frame.astype(int) - (200, 60, 30)).max() <= 4


def test_ntsc_rate_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    _write(path, 4, fps=30000 / 1001)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)


def test_the_index_is_at_the_front(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    _write(path, 20)
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_only_the_finished_file_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"the one before")
    with H264Writer(path, width=64, height=48, fps=10) as writer:
        writer.write(_gradient(64, 48, 0))
        assert path.read_bytes() == b"the one before"
    assert path.stat().st_size > 500
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.mp4"]


def test_an_exception_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail_half_way() -> None:
        with H264Writer(tmp_path / "clip.mp4", width=64, height=48, fps=10) as writer:
            writer.write(_gradient(64, 48, 0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []


def test_no_frames_is_an_error_and_no_file(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="no frame was written"),
        H264Writer(tmp_path / "clip.mp4", width=64, height=48, fps=10),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_closing_twice_is_allowed_and_writing_afterwards_is_not(tmp_path: Path) -> None:
    writer = H264Writer(tmp_path / "clip.mp4", width=64, height=48, fps=10)
    writer.write(_gradient(64, 48, 0))
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="is closed"):
        writer.write(_gradient(64, 48, 0))


@pytest.mark.parametrize(
    "frame", [np.zeros((48, 64), np.uint8), np.zeros((64, 48, 3), np.uint8), np.zeros((48, 64, 3), np.float32)]
)
def test_a_frame_of_another_form_is_refused_with_both_forms(tmp_path: Path, frame: npt.NDArray[np.uint8]) -> None:
    writer = H264Writer(tmp_path / "clip.mp4", width=64, height=48, fps=10)
    with pytest.raises(ValueError, match=r"expected a \(48, 64, 3\) uint8 RGB frame, got shape"):
        writer.write(frame)
    writer.abort()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"width": 1}, {"fps": 0}, {"crf": 60}, {"threads": 0}])
def test_arguments_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    arguments: dict[str, int] = {"width": 64, "height": 48, "fps": 10, **wrong}
    with pytest.raises(UsageError):
        H264Writer(tmp_path / "clip.mp4", **arguments)  # type: ignore[arg-type]


def test_an_unknown_preset_is_an_output_error_and_no_file(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="cannot write the video"),
        H264Writer(tmp_path / "clip.mp4", width=64, height=48, fps=10, preset="warp") as writer,
    ):
        writer.write(_gradient(64, 48, 0))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write the video"):
        H264Writer(tmp_path / "file" / "clip.mp4", width=64, height=48, fps=10)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any folder")
def test_a_read_only_folder_is_an_output_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="Permission denied"):
            H264Writer(tmp_path / "clip.mp4", width=64, height=48, fps=10)
    finally:
        tmp_path.chmod(0o700)


_FULL = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from streamad.errors import OutputError
from streamad.video_writer import H264Writer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
noise = np.random.default_rng(0)
try:
    with H264Writer(Path(sys.argv[1]), width=320, height=240, fps=10, crf=10) as writer:
        for _ in range(60):
            writer.write(noise.integers(0, 256, (240, 320, 3), dtype=np.uint8))
except OutputError as error:
    print(error)
    sys.exit(7)
"""


def test_no_room_for_the_file_is_an_output_error_and_leaves_nothing(tmp_path: Path) -> None:
    # A limit on the size of files fails the write in the kernel as a full disk does, and needs no privileges.
    assert resource.RLIMIT_FSIZE is not None
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path / "clip.mp4")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert "cannot write the video" in done.stdout
    assert list(tmp_path.iterdir()) == []
