"""Sinks: JSON lines in real files and pipes, log lines, and failures that stay where they are."""

from __future__ import annotations

import io
import json
import logging
import os
import time
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
        on_outcome=lambda name, outcome, amount, reason: outcomes.append((name, outcome)),
    )
    fanout.emit(make_event(), "opened")
    fanout.emit(replace(make_event(), reason="progress"), "updated")
    fanout.close()
    assert {o for o in outcomes if o[0] != "failing"} == {("jsonl", "written"), ("log", "written")}
    assert {o for o in outcomes if o[0] == "failing"} == {("failing", "failed"), ("failing", "dropped")}
    assert len(lines(path)) == 1
    assert caplog.text.count("nobody answers; keeping the data in memory and retrying") == 1


def read_line(descriptor: int) -> dict[str, object]:
    text = b""
    while not text.endswith(b"\n"):
        text += os.read(descriptor, 1)
    document = json.loads(text)
    assert isinstance(document, dict)
    return document


def test_a_reader_that_stops_reading_delays_nobody_and_gets_every_line_in_order(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    stream, path = os.fdopen(write_end, "w"), tmp_path / "events.jsonl"
    fanout = SinkFanout([JsonlSink(stream=stream), JsonlSink(path)])
    events = [make_event(number) for number in range(400)]  # the pipe holds some 100
    for event in events:
        fanout.emit(event, "opened")
    stuck, free = fanout.writers
    assert free.flush(30)
    assert [line["id"] for line in lines(path)] == [event.id for event in events]
    assert not stuck.flush(0)
    assert stuck.status()["waiting"] > 200
    assert [read_line(read_end)["id"] for _ in events] == [event.id for event in events]
    assert stuck.flush(30)
    fanout.close()
    stream.close()
    os.close(read_end)


def test_a_reader_that_never_reads_again_costs_the_newest_nothing_and_the_end_little() -> None:
    read_end, write_end = os.pipe()
    stream, outcomes = os.fdopen(write_end, "w"), list[tuple[str, int]]()
    fanout = SinkFanout(
        [JsonlSink(stream=stream)],
        capacity=50,
        on_outcome=lambda name, outcome, amount, reason: outcomes.append((outcome, amount)),
    )
    events = [make_event(number) for number in range(400)]
    for event in events:
        fanout.emit(event, "opened")
    (writer,) = fanout.writers
    waiting = [event.id for event, _ in writer.waiting()]
    assert waiting[-50:] == [event.id for event in events[-50:]]
    fanout.close()  # does not wait for the reader
    counts = {name: sum(amount for outcome, amount in outcomes if outcome == name) for name, _ in outcomes}
    assert counts["written"] + counts["dropped"] == 400
    assert not writer.is_over
    os.close(read_end)  # lets the thread go: the pipe is broken
    assert writer.close()
    assert writer.is_over
    stream.close()


def test_a_named_pipe_waits_for_its_reader_and_for_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    fanout = SinkFanout([JsonlSink(path)], retry_seconds=0.02)  # at once, without a reader
    events = [make_event(number) for number in range(3)]
    for event in events:
        fanout.emit(event, "opened")
        assert not fanout.writers[0].flush(0.05)
        reader = os.open(path, os.O_RDONLY)
        assert read_line(reader)["id"] == event.id
        while fanout.writers[0].waiting():  # it has been read, and is about to be counted
            time.sleep(0.01)
        os.close(reader)
    fanout.close()
