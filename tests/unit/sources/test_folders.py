"""What a folder of recordings holds: the trees that cameras, recorders and people make."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from bundle_support import write_mp4

from streamad.errors import UsageError
from streamad.sources import (
    FailureReason,
    FileSpec,
    ImagesSpec,
    SourceAuthError,
    SourceCodecError,
    SourceNotFoundError,
    find_clips,
    list_images,
    open_source,
)
from streamad.sources import folders as discovery


def videos(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(name.encode())


def pictures(folder: Path, count: int, name: str = "{}.jpg") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _, jpg = cv2.imencode(".jpg", np.zeros((4, 4), np.uint8))
    for k in range(count):
        (folder / name.format(k)).write_bytes(jpg.tobytes())


def found(*paths: Path) -> list[str]:
    return [str(spec.path.name) for spec in find_clips(paths, 25).specs]


@pytest.mark.parametrize("where", [".", "thumbs", "2026/thumbs"])
@pytest.mark.parametrize("count", [1, 80])
def test_pictures_beside_or_below_recordings_are_left_out_and_counted(tmp_path: Path, where: str, count: int) -> None:
    videos(tmp_path, "1.mp4", "2.mp4")
    pictures(tmp_path / where, count, "{}.JPG")
    clips = find_clips([tmp_path], 25)
    assert clips.clips == (
        ("1", FileSpec(path=tmp_path / "1.mp4")),
        ("2", FileSpec(path=tmp_path / "2.mp4")),
    )
    assert clips.notes == (f"{tmp_path}: {count} image{'s' * (count > 1)} beside 2 videos left out",)
    assert not clips.left_out


def test_a_stray_video_in_a_folder_of_images_never_leaves_the_images_alone(tmp_path: Path) -> None:
    pictures(tmp_path, 3)
    assert found(tmp_path) == [tmp_path.name]
    videos(tmp_path, "preview.mov")
    assert found(tmp_path) == ["preview.mov"]
    for opened in (lambda: list_images(tmp_path), lambda: open_source(ImagesSpec(path=tmp_path), camera="gate")):
        with pytest.raises(SourceCodecError, match="1 video beside 3 images"):
            opened()


def test_date_folders_of_a_recorder_in_the_order_of_time(tmp_path: Path) -> None:
    for day, names in (("2026/11/30", ("9.mp4", "10.MP4")), ("2026/12/1", ("0.mkv",)), ("2026/2/28", ("7.Ts",))):
        videos(tmp_path / day, *names, "index.db", "9.thm", "9.srt", "9.wav", "9.json", "10.mp4.part")
    clips = find_clips([tmp_path], 25).clips
    assert [name for name, _ in clips] == ["2026-2-28-7", "2026-11-30-9", "2026-11-30-10", "2026-12-1-0"]


def test_hidden_names_and_the_folders_of_storage_systems_are_passed_over(tmp_path: Path) -> None:
    videos(tmp_path, "1.mp4", "._1.mp4", ".1.mp4")
    for name in (".Trash", "@eaDir", "#recycle", "lost+found"):
        videos(tmp_path / name, "old.mp4")
    clips = find_clips([tmp_path], 25)
    assert [name for name, _ in clips.clips] == ["1"]
    assert clips.notes == clips.left_out == ()


def test_links_are_followed_once_and_circles_end(tmp_path: Path) -> None:
    videos(tmp_path / "rec", "1.mp4", "2.mp4")
    videos(tmp_path / "elsewhere", "3.mp4")
    (tmp_path / "rec" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "rec" / "self").symlink_to(tmp_path / "rec")
    (tmp_path / "rec" / "latest.mp4").symlink_to("2.mp4")
    (tmp_path / "rec" / "gone.mp4").symlink_to("9.mp4")
    (tmp_path / "rec" / "circle.mp4").symlink_to("circle.mp4")
    (tmp_path / "rec" / "circle").symlink_to("circle")
    clips = find_clips([tmp_path / "rec"], 25)
    assert sorted(spec.path.resolve().name for spec in clips.specs) == ["1.mp4", "2.mp4", "3.mp4"]
    assert [item.path.name for item in clips.left_out] == ["circle.mp4", "gone.mp4"]
    assert clips.notes == ("1 file given or linked twice: it counts as one clip",)


def test_a_pipe_and_a_folder_named_as_a_video(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "live.mp4")
    videos(tmp_path / "cut.mp4", "a.mp4")
    write_mp4(tmp_path / "cut.mp4" / "b.mp4", [np.zeros((32, 32), np.uint8)] * 3)
    clips = find_clips([tmp_path], 25).readable()  # a pipe that nobody writes to does not hang it
    assert [spec.path.name for spec in clips.specs] == ["b.mp4"]
    assert {item.path.name for item in clips.left_out} == {"a.mp4", "live.mp4"}


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos(tmp_path, "1.mp4")
    videos(tmp_path / "private", "2.mp4")
    if os.geteuid() == 0:  # who may read everything
        real = os.scandir

        def scandir(path: Path) -> object:
            if Path(path).name == "private":
                raise PermissionError(13, "Permission denied")
            return real(path)

        monkeypatch.setattr(discovery.os, "scandir", scandir)
    else:
        (tmp_path / "private").chmod(0)
    clips = find_clips([tmp_path], 25)
    assert [name for name, _ in clips.clips] == ["1"]
    (item,) = clips.left_out
    assert item.reason is FailureReason.AUTH
    assert "private: Permission denied" in item.message
    with pytest.raises(SourceAuthError, match="private"):
        find_clips([tmp_path / "private"], 25)


def test_folders_of_images_in_natural_order(tmp_path: Path) -> None:
    for name in ("Test10", "Test2", "test1"):
        pictures(tmp_path / name, 2)
    assert found(tmp_path) == ["test1", "Test2", "Test10"]


def test_images_in_a_folder_and_below_it_can_be_read_in_two_ways(tmp_path: Path) -> None:
    pictures(tmp_path / "clip", 5)
    pictures(tmp_path / "clip" / "masks", 4)
    with pytest.raises(UsageError, match="5 images itself and 4 in its subfolders"):
        find_clips([tmp_path], 25)


def test_images_given_one_by_one(tmp_path: Path) -> None:
    videos(tmp_path, "1.mp4")
    pictures(tmp_path, 2)
    paths = [tmp_path / "0.jpg", tmp_path / "1.jpg", tmp_path / "1.mp4"]  # what a shell makes of *
    clips = find_clips(paths, 25)
    assert [name for name, _ in clips.clips] == ["1"]
    assert clips.notes == ("2 images given with the videos left out",)
    with pytest.raises(UsageError, match="2 images given one by one"):
        find_clips(paths[:2], 25)


def test_one_bad_path_of_many_is_left_out_and_alone_it_is_an_error(tmp_path: Path) -> None:
    write_mp4(tmp_path / "good.mp4", [np.full((32, 32), k, np.uint8) for k in range(5)])
    (tmp_path / "bad.mp4").write_bytes((tmp_path / "good.mp4").read_bytes()[:300])  # cut off before its index
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "nothing").mkdir()
    paths = [tmp_path / name for name in ("nowhere.mp4", "bad.mp4", "good.mp4", "empty.mp4", "nothing")]
    clips = find_clips(paths, 25).readable()
    assert [name for name, _ in clips.clips] == ["good"]
    assert [item.path.name for item in clips.left_out] == ["nowhere.mp4", "nothing", "bad.mp4", "empty.mp4"]
    assert clips.failures()[0].startswith(f"2 clips left out (not_found): {paths[0]} does not exist")
    assert clips.report()["left_out"][2]["reason"] == "codec"
    for path, error in zip(
        paths, (SourceNotFoundError, SourceCodecError, None, SourceCodecError, SourceNotFoundError), strict=True
    ):
        if error is not None:
            with pytest.raises(error, match=path.name):
                find_clips([path], 25).readable()
    with pytest.raises(SourceCodecError, match="none of the 2 clips can be read"):
        find_clips([paths[1], paths[3]], 25).readable()


def test_twenty_thousand_names(tmp_path: Path) -> None:
    folder = tmp_path / "rec"
    folder.mkdir()
    target = tmp_path / "one.mp4"
    target.touch()
    for k in range(20_000):
        os.link(target, folder / f"{k}.jpg")
    os.link(target, folder / "1.mp4")
    clips = find_clips([folder], 25)
    assert [name for name, _ in clips.clips] == ["1"]
    assert clips.notes == (f"{folder}: 20000 images beside 1 video left out",)
