"""Sinks: JSON lines in real files and pipes, log lines, and failures that stay where they are."""

from __future__ import annotations

import io
import json
import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest
from unit.alerts.alert_events import make_event

from streamad.alerts import Event
from streamad.alerts.sinks import JsonlSink, JsonlSinkSpec, LogSink, LogSinkSpec, SinkFanout, build_sink
from streamad.errors import OutputError


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_change_is_one_line_with_the_kind_first(tmp_path: Path) -> None:
    path = tmp_path / "new" / "events.jsonl"
    event = make_event()
    sink = JsonlSink(path)
    for kind in ("opened", "updated", "closed"):
        sink.emit(event, kind)  # type: ignore[arg-type]
    sink.close()
    written = lines(path)
    assert [line["kind"] for line in written] == ["opened", "updated", "closed"]
    assert list(written[0]) == ["kind", *event.to_dict()]
    assert {k: v for k, v in written[0].items() if k != "kind"} == event.to_dict()


def test_updates_can_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = build_sink(JsonlSinkSpec(path=path, changes="open_close"))
    for kind in ("opened", "updated", "closed"):
        sink.emit(make_event(), kind)  # type: ignore[arg-type]
    sink.close()
    assert [line["kind"] for line in lines(path)] == ["opened", "closed"]


def test_lines_are_appended_and_a_line_that_broke_off_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"kind":"opened","id":"01')
    sink = JsonlSink(path)
    sink.emit(make_event(), "opened")
    sink.close()
    broken, whole = path.read_text().splitlines()
    assert broken == '{"kind":"opened","id":"01'
    assert json.loads(whole)["kind"] == "opened"


def test_a_rotated_file_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JsonlSink(path)
    sink.emit(make_event(), "opened")
    path.rename(tmp_path / "events.jsonl.1")
    sink.emit(make_event(), "closed")
    sink.close()
    assert [line["kind"] for line in lines(path)] == ["closed"]


def test_without_a_path_lines_go_to_the_stream() -> None:
    stream = io.StringIO()
    sink = JsonlSink(stream=stream)
    sink.emit(make_event(camera="tür"), "opened")
    sink.close()
    assert json.loads(stream.getvalue())["camera"] == "tür"
    assert not stream.closed


def test_a_full_disk_is_a_typed_error() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    sink = JsonlSink(full)
    with pytest.raises(OutputError, match="No space left on device"):
        sink.emit(make_event(), "opened")
    sink.close()


def test_a_reader_that_went_away_is_a_typed_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    stream = os.fdopen(write_end, "w", buffering=1)
    with pytest.raises(OutputError, match="standard output: Broken pipe"):
        JsonlSink(stream=stream).emit(make_event(), "opened")
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_a_path_that_cannot_be_opened_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Is a directory") as caught:
        JsonlSink(tmp_path)
    assert caught.value.hint


def test_log_levels_follow_the_severity(caplog: pytest.LogCaptureFixture) -> None:
    sink = build_sink(LogSinkSpec())
    event = make_event()
    with caplog.at_level(logging.INFO, logger="streamad.alerts"):
        sink.emit(event, "opened")
        sink.emit(replace(event, severity="critical", reason="escalated"), "updated")
        sink.emit(replace(event, state="closed"), "closed")
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR", "INFO"]
    assert "gate: warning alert opened (score) at 1.50 s, peak 12.5 over threshold 10" in caplog.text
    assert caplog.records[0].__dict__["event_id"] == event.id


class _Failing:
    name = "failing"

    def emit(self, event: Event, kind: str) -> None:
        raise OutputError("nobody answers")

    def close(self) -> None:
        pass


def test_one_failing_sink_does_not_stop_the_next(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outcomes: list[tuple[str, str]] = []
    path = tmp_path / "events.jsonl"
    fanout = SinkFanout(
        [_Failing(), JsonlSink(path), LogSink()],
        on_outcome=lambda name, outcome: outcomes.append((name, outcome)),
    )
    fanout.emit(make_event(), "opened")
    fanout.emit(replace(make_event(), reason="progress"), "updated")
    fanout.close()
    assert outcomes == [("failing", "failed"), ("jsonl", "delivered"), ("log", "delivered")]
    assert len(lines(path)) == 1
    assert "nobody answers" in caplog.text
