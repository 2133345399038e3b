"""Learning from a camera: recordings that are good and whole, refusals that say why, and nothing forgotten."""

from __future__ import annotations

import json
import shutil
import threading
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_support import write_mp4
from quality_support import Picture, frames_of, gain, watched
from rtsp_support import RtspServer, require_rtsp_server

from streamad.bundle import load_bundle
from streamad.calibration import Calibration
from streamad.errors import UsageError
from streamad.frame import Frame
from streamad.inference import open_model
from streamad.sources import FileSpec, RtspSpec, open_source, parse_source
from streamad.versions import list_versions, older_version
from streamad.workflows.learn import Capture, LearnPlan, RecordingStats, RecordingStore, capture, learn, require_enough
from streamad.workflows.learn.clip_writer import ClipWriter

CAMERA = RtspSpec.model_validate({"url": "rtsp://cam/live"})
ROOM = 10**9


def video(path: Path, pictures: Any, fps: int = 10) -> Path:
    return write_mp4(path, pictures, fps=fps)


def test_a_clip_comes_back_as_it_was_scored(tmp_path: Path) -> None:
    pictures = [gain(p, 1.2, -20) for p in watched(30, size=(161, 91))]  # odd sides, black and white in it
    writer = ClipWriter(tmp_path / "clip.mkv", fps=10)
    times = [0.1 * k + (0.03 if k % 2 else 0) for k in range(30)]  # a camera's clock
    for number, (picture, at) in enumerate(zip(pictures, times, strict=True)):
        writer.write(Frame("cam", number, 100 + at, 0.0, picture))
    assert not (tmp_path / "clip.mkv").exists()  # until it is whole
    writer.close()
    with open_source(FileSpec(path=tmp_path / "clip.mkv"), camera="cam") as source:
        frames = list(source)
    assert [f.pts_seconds for f in frames] == pytest.approx(times, abs=0.0015)
    for frame, picture in zip(frames, pictures, strict=True):
        assert frame.shape == (90, 160)
        assert np.abs(frame.pixels.astype(int) - picture[:90, :160]).mean() < 1.5
    discarded = ClipWriter(tmp_path / "other.mkv", fps=10)
    discarded.write(frames[0])
    discarded.discard()
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mkv"]


def test_only_the_same_camera_continues_an_interrupted_recording(tmp_path: Path) -> None:
    def begin(url: str) -> str:
        camera = RtspSpec.model_validate({"url": url})
        session = RecordingStore(tmp_path).begin(profile="day", source=str(camera.url), wanted_seconds=9, camera=camera)
        return session.address

    first = begin("rtsp://recorder/stream?channel=1&password=secret")
    assert begin("rtsp://recorder/stream?channel=1&password=secret") == first
    assert begin("rtsp://user:word@recorder/stream?channel=1&password=secret") == first  # another account, same camera
    assert begin("rtsp://recorder/stream?channel=2&password=secret") != first
    index = (tmp_path / "index.json").read_text()
    assert "secret" not in index
    assert "channel" not in index
    document = json.loads(index)
    for session in document["sessions"]:
        del session["address"]  # of an earlier version, which knew the host alone
    (tmp_path / "index.json").write_text(json.dumps(document))
    assert begin("rtsp://recorder/stream?channel=2&password=secret") == ""


def test_recordings_are_thinned_by_chance_old_ones_and_new_ones_alike(tmp_path: Path) -> None:
    recordings = RecordingStore(tmp_path)
    for profile in ("day", "night", "day"):
        session = recordings.begin(profile=profile, source="cam", wanted_seconds=400, camera=CAMERA)
        for _ in range(40):
            path, role = recordings.next_file(session)
            path.write_bytes(b"x" * 100)
            recordings.add(session, path, role, 10.0)
        recordings.update(replace(session, done=True))
    assert recordings.profiles == {"day": 800, "night": 400}
    assert recordings.thin(keep_seconds=400, keep_bytes=ROOM) == 40
    again = RecordingStore(tmp_path)
    assert again.profiles == {"day": 400, "night": 400}
    counts = [len(again.of_session(number)) for number in range(3)]
    assert counts[1] == 40
    assert min(counts[0], counts[2]) >= 12  # by chance, and so from both
    assert len(again.of_role("held")) == pytest.approx(20, abs=3)
    assert sorted(p.name for p in tmp_path.glob("*.mkv")) == sorted(c.file for c in again.clips)
    again.thin(keep_seconds=1, keep_bytes=1)
    assert {c.role for c in again.clips} == {"train", "held"}  # one of each stays


def test_a_survey_says_what_moves_and_where() -> None:
    def walker(number: int, picture: Picture) -> Picture:
        if 100 <= number < 200:  # in the lower half alone, for ten seconds
            picture[130:170, (number * 3) % 300 : (number * 3) % 300 + 14] = 20
        return picture

    survey = RecordingStats()
    for frame in frames_of(walker(k, p) for k, p in enumerate(watched(300, walkers=0))):
        survey.add(frame)
    assert survey.seconds == pytest.approx(29.9, abs=0.1)
    assert survey.moving_seconds == pytest.approx(10, abs=1.5)
    assert 0.4 < survey.still_share < 0.9
    assert {"upper left", "upper center", "upper right"} <= set(survey.still_parts())
    assert not [name for name in survey.still_parts() if name.startswith("lower")]
    again = RecordingStats.from_json(json.loads(json.dumps(survey.to_json())))
    assert (again.seconds, again.still_share) == (survey.seconds, survey.still_share)


def test_faulty_frames_end_a_clip_and_are_in_none(tmp_path: Path) -> None:
    pictures = (np.zeros_like(p) if 200 <= k < 260 else p for k, p in enumerate(watched(420)))
    spec = FileSpec(path=video(tmp_path / "v.mp4", pictures))
    recordings = RecordingStore(tmp_path / "r")
    found = capture([spec], recordings, seconds=600, profile="day", words="v", max_bytes=ROOM)
    assert found.survey.held["dark"] == 60
    assert found.problem is not None
    assert "ended" in found.problem
    assert 30 < found.seconds < 37
    assert found.place is not None
    for spec in [*recordings.of_role("train"), *recordings.of_role("held")]:
        with open_source(spec, camera="cam") as source:
            assert min(frame.pixels.mean() for frame in source) > 50
    require_enough(found, recordings)


def test_what_is_too_little_is_refused_with_what_was_found(tmp_path: Path) -> None:
    still = FileSpec(path=video(tmp_path / "still.mp4", watched(450, walkers=0)))
    recordings = RecordingStore(tmp_path / "a")
    found = capture([still], recordings, seconds=40, profile="day", words="v", max_bytes=ROOM)
    with pytest.raises(UsageError, match=r"nothing moved in 40 s of good video; at least 15 s of movement are needed"):
        require_enough(found, recordings)
    black = FileSpec(path=video(tmp_path / "black.mp4", (np.zeros_like(p) for p in watched(200))))
    recordings = RecordingStore(tmp_path / "b")
    found = capture([black], recordings, seconds=40, profile="day", words="v", max_bytes=ROOM)
    with pytest.raises(UsageError, match=r"only 0 s of good video.*200 frames were rejected \(200 dark\)"):
        require_enough(found, recordings)


@pytest.mark.slow
@pytest.mark.rtsp
def test_a_camera_that_is_lost_is_gone_on_with_in_this_run_and_the_next(tmp_path: Path) -> None:
    require_rtsp_server()
    path = video(tmp_path / "cam.mp4", watched(400), fps=25)
    recordings = RecordingStore(tmp_path / "r")
    seen = [0.0]

    def record(seconds: float, stop_at: float) -> Capture:
        return capture(
            [source],
            recordings,
            seconds=seconds,
            profile="day",
            words="cam",
            max_bytes=ROOM,
            progress=lambda _, done, __: seen.append(done),
            stop=lambda: seen[-1] >= stop_at,
        )

    def kill_on_the_way() -> None:
        while seen[-1] < 5.5:
            time.sleep(0.1)
        server.restart()

    with RtspServer({"cam": path}) as server:
        source = parse_source(server.url("cam"))
        killer = threading.Thread(target=kill_on_the_way)
        killer.start()
        first = record(600, 11.0)  # the server dies on the way; then the user interrupts
        killer.join()
        second = record(16, 600)  # goes on from there
    assert first.reconnects >= 1
    assert 11 <= first.seconds <= 12
    assert 16 <= second.seconds <= 21
    assert len(recordings.sessions) == 1
    clips = recordings.of_session(0)
    assert len(clips) >= 3
    assert sum(clip.seconds for clip in clips) == pytest.approx(second.seconds, abs=0.5)
    assert recordings.sessions[0].survey["seconds"] >= 14


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("learn")
    return {
        "day": video(folder / "day.mp4", watched(330, walkers=2, size=(240, 136))),
        "night": video(folder / "night.mp4", (gain(p, 0.45, 5) for p in watched(330, walkers=2, size=(240, 136)))),
    }


@pytest.mark.timeout(300)
def test_one_command_makes_a_model_and_again_adds_to_it(videos: dict[str, Path], call: Any, tmp_path: Path) -> None:
    out = tmp_path / "models" / "gate"
    common = ("--out", out, "--minutes", "0.53", "--alerts-per-day", "500", "--json")
    code, printed, said = call("learn", videos["day"], *common)
    assert code == 0, said
    first = json.loads(printed)
    assert set(first["profiles_minutes"]) == {"day"}
    assert any("nothing moved in" in sentence for sentence in first["words"])
    assert any("is a guess" in sentence for sentence in first["words"])
    assert first["resolvable_alerts_per_day"] > 500
    bundle = load_bundle(out)  # every hash fits
    assert bundle.place_path is not None
    assert bundle.manifest.training.fps == pytest.approx(10, abs=0.1)
    assert [path.name for path in list_versions(out)] == ["0001"]

    code, printed, said = call("learn", videos["night"], *common, "--profile", "night")
    assert code == 0, said
    second = json.loads(printed)
    assert set(second["profiles_minutes"]) == {"day", "night"}
    assert second["clips"] > first["clips"]
    both = load_bundle(out)
    assert both.sha256 != bundle.sha256
    assert load_bundle(older_version(out)).sha256 == bundle.sha256
    assert bundle.path != both.path  # a watch that runs has its files still
    assert load_bundle(bundle.path).sha256 == bundle.sha256

    # Neither the old nor the new normal is an alert to it.
    calibration = Calibration.load(both.path / "calibration.json")
    with open_model(out) as model:
        for name in ("day", "night"):
            assert not any(score.is_alert for score in model.score(videos[name])), name
    code, _, said = call("models", "show", out)
    assert code == 0

    # An older version is one command away.
    code, printed, said = call("models", "versions", out, "--json")
    assert code == 0, said
    old, new = json.loads(printed)["versions"]
    assert (old["version"], old["active"], new["version"], new["active"]) == (1, False, 2, True)
    assert new["learned_seconds"] > 1.5 * old["learned_seconds"] > 40
    assert new["threshold"] == calibration.threshold
    assert call("models", "rollback", out, "--json")[0] == 0
    assert load_bundle(out).sha256 == bundle.sha256
    code, _, said = call("models", "rollback", out, "--to", "7")
    assert (code, "versions: 1, 2" in said) == (2, True), said
    assert call("models", "rollback", out, "--to", "2")[0] == 0
    assert load_bundle(out).sha256 == both.sha256


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_another_detector_is_learned_the_same_way(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    recordings = RecordingStore(tmp_path / "gate" / "recordings")
    session = recordings.begin(profile="day", source="cam", wanted_seconds=20, camera=CAMERA)
    survey, pictures = RecordingStats(), iter(watched(240, walkers=2, size=(160, 90)))
    for _ in range(4):  # the last is held out
        path, role = recordings.next_file(session)
        writer = ClipWriter(path, fps=10)
        for frame in frames_of(islice(pictures, 60)):
            survey.add(frame)
            writer.write(frame)
        writer.close()
        recordings.add(session, path, role, 6.0)
    plan = LearnPlan("gate", "alps", alerts_per_day=10_000, options={"width": "8"}, train_seconds=0.2)
    place = next(watched(1, size=(160, 90)))
    learned = learn(plan, recordings, tmp_path / "gate", place=place, survey=survey)
    bundle = load_bundle(tmp_path / "gate")
    assert (learned.bundle.path, bundle.manifest.detector) == (bundle.path, "alps")
    assert bundle.place_path is not None
    assert 0 < learned.report["training_share"] < 1
    assert bundle.manifest.training.epochs == 3
    assert any("of its full training" in sentence for sentence in learned.words)
    assert bundle.calibration_path is not None
    assert not [path for path in bundle.path.iterdir() if path.is_dir()]  # what the training left is gone
    with pytest.raises(UsageError, match="alps has no option nothing"):
        learn(replace(plan, options={"nothing": "1"}), recordings, tmp_path / "gate", place=None, survey=survey)
    assert load_bundle(tmp_path / "gate").sha256 == bundle.sha256


def test_what_the_command_refuses(videos: dict[str, Path], call: Any, tmp_path: Path) -> None:
    for arguments, words in (
        ((videos["day"], "--out", "models/Gate Yard"), "not a valid model name"),
        ((videos["day"], "--out", "gate", "--profile", "../x"), "not a valid name for a profile"),
        ((videos["day"], "--out", "gate", "--detector", "nothing"), "unknown detector 'nothing'"),
        ((videos["day"], "--out", "gate", "--option", "nothing=1"), "motion has no option nothing"),
        ((videos["day"], "--out", "gate", "--option", "max_height=tall"), "max_height"),
        (("rtsp://a/b", "rtsp://a/c", "--out", "gate"), "one camera"),
        (("nowhere.mp4", "--out", "gate"), "nowhere.mp4 does not exist"),
    ):
        code, _, said = call("learn", *arguments)
        assert code in (2, 3)
        assert words in said
    shutil.rmtree("gate", ignore_errors=True)
    code, _, said = call("learn", "rtsp://user:secret@127.0.0.1:9/cam", "--out", "gate", "--minutes", "0.5", "--nope")
    assert "secret" not in said
