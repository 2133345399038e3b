"""`streamad evaluate` on a video data set as a researcher runs it: a trained model, drawn clips, real files."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from bundle_support import moving_shapes
from cli_support import Ran, command, streamad
from dataset_files_support import cut_off
from sklearn.metrics import roc_auc_score

from streamad.bundle import CALIBRATION, load_bundle, write_manifest
from streamad.files import locked

MODEL = "uncalibrated"
CLIPS = {"01": 60, "02": 50, "03": 40}


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of models with one: a shipped model without its calibration, which belongs to another camera."""
    folder = tmp_path_factory.mktemp("models")
    shipped = load_bundle("adacl-ped2")
    shutil.copytree(shipped.path, folder / MODEL, ignore=shutil.ignore_patterns(CALIBRATION))
    write_manifest(folder / MODEL, shipped.manifest.model_copy(update={"name": MODEL}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREAMAD_MODELS", str(folder))
        yield folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("site") / "gate"
    for split, names in (("training", {"a": 60}), ("testing", CLIPS)):
        for k, (name, frames) in enumerate(names.items()):
            folder = root / split / "frames" / name
            folder.mkdir(parents=True)
            for t, picture in enumerate(moving_shapes(frames, seed=k)):
                cv2.imwrite(str(folder / f"{t:03d}.png"), picture)
    (root / "testing" / "frame_labels").mkdir()
    (root / "testing" / "pixel_masks").mkdir()
    size = next(iter(moving_shapes(1, seed=0))).shape
    for name, frames in CLIPS.items():
        labels = np.zeros(frames, np.uint8)
        masks = np.zeros((frames, *size), bool)
        if name != "03":
            labels[20:35] = 1
            masks[20:35, 10:50, 30:80] = True
        np.save(root / "testing" / "frame_labels" / f"{name}.npy", labels)
        np.save(root / "testing" / "pixel_masks" / f"{name}.npy", masks)
    return root


@pytest.fixture(scope="module")
def ran(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Path]:
    out = tmp_path_factory.mktemp("results")
    return streamad("evaluate", str(data), "--model", MODEL, "--out", str(out), "--json", cwd=out.parent), out


def table(out: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    found: dict[str, list[tuple[float, int]]] = {}
    with (out / "scores.csv").open() as file:
        for row in csv.DictReader(file):
            found.setdefault(row["clip"], []).append((float(row["raw_score"] or "nan"), int(row["label"])))
    return {name: (np.array([s for s, _ in rows]), np.array([t for _, t in rows])) for name, rows in found.items()}


def test_the_figures_are_those_of_scikit_learn_on_the_scores_written(ran: tuple[Ran, Path]) -> None:
    done, out = ran
    assert done.code == 0, done.err
    document = done.document()
    rows = table(out)
    assert {name: len(scores) for name, (scores, _) in rows.items()} == CLIPS
    values = np.concatenate([scores for scores, _ in rows.values()])
    truth = np.concatenate([labels for _, labels in rows.values()])
    kept = np.isfinite(values)
    raw = next(p for p in document["protocols"] if p["normalization"] == "raw")
    assert raw["auc_micro"] == pytest.approx(roc_auc_score(truth[kept], values[kept]), abs=1e-9)
    assert raw["frames"] == int(kept.sum())
    assert raw["base_rate"] == pytest.approx(truth[kept].mean())
    assert raw["single_class_videos"] == [2]
    stretched = np.concatenate([(s - np.nanmin(s)) / (np.nanmax(s) - np.nanmin(s)) for s, _ in rows.values()])
    per_video = next(p for p in document["protocols"] if p["normalization"] == "per_video")
    assert per_video["auc_micro"] == pytest.approx(roc_auc_score(truth[kept], stretched[kept]), abs=1e-9)


def test_every_result_says_what_it_belongs_to(ran: tuple[Ran, Path]) -> None:
    document = ran[0].document()
    assert document["data_set"] == "gate"
    assert document["label_set"] == "frame_labels"
    assert document["origin"]["model"] == MODEL
    assert re.fullmatch(r"[0-9a-f]{64}", document["origin"]["model_sha256"])
    assert document["origin"]["selected_on_test_data"] is False
    assert document["localization"]["clips"] == 3
    assert 0 <= document["localization"]["pixel_auc"] <= 1
    assert {k: v for k, v in json.loads((ran[1] / "result.json").read_text()).items() if k in document} == document


def test_a_part_of_the_clips_says_that_it_is_one(data: Path, ran: tuple[Ran, Path], tmp_path: Path) -> None:
    done = streamad("evaluate", str(data), "--model", MODEL, "--clips", "02..03", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "a part, 2 of 3 test clips" in done.err
    assert done.document()["part_of"] == 3
    assert [clip["name"] for clip in done.document()["clips"]] == ["02", "03"]
    out = tmp_path / "results" / f"gate-{MODEL}-part"
    assert "a part: 2 of 3 test clips" in (out / "report.md").read_text()
    # A clip's scores depend on no other clip.
    np.testing.assert_array_equal(np.load(out / "scores.npz")["02"], np.load(ran[1] / "scores.npz")["02"])
    compared = streamad("compare", str(ran[1]), str(out), "--draws", "0", cwd=tmp_path)
    assert "different test clips; their metrics are not comparable" in compared.err
    refused = streamad("evaluate", str(data), "--model", MODEL, "--clips", "02,04", cwd=tmp_path)
    assert refused.code == 2
    assert "no test clip '04'" in refused.err


def test_the_page_needs_nothing_else(ran: tuple[Ran, Path]) -> None:
    page = (ran[1] / "report.html").read_text()
    assert page.count("<svg") == 4
    assert "data:image/jpeg;base64," in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert not re.findall(r"url\((?!#)[^)]*\)", page)
    for words in (
        "Why protocols differ",
        "Highest-scoring normal frames",
        "Lowest-scoring abnormal frames",
        "RBDC",
        "selected on test data",
    ):
        assert words in page
    markdown = (ran[1] / "report.md").read_text()
    assert "| raw | nothing |" in markdown


def test_again_takes_what_is_there_and_gives_the_same(data: Path, ran: tuple[Ran, Path], tmp_path: Path) -> None:
    first, out = ran
    again = tmp_path / "again"
    shutil.copytree(out, again)
    (again / "clips" / "02" / "clip.json").unlink()  # as if killed while scoring this clip
    kept = (again / "clips" / "01" / "scores.npy").stat().st_mtime_ns
    done = streamad("evaluate", str(data), "--model", MODEL, "--out", str(again), "--json", cwd=tmp_path)
    assert (again / "clips" / "01" / "scores.npy").stat().st_mtime_ns == kept
    one, two = first.document(), done.document()
    for document in (one, two):
        document["origin"].pop("seconds")
        for clip in document["clips"]:
            clip.pop("seconds")
    assert one == two


@pytest.mark.slow
def test_scored_from_scratch_in_one_worker_it_is_the_same(data: Path, ran: tuple[Ran, Path], tmp_path: Path) -> None:
    streamad("evaluate", str(data), "--model", MODEL, "--out", str(tmp_path), "--workers", "1", cwd=tmp_path)
    for name in CLIPS:
        np.testing.assert_allclose(
            np.load(tmp_path / "clips" / name / "scores.npy"),
            np.load(ran[1] / "clips" / name / "scores.npy"),
            rtol=0,
            atol=1e-5,
        )


def test_a_broken_frame_is_reported_and_the_run_goes_on(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "gate"
    shutil.copytree(data, copy)
    (copy / "testing" / "frames" / "01" / "030.png").write_bytes(b"no picture")
    done = streamad("evaluate", str(copy), "--model", MODEL, "--out", str(tmp_path / "out"), "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    (broken,) = [clip for clip in done.document()["clips"] if clip["problems"]]
    assert broken["name"] == "01"
    assert "030.png: cannot be decoded" in broken["problems"][0]
    assert "1 clips have problems (01)" in done.err
    assert np.isnan(np.load(tmp_path / "out" / "clips" / "01" / "scores.npy")[30])


def write_avi(path: Path, frames: int, seed: int) -> None:
    """Write a file like Avenue's: MPEG-4 in AVI, whose header declares the number of frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for picture in moving_shapes(frames, seed=seed):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        container.mux(stream.encode(None))


@pytest.mark.slow
def test_videos_that_are_cut_off_or_broken_are_reported_and_the_run_goes_on(tmp_path: Path) -> None:
    root = tmp_path / "gate"
    labels = {}
    for split, names in (("training", {"a": 60, "b": 20}), ("testing", {"01": 50, "02": 60, "03": 40})):
        for k, (name, frames) in enumerate(names.items()):
            write_avi(root / split / "videos" / f"{name}.avi", frames, k)
            if split == "testing":
                labels[name] = np.zeros(frames, np.uint8)
                labels[name][20:35] = 1
    (root / "testing" / "frame_labels").mkdir()
    for name, values in labels.items():
        np.save(root / "testing" / "frame_labels" / f"{name}.npy", values)
    cut_off(root / "testing" / "videos" / "02.avi")
    (root / "testing" / "videos" / "03.avi").write_bytes(b"no video at all")
    (root / "training" / "videos" / "b.avi").write_bytes(b"nor this")
    done = streamad("evaluate", str(root), "--model", MODEL, "--out", str(tmp_path / "out"), "--json", cwd=tmp_path)
    assert done.code == 3, done.err  # finished, but marked because part of it could not be read
    document = done.document()
    one, two, three = document["clips"]
    assert not one["problems"]
    assert [(c["frames"], c["abnormal"]) for c in (one, two, three)] == [(50, 15), (60, 15), (40, 15)]
    assert "of 60 frames" in "; ".join(two["problems"])
    assert 5 < two["scored"] < 50
    assert "damaged beyond reading" in three["problems"][0]
    assert three["scored"] == 0
    raw = next(p for p in document["protocols"] if p["normalization"] == "raw")
    assert raw["unscored_videos"] == [2]
    notes = "\n".join(document["notes"])
    for words in ("02.avi", "03.avi", "b.avi: "):
        assert words in notes
    rows = table(tmp_path / "out")
    values, truth = (np.concatenate([row[k] for row in rows.values()]) for k in (0, 1))
    kept = np.isfinite(values)
    assert raw["frames"] == int(kept.sum()) == one["scored"] + two["scored"]
    assert raw["auc_micro"] == pytest.approx(roc_auc_score(truth[kept], values[kept]), abs=1e-9)
    assert len(values) == 150


@pytest.mark.slow
def test_the_official_ucsd_layout_with_damage_in_every_kind_of_file(tmp_path: Path) -> None:
    """Damage: a .tif that does not decode and a truncated mask. Two intervals and `_gt` bitmaps in three styles."""
    root = tmp_path / "UCSDped1"
    names = {"Test001": "{:03d}.bmp", "Test002": "frame{:03d}.bmp", "Test003": "Test003_{:d}.bmp"}
    for k, folder in enumerate(("Train/Train001", *(f"Test/{name}" for name in names))):
        (root / folder).mkdir(parents=True)
        for t, picture in enumerate(moving_shapes(50, seed=k), 1):
            cv2.imwrite(str(root / folder / f"{t:03d}.tif"), picture)
    for name, pattern in names.items():
        (root / "Test" / f"{name}_gt").mkdir()
        for t in range(1, 51):
            mask = np.zeros((120, 160), np.uint8)
            mask[30:80, 40:110] = 255 * (10 <= t <= 20 or 30 <= t <= 40)
            cv2.imwrite(str(root / "Test" / f"{name}_gt" / pattern.format(t)), mask)
    lines = [f"TestVideoFile{{end+1}}.gt_frame = [{i}];" for i in ("10:20, 30:40", "10:20, 30:40", "10:20,30:40")]
    (root / "Test" / "UCSDped1.m").write_text("TestVideoFile = {};\r\n" + "\r\n".join(lines) + "\r\n")
    frame = root / "Test" / "Test001" / "025.tif"
    frame.write_bytes(frame.read_bytes()[:1000])
    mask = root / "Test" / "Test003_gt" / "Test003_7.bmp"
    mask.write_bytes(mask.read_bytes()[:500])
    words = ("evaluate", "ped1", "--data", str(root), "--model", MODEL, "--out", str(tmp_path / "out"), "--json")
    done = streamad(*words, cwd=tmp_path)
    assert done.code == 0, done.err
    document = done.document()
    one, two, three = document["clips"]
    assert [c["abnormal"] for c in (one, two, three)] == [22, 22, 22]
    assert "025.tif: cannot be decoded" in one["problems"][0]
    assert not two["problems"]
    assert "its masks were left out" in three["problems"][0]
    assert "Test003_7.bmp does not decode" in three["problems"][0]
    assert document["localization"]["clips"] == 2
    assert document["localization"]["regions"] == sum(c["scored"] > 0 for c in (one, two)) * 22
    assert document["localization"]["tracks"] == 4
    notes = "\n".join(document["notes"])
    assert "3 test clips, officially 36" in notes
    assert "test clip Test001: 50 frames, officially 200" in notes
    # The frame is repaired: its clip is scored again, the others are not.
    kept = (tmp_path / "out" / "clips" / "Test002" / "scores.npy").stat().st_mtime_ns
    cv2.imwrite(str(frame), next(iter(moving_shapes(1, seed=1))))
    mended = streamad(*words, cwd=tmp_path).document()
    assert mended["clips"][0]["problems"] == []
    assert mended["clips"][0]["scored"] > one["scored"]
    assert (tmp_path / "out" / "clips" / "Test002" / "scores.npy").stat().st_mtime_ns == kept


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_from_there(data: Path, ran: tuple[Ran, Path], tmp_path: Path) -> None:
    words = ("evaluate", str(data), "--model", MODEL, "--out", str(tmp_path), "--workers", "1")
    first = subprocess.Popen(command(*words), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("clips/*/clip.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    first.kill()
    first.wait()
    finished = {path.parent.name for path in tmp_path.glob("clips/*/clip.json")}
    assert finished
    assert not (tmp_path / "result.json").exists()
    kept = {name: (tmp_path / "clips" / name / "scores.npy").stat().st_mtime_ns for name in finished}
    done = streamad(*words, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    for name, written in kept.items():
        assert (tmp_path / "clips" / name / "scores.npy").stat().st_mtime_ns == written
    ours, whole = done.document()["protocols"], ran[0].document()["protocols"]
    assert [p["auc_micro"] for p in ours] == pytest.approx([p["auc_micro"] for p in whole], abs=1e-4)


def test_a_folder_that_another_evaluation_writes_to_is_left_alone(data: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "clips") as mine:
        assert mine
        done = streamad("evaluate", str(data), "--model", MODEL, "--out", str(tmp_path), "--json", cwd=tmp_path)
    assert "another evaluation writes to" in done.error()["message"]
    assert list((tmp_path / "clips").iterdir()) == [tmp_path / "clips" / ".lock"]


def test_test_clips_of_one_class_are_refused_before_anything_is_scored(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, copy := tmp_path / "gate")
    for path in (copy / "testing" / "frame_labels").iterdir():
        np.save(path, np.zeros_like(np.load(path)))
    done = streamad("evaluate", str(copy), "--model", MODEL, "--out", str(tmp_path / "out"), "--json", cwd=tmp_path)
    assert done.code == 5
    assert "all 150 frames of 3 test clips are normal" in done.error()["message"]
    assert not list((tmp_path / "out").glob("clips/*"))


def test_missing_labels_end_it_with_the_path(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "gate"
    shutil.copytree(data, copy)
    (copy / "testing" / "frame_labels" / "02.npy").unlink()
    done = streamad("evaluate", str(copy), "--model", MODEL, "--out", str(tmp_path / "out"), "--json", cwd=tmp_path)
    assert done.code == 5
    assert "02.npy" in done.error()["message"]


def test_score_files_and_comparison(ran: tuple[Ran, Path], data: Path, tmp_path: Path) -> None:
    document = ran[0].document()
    files = streamad(
        "evaluate-scores", str(ran[1] / "scores.npz"), "--labels", str(data / "testing" / "frame_labels"),
        "--out", str(tmp_path / "files"), "--name", "theirs", "--json", cwd=tmp_path,
    )  # fmt: skip
    ours = {p["normalization"]: p["auc_micro"] for p in document["protocols"]}
    theirs = {p["normalization"]: p["auc_micro"] for p in files.document()["protocols"]}
    assert theirs == {name: ours[name] for name in theirs}
    assert set(theirs) == {"raw", "per_video", "running"}
    assert files.document()["origin"]["selected_on_test_data"] is None
    # With a threshold, one raw score above it marks a frame, and half a second of them an alert.
    scores = np.concatenate([values for values, _ in table(ran[1]).values()])
    truth = np.concatenate([labels for _, labels in table(ran[1]).values()])
    threshold = float(np.nanquantile(scores, 0.6))
    alerts = streamad(
        "evaluate-scores", str(ran[1] / "scores.npz"), "--labels", str(data / "testing" / "frame_labels"),
        "--threshold", repr(threshold), "--fps", "10", "--json", cwd=tmp_path,
    ).document()["alerts"]  # fmt: skip
    assert alerts["frame_true_positive_rate"] == pytest.approx(np.mean(scores[truth == 1] >= threshold))
    normal = scores[(truth == 0) & ~np.isnan(scores)]
    assert alerts["frame_false_positive_rate"] == pytest.approx(np.mean(normal >= threshold))
    assert alerts["alerts_per_day"] is None
    assert [(e["clip"], e["start_seconds"]) for e in alerts["events"]] == [("01", 2.0), ("02", 2.0)]
    assert streamad("evaluate-scores", str(ran[1] / "scores.csv"), "--threshold", "1", cwd=tmp_path).code == 2
    # On request, `calibrated` treats the scores of a file as calibrated; a model must have a calibration.
    as_is = streamad(
        "evaluate-scores", str(ran[1] / "scores.csv"), "--normalization", "calibrated", "--json", cwd=tmp_path
    ).document()["protocols"]
    assert [(p["normalization"], p["auc_micro"]) for p in as_is] == [("calibrated", ours["raw"])]
    refused = streamad(
        "evaluate", str(data), "--model", MODEL, "--out", str(tmp_path / "no"), "--normalization", "raw,calibrated",
        "--json", cwd=tmp_path,
    )  # fmt: skip
    assert "has no calibration" in refused.error()["message"]
    both = streamad("compare", str(ran[1]), str(tmp_path / "files"), cwd=tmp_path)
    assert both.code == 0
    assert f"| raw: AUC micro | {ours['raw']:.4f} | {ours['raw']:.4f} |" in both.out
    assert "different data sets" in both.err
    assert streamad("compare", str(tmp_path), cwd=tmp_path).code == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("evaluate",), "Missing argument 'DATASET'"),
        (("evaluate", "ped2"), "Missing option '--model'"),
        # Former uses of `evaluate` name the command that replaces them.
        (("evaluate", "--scores", "x.npz", "--labels", "y.npz"), "use `streamad evaluate-scores`"),
        (("evaluate", "--labels", "y.npz"), "use `streamad evaluate-scores`"),
        (("evaluate", "ped2", "--model", MODEL, "--fps", "5"), "use `streamad evaluate-scores`"),
        (("evaluate", "mnist", "--detector", "adacl"), "use `streamad benchmark-images`"),
        (("evaluate", "mnist"), "use `streamad benchmark-images mnist`"),
        (("evaluate", ".", "--model", MODEL, "--normalization", "best"), "--normalization 'best'"),
        (("evaluate", ".", "--model", MODEL, "--edge", "guess"), "--edge 'guess'"),
    ],
)
def test_words_that_are_wrong(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = streamad(*words, "--json", cwd=tmp_path)
    assert done.code == 2
    assert message in done.error()["message"]


@pytest.mark.slow
def test_the_first_inferences_of_two_threads_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Each attempt runs in its own process, because the hang affected the first inference (once in about 20 runs)."""
    program = tmp_path / "two.py"
    program.write_text(
        "import sys, threading, numpy as np\n"
        "from streamad.bundle import load_bundle\n"
        "from streamad.engines import EngineSpec\n"
        "from streamad.inference import open_model\n"
        "sys.setswitchinterval(1e-5)\n"
        f"bundle = load_bundle({MODEL!r})\n"
        "gate = threading.Barrier(4)\n"
        "def work():\n"
        "    gate.wait()\n"
        "    with open_model(bundle, EngineSpec(threads=1)) as model:\n"
        "        spec = bundle.manifest.input\n"
        "        model.engine.infer(np.zeros((2, spec.channels, spec.height, spec.width), np.float32))\n"
        "threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]\n"
        "[t.start() for t in threads]\n"
        "[t.join(60) for t in threads]\n"
        "sys.exit(any(t.is_alive() for t in threads))\n"
    )
    for _ in range(3):
        assert subprocess.run([sys.executable, str(program)], timeout=90).returncode == 0


@pytest.mark.slow
def test_local_scores_stand_beside_the_others(data: Path, ran: tuple[Ran, Path], models: Path, tmp_path: Path) -> None:
    """With per-location statistics, the model's own scores stay, and the row `local` has the scores used for alerts."""
    bundle = shutil.copytree(models / MODEL, tmp_path / MODEL)
    normal = data / "training" / "frames"
    made = streamad("calibrate", str(bundle), "--local", "--data", str(normal), "--json", cwd=tmp_path)
    assert made.code == 0, made.err
    assert made.document()["local"] is True
    out = tmp_path / "out"
    done = streamad("evaluate", str(data), "--model", str(bundle), "--out", str(out), "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    figures = {p["normalization"]: p for p in done.document()["protocols"]}
    assert figures.keys() == {"raw", "per_video", "running", "local"}
    before = {p["normalization"]: p for p in ran[0].document()["protocols"]}
    assert figures["raw"]["auc_micro"] == pytest.approx(before["raw"]["auc_micro"], abs=1e-6)
    with (out / "scores.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["local_score"]]
    truth = np.array([int(row["label"]) for row in rows])
    for column in ("local_score", "score"):
        values = np.array([float(row[column]) for row in rows])
        assert figures["local"]["auc_micro"] == pytest.approx(roc_auc_score(truth, values), abs=1e-6)
    threshold = done.document()["alerts"]["threshold"]
    share = np.mean([float(row["local_score"]) >= threshold for row in rows if row["label"] == "1"])
    assert done.document()["alerts"]["frame_true_positive_rate"] == pytest.approx(share)
    assert "local: AUC" in (out / "report.html").read_text()
    # A manual threshold is on the detector's own scale, and so are all values next to it.
    given = streamad("evaluate", str(data), "--model", str(bundle), "--out", str(out), "--threshold", "0.3", "--json",
                     cwd=tmp_path)  # fmt: skip
    assert {p["normalization"] for p in given.document()["protocols"]} == {"raw", "per_video", "running"}
