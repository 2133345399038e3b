"""Evidence on disk: what is found, what is removed, and what never is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from streamad.alerts import new_event_id
from streamad.alerts.evidence import evidence_of, find_evidence, remove_old

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def make(folder: Path, camera: str, age: timedelta, size: int = 1000) -> Path:
    own = folder / camera / new_event_id(NOW - age)
    own.mkdir(parents=True)
    (own / "clip.mp4").write_bytes(bytes(size))
    (own / "snapshot.jpg").write_bytes(b"\xff\xd8")
    return own


def test_the_oldest_of_each_camera_go_first_and_open_events_never(tmp_path: Path) -> None:
    gate = [make(tmp_path, "gate", timedelta(hours=hours)) for hours in (5, 4, 3, 2, 1)]
    yard = make(tmp_path, "yard", timedelta(hours=9))
    removed = remove_old(tmp_path, max_bytes=2100, oldest=None, keep={gate[0].name})
    assert removed == [gate[1], gate[2], gate[3]]
    assert all(path.is_dir() for path in (gate[0], gate[4], yard))


def test_by_age_alone(tmp_path: Path) -> None:
    old, young = (make(tmp_path, "gate", timedelta(days=days)) for days in (31, 29))
    assert remove_old(tmp_path, max_bytes=1e9, oldest=None) == []
    assert remove_old(tmp_path, max_bytes=1e9, oldest=NOW - timedelta(days=30)) == [old]
    assert evidence_of(tmp_path, "gate", young.name).snapshot == young / "snapshot.jpg"


def test_known_sizes_follow_a_folder_that_grows(tmp_path: Path) -> None:
    own, sizes = make(tmp_path, "gate", timedelta(hours=1)), dict[Path, tuple[int, int]]()
    assert remove_old(tmp_path, max_bytes=5000, oldest=None, sizes=sizes) == []
    (own / "clip-2.mp4").write_bytes(bytes(6000))
    assert remove_old(tmp_path, max_bytes=5000, oldest=None, sizes=sizes) == [own]


def test_files_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / "gate" / "notes").mkdir(parents=True)
    (tmp_path / "gate" / "notes" / "a.txt").write_text("mine")
    outside = tmp_path / "outside"
    (outside / "data").mkdir(parents=True)
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "link").symlink_to(outside)
    assert remove_old(tmp_path, max_bytes=0, oldest=datetime.max.replace(tzinfo=UTC)) == []
    assert (tmp_path / "gate" / "notes" / "a.txt").exists()


@pytest.mark.parametrize("event", ["..", "../..", "gate", "", "0" * 26, "%2e%2e", "01KXJ5Q8ZC4M7T2V9B3N6R1W0H/.."])
def test_no_id_leads_elsewhere(tmp_path: Path, event: str) -> None:
    make(tmp_path, "gate", timedelta(hours=1))
    assert find_evidence(tmp_path, event) is None


def test_only_complete_files_count(tmp_path: Path) -> None:
    own = make(tmp_path, "gate", timedelta(hours=1))
    (own / "clip-2.mp4.part").write_bytes(b"x")
    (own / ".event.json.abc").write_bytes(b"x")
    (own / "trace.csv").symlink_to("/etc/passwd")
    found = find_evidence(tmp_path, own.name)
    assert found is not None
    assert [path.name for path in found.files] == ["clip.mp4", "snapshot.jpg"]
