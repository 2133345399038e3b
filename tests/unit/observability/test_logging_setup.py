"""Log lines as a user and a log collector read them."""

from __future__ import annotations

import io
import json
import logging

import pytest

from streamad.observability import LoggingSpec, setup_logging
from streamad.observability.logging import MAX_KEYS, AggregatingHandler, JsonFormatter

SECRET = "rtsp://admin:geheim@10.0.0.5/live"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


pytestmark = pytest.mark.usefixtures("logging_as_before")


def fail_to_open(url: str) -> None:
    raise ConnectionError(f"cannot open {url}")


def test_json_is_one_object_a_line_with_exception_and_extra_fields() -> None:
    stream = io.StringIO()
    setup_logging("info", "json", stream=stream)
    log = logging.getLogger("streamad.sources")
    log.info("two\nlines of %s", "text", extra={"camera": "gate", "frames": 3})
    try:
        fail_to_open("x")
    except ConnectionError:
        log.exception("failed")
    first, second = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert first["message"] == "two\nlines of text"
    assert (first["level"], first["logger"], first["camera"], first["frames"]) == (
        "info",
        "streamad.sources",
        "gate",
        3,
    )
    assert first["time"].endswith("+00:00")
    assert "ConnectionError: cannot open x" in second["exception"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_credential_reaches_the_log_on_any_way(form: str) -> None:
    stream = io.StringIO()
    setup_logging("debug", form, stream=stream)  # type: ignore[arg-type]
    log = logging.getLogger("streamad.sources")
    log.warning(f"opening {SECRET}")
    log.warning("opening %s after %d s", SECRET, 3)
    log.warning("pieces: %s://%s:%s@host", "rtsp", "admin", "geheim")
    log.warning("settings %s", {"url": SECRET})
    log.info("extra", extra={"url": SECRET, "nested": {"urls": [SECRET]}})
    log.info("stack", stack_info=True, extra={"x": SECRET})
    try:
        try:
            fail_to_open(SECRET)
        except ConnectionError as error:
            raise ValueError("inner") from error
    except ValueError:
        log.exception("failed with %s", SECRET)
    written = stream.getvalue()
    assert "geheim" not in written
    assert "10.0.0.5" in written
    assert "ConnectionError: cannot open rtsp://***@10.0.0.5/…" in written


def test_text_on_no_terminal_is_one_plain_line_a_record() -> None:
    stream = io.StringIO()
    setup_logging("info", "text", stream=stream)
    logging.getLogger("streamad.x").info("word " * 60)
    (line,) = stream.getvalue().splitlines()
    assert "INFO" in line
    assert "streamad.x: word word" in line
    assert "\x1b" not in line


def test_text_on_a_terminal_is_colored_and_still_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    setup_logging("info", "text", stream=stream)
    logging.getLogger("streamad.x").error("cannot open %s", SECRET)
    assert "\x1b[" in stream.getvalue()
    assert "geheim" not in stream.getvalue()


def test_levels_are_ours_and_other_libraries_speak_from_warning_on() -> None:
    stream = io.StringIO()
    setup_logging("warning", "text", stream=stream)
    logging.getLogger("streamad.x").info("quiet")
    logging.getLogger("httpx").info("quiet")
    logging.getLogger("httpx").warning("loud")
    setup_logging("debug", "text", stream=stream)
    logging.getLogger("streamad.x").debug("heard")
    text = stream.getvalue()
    assert "quiet" not in text
    assert text.count("loud") == 1
    assert text.count("heard") == 1


def make_aggregator(seconds: float = 10.0) -> tuple[logging.Logger, io.StringIO, Clock, AggregatingHandler]:
    stream, clock = io.StringIO(), Clock()
    target = logging.StreamHandler(stream)
    target.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    handler = AggregatingHandler(target, repeat_seconds=seconds, clock=clock)
    log = logging.Logger("aggregated")
    log.addHandler(handler)
    return log, stream, clock, handler


def test_a_message_that_does_not_fit_its_arguments_is_written_all_the_same() -> None:
    log, stream, _, _ = make_aggregator()
    log.warning("a bug in the call %d", SECRET)
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("WARNING a bug in the call %d ('rtsp://***@10.0.0.5/…',) (cannot be formatted: ")


def test_repeated_errors_are_written_once_and_counted() -> None:
    log, stream, clock, _ = make_aggregator()
    for _ in range(125):
        log.error("camera %s: timeout", "gate")
        clock.now += 0.01
    log.error("camera %s: timeout", "dock")
    assert stream.getvalue().splitlines() == ["ERROR camera gate: timeout", "ERROR camera dock: timeout"]
    clock.now = 10.0
    log.info("anything")
    assert stream.getvalue().splitlines()[2:] == ["ERROR camera gate: timeout … repeated 124 times", "INFO anything"]
    log.error("camera gate: timeout")
    assert stream.getvalue().splitlines()[-1] == "ERROR camera gate: timeout"


def test_what_was_said_once_is_not_repeated_and_other_levels_are_apart() -> None:
    log, stream, _, handler = make_aggregator()
    log.warning("once")
    log.error("once")
    for _ in range(3):
        log.info("information")
    handler.flush()
    assert stream.getvalue().splitlines() == ["WARNING once", "ERROR once"] + ["INFO information"] * 3


def test_flush_and_close_report_what_is_counted() -> None:
    log, stream, _, handler = make_aggregator()
    for _ in range(2):
        log.error("x")
    handler.flush()
    assert stream.getvalue().splitlines()[-1] == "ERROR x … repeated 1 time"
    for _ in range(3):
        log.error("x")
    handler.close()
    assert stream.getvalue().splitlines()[-1] == "ERROR x … repeated 2 times"


def test_a_stream_that_was_closed_meanwhile_hinders_nobody() -> None:
    gone, stream = io.StringIO(), io.StringIO()
    setup_logging("info", "text", stream=gone)
    gone.close()
    setup_logging("info", "text", stream=stream)
    logging.getLogger("streamad.x").info("heard")
    assert stream.getvalue().count("heard") == 1


def test_aggregation_can_be_switched_off() -> None:
    log, stream, _, _ = make_aggregator(0.0)
    for _ in range(3):
        log.error("x")
    assert len(stream.getvalue().splitlines()) == 3


def test_memory_for_messages_is_bounded() -> None:
    log, stream, _, handler = make_aggregator()
    for i in range(3 * MAX_KEYS):
        log.error("message %d", i)
        log.error("message %d", i)
    assert len(handler._seen) <= MAX_KEYS
    handler.flush()
    assert len(stream.getvalue().splitlines()) == 6 * MAX_KEYS


def test_records_without_extras_have_no_surprising_keys() -> None:
    record = logging.makeLogRecord({"msg": "x", "levelname": "INFO", "name": "n"})
    assert list(json.loads(JsonFormatter().format(record))) == ["time", "level", "logger", "message"]


def test_the_spec_fits_the_function() -> None:
    spec = LoggingSpec(level="error", format="json")
    stream = io.StringIO()
    setup_logging(spec.level, spec.format, stream=stream, repeat_seconds=spec.repeat_seconds)
    logging.getLogger("streamad").error("x")
    assert json.loads(stream.getvalue())["message"] == "x"
    assert all(field.description for field in LoggingSpec.model_fields.values())
