"""Learning from files: whole, from where they lie, short, long, quiet or many; a part is kept for the next time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bundle_support import write_mp4
from quality_support import Picture, watched

from streamad.bundle import load_bundle
from streamad.errors import UsageError
from streamad.sources import FileSpec, open_source
from streamad.sources.frame_rate import look_at_clips
from streamad.workflows.learn import Capture, RecordingStore, capture, finished, require_enough

SIZE = (160, 90)
ROOM = 10**9


def looked_at(recordings: RecordingStore, *paths: Path, **options: Any) -> Capture:
    return capture(
        [FileSpec(path=path) for path in paths],
        recordings,
        **{"seconds": None, "profile": "day", "words": "files", "max_bytes": ROOM, **options},
    )


def quiet_then_busy(quiet: int, busy: int) -> Iterator[Picture]:
    yield from watched(quiet, walkers=0, size=SIZE)
    yield from watched(busy, walkers=2, size=SIZE)


def test_the_good_frames_of_a_file_are_read_from_where_it_lies(tmp_path: Path) -> None:
    dark = (p * 0 if 120 <= k < 150 else p for k, p in enumerate(watched(300, size=(161, 91))))
    path = write_mp4(tmp_path / "v.mp4", (p[:90, :160] for p in dark), fps=10)
    recordings = RecordingStore(tmp_path / "r")
    found = looked_at(recordings, path)
    (video,) = recordings.given
    assert video.runs[0] == (0, 119)
    assert video.runs[-1][1] == 299
    assert found.seconds == pytest.approx(video.seconds)
    assert found.seconds == pytest.approx(sum(last - first + 1 for first, last in video.runs) / 10, abs=0.3)
    frames = list(video())
    assert [f.index for f in frames] == [k for first, last in video.runs for k in range(first, last + 1)]
    breaks = [f.index for f in frames if f.is_discontinuity]
    assert breaks == [first for first, _ in video.runs]
    with open_source(FileSpec(path=path), camera="x") as source:
        for frame, seen in zip(frames, (f for f in source if f.pixels.mean() > 20), strict=False):
            assert (frame.pixels == seen.pixels).all()
            break
    assert [f.index for f in video()] == [f.index for f in frames]  # as often as it is called


def test_a_quiet_beginning_is_no_reason_to_refuse(tmp_path: Path) -> None:
    """Ten minutes of night before the day, at a tenth of the length: `--minutes 1` would refuse them."""
    night_then_day = write_mp4(tmp_path / "v.mp4", quiet_then_busy(700, 300), fps=10)
    recordings = RecordingStore(tmp_path / "all")
    found = looked_at(recordings, night_then_day)
    require_enough(found, recordings)
    assert found.seconds == pytest.approx(100, abs=3)
    recordings = RecordingStore(tmp_path / "a minute")
    found = looked_at(recordings, night_then_day, seconds=60)
    with pytest.raises(UsageError, match="nothing moved in 60 s of good video; at least 15 s of movement are needed"):
        require_enough(found, recordings)


def test_what_was_refused_is_added_to_by_the_next_run_as_the_hint_says(tmp_path: Path) -> None:
    few = write_mp4(tmp_path / "few.mp4", quiet_then_busy(300, 100), fps=10)
    more = write_mp4(tmp_path / "more.mp4", watched(120, walkers=2, size=SIZE), fps=10)
    found = looked_at(RecordingStore(tmp_path / "r"), few)
    with pytest.raises(UsageError, match="something moved for only 10 s") as refused:
        require_enough(found, RecordingStore(tmp_path / "r"))
    assert "run again with the same --out" in str(refused.value.hint)
    recordings = RecordingStore(tmp_path / "r")
    require_enough(looked_at(recordings, more), recordings)
    assert sum(recordings.learned_profiles.values()) == pytest.approx(52, abs=2)


def test_short_files_count_in_full_and_the_same_file_once(tmp_path: Path) -> None:
    paths = [
        write_mp4(tmp_path / f"{k}.mp4", watched(20, seed=k, walkers=2, size=SIZE), fps=10) for k in range(4)
    ]  # 2 s each: shorter than any clip of a camera's recording may be
    recordings = RecordingStore(tmp_path / "r")
    found = looked_at(recordings, *paths)
    assert found.seconds == pytest.approx(8)
    assert len(recordings.whole) == 4
    assert {clip.role for clip in recordings.clips} == {"train", "held"}
    finished(recordings, found)
    again = RecordingStore(tmp_path / "r")
    looked_at(again, *paths[:2])
    assert again.learned_profiles == pytest.approx({"day": 8})  # two given again, two from the recordings
    shutil.copy(paths[0], tmp_path / "copy.mp4")  # another file, for all that anybody knows
    other = RecordingStore(tmp_path / "r2")
    finished(other, looked_at(other, paths[0]))
    looked_at(other, tmp_path / "copy.mp4")
    assert other.learned_profiles == pytest.approx({"day": 4})


def test_of_long_files_a_sample_is_recorded_and_all_is_learned(tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "v.mp4", watched(1800, size=SIZE), fps=10)
    recordings = RecordingStore(tmp_path / "r")
    found = looked_at(recordings, path, keep_seconds=40, given_seconds=None)
    # Clips of 50 s: four at least are kept, however little is to be.
    assert found.seconds == pytest.approx(180, abs=1)
    short = RecordingStore(tmp_path / "s")
    found = looked_at(short, path, keep_seconds=40, given_seconds=72)
    assert found.seconds == pytest.approx(180, abs=1)
    assert short.learned_profiles == pytest.approx({"day": 180}, abs=1)
    assert sum(clip.seconds for clip in short.clips) == pytest.approx(42, abs=7)
    assert {clip.role for clip in short.clips} == {"train", "held"}
    assert sorted(p.name for p in short.folder.glob("*.mkv")) == sorted(clip.file for clip in short.clips)
    # A file that is gone by the next time: what was kept of it is still there.
    finished(short, found)
    path.unlink()
    assert sum(RecordingStore(tmp_path / "s").learned_profiles.values()) == pytest.approx(42, abs=7)
    full = RecordingStore(tmp_path / "f")
    shutil.copy(short.folder / short.clips[0].file, tmp_path / "w.mkv")
    assert looked_at(full, tmp_path / "w.mkv", max_bytes=1).seconds > 5  # no room to keep any
    assert len(full.whole) == 1


def test_what_clips_have_in_common_is_known_before_they_are_read(tmp_path: Path) -> None:
    clips = [
        (str(fps), FileSpec(path=write_mp4(tmp_path / f"{fps}.mp4", watched(40, size=SIZE), fps=fps)))
        for fps in (20, 21, 40)
    ]
    assert look_at_clips(clips[:2], 25, one_rate=True).fps == pytest.approx(21)
    assert look_at_clips(clips, 25, one_rate=False).seconds == pytest.approx(40 / 20 + 40 / 21 + 40 / 40, rel=0.01)
    with pytest.raises(UsageError, match=r"different frame rates: 20 frames/s \(20\), 21 .* 40 frames/s \(40\)"):
        look_at_clips(clips, 25, one_rate=True)


@pytest.mark.timeout(300)
def test_forty_seconds_of_files_are_learned_with_defaults_and_every_hint_works(call: Any, tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "v.mp4", watched(400, walkers=2, size=SIZE), fps=10)
    out = tmp_path / "elsewhere" / "gate"  # not in models/, where its name alone would lead to it
    code, printed, said = call("learn", path, "--out", out, "--json")
    assert code == 0, said
    document = json.loads(printed)
    assert document["profiles_minutes"]["day"] == pytest.approx(40 / 60, abs=0.01)
    sentences = " ".join(document["words"])
    assert "learned from 40 s of video (day)" in sentences
    assert "is a guess" in sentences
    assert "first day: at most 1 false alert an hour" in sentences
    assert "`streamad run` gets there by itself" in sentences
    assert load_bundle(str(out)).manifest.training.frames == 400
    # There are no scores yet, but the model is found.
    code, _, said = call("calibrate", out, "--recent", "24h")
    assert code != 0
    assert "not a model bundle" not in said
    code, _, said = call("score", path, "--model", out, "--no-video", "--no-plot", "--out", tmp_path / "scores")
    assert code == 0, said


def test_files_that_are_too_short_are_refused_before_they_are_read(call: Any, tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "v.mp4", watched(100, size=SIZE), fps=10)
    code, _, said = call("learn", path, "--out", "gate")
    assert code == 2
    assert "the files hold 10 s of video; at least 30 s are needed" in said
    slow = write_mp4(tmp_path / "slow.mp4", watched(60, size=SIZE), fps=1)
    code, _, said = call("learn", slow, "--out", "gate")
    assert code == 2
    assert "has 1 frames a second; the motion detector needs at least 1.7" in said
