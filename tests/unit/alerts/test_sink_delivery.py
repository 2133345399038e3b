"""Delivery to a real HTTP server: an hour of outage, order, restarts, poison, hanging receivers, and the end."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Literal

import pytest
from pydantic import SecretStr
from receiver_support import Clock, Receiver, receiver
from unit.alerts.alert_events import START, make_event

from streamad.alerts import Event
from streamad.alerts.sinks import (
    AppriseSinkSpec,
    Delivery,
    MqttSinkSpec,
    Notification,
    NotifierSpec,
    OutboxSpec,
    PluginSink,
    SinkContext,
    SinkFanout,
    WebhookSinkSpec,
    build_sink,
)
from streamad.alerts.sinks.delivery import MAX_OVERTAKEN, PATIENCE, PICTURE_SECONDS


@pytest.fixture
def server() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


class Case:
    """A delivery driven by a clock of its own instead of its thread."""

    def __init__(self, folder: Path, server: Receiver, *, context: SinkContext | None = None, **settings: Any) -> None:
        self.clock = Clock(START)
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self._arguments = folder, server, context or SinkContext(), settings
        self.open()

    def open(self) -> None:
        folder, server, context, settings = self._arguments
        limits = {key: settings[key] for key in ("max_waiting", "max_age_hours") if key in settings}
        spec = WebhookSinkSpec.model_validate(
            {"url": server.url, "timeout_seconds": 0.5, **{k: v for k, v in settings.items() if k not in limits}}
        )
        self.delivery = Delivery(
            spec,
            spec.build_sender(context),
            OutboxSpec(folder=folder / "outbox", **limits),
            context,
            clock=self.clock,
            wall_clock=self.clock.wall,
            rng=Random(7),
        )
        self.delivery._on_outcome = lambda outcome, amount, reason: self.outcomes.update({(outcome, reason): amount})

    def change(self, event: Event, kind: Any) -> None:
        self.delivery._accept([(event, kind)])

    def run(self, seconds: float, *, attempts: int = 10_000) -> int:
        """Let time pass; return the number of attempts."""
        end, before = self.clock.seconds + seconds, sum(self.outcomes.values())
        while self.clock.seconds <= end:
            wait = self.delivery.step()
            self.clock.seconds += wait
            if sum(self.outcomes.values()) - before >= attempts:
                break
        return sum(self.outcomes.values()) - before


def closed(event: Event) -> Event:
    return replace(event, state="closed", ended_at=event.updated_at, ended_pts_seconds=2.0)


def told(server: Receiver) -> list[tuple[str, str]]:
    return [(document["event"]["id"], document["kind"]) for document in server.accepted]


def test_nothing_is_lost_in_an_hour_of_outage_and_the_order_is_kept(tmp_path: Path, server: Receiver) -> None:
    case = Case(tmp_path, server)
    server.status = 500
    expected = []
    for number in range(60):  # an event a minute, each open for half of it
        event = make_event(number)
        case.change(event, "opened")
        case.run(30)
        case.change(closed(event), "closed")
        case.run(30)
        expected += [(event.id, "opened"), (event.id, "closed")]
    assert told(server) == []
    # At first after 0.5 to 1 s, later after 2.5 to 5 minutes.
    assert 12 < len(server.requests) < 40
    assert case.delivery.status()["waiting"] == 120
    assert "answered 500" in str(case.delivery.status()["error"])
    server.status = 200
    case.run(301)
    # The first that was accepted may be another event's than the oldest; all that follow are in order.
    first = told(server)[0]
    assert first in expected
    assert told(server)[1:] == [change for change in expected if change != first]
    assert case.delivery.status() == {"name": "webhook", "error": None, "waiting": 0, "dropped": 0}
    assert case.outcomes["written", ""] == 120
    ids = [document["id"] for document in server.accepted]
    assert len(set(ids)) == 120
    case.delivery.close(1)


def test_every_attempt_has_the_same_id(tmp_path: Path, server: Receiver) -> None:
    case = Case(tmp_path, server)
    server.status = 503
    case.change(make_event(), "opened")
    case.run(20)
    server.status = 200
    case.run(60)
    keys = {headers["Idempotency-Key"] for headers, _ in server.requests}
    assert len(server.requests) > 3
    assert keys == {server.accepted[0]["id"]}
    case.delivery.close(1)


def test_what_a_dead_process_left_is_sent_by_the_next(tmp_path: Path, server: Receiver) -> None:
    case = Case(tmp_path, server)
    server.status = 500
    for number in range(3):
        case.change(make_event(number), "opened")
    case.run(5)
    case.delivery.close(0)
    server.status = 200
    case.open()
    case.run(5)
    assert len(server.accepted) == 3
    case.delivery.close(1)


def test_limits_of_number_and_age(tmp_path: Path, server: Receiver) -> None:
    case = Case(tmp_path, server, max_waiting=5, max_age_hours=1)
    server.status = 500
    for number in range(8):
        case.change(make_event(number), "opened")
    case.run(1800)
    case.change(make_event(8), "opened")
    case.run(1801)
    server.status = 200
    case.run(301)
    assert len(server.accepted) == 1
    assert case.outcomes["dropped", "outbox_full"] == 4
    assert case.outcomes["dropped", "expired"] == 4
    assert case.delivery.status()["dropped"] == 8
    case.delivery.close(1)


def test_a_notification_that_is_always_refused_does_not_hold_up_the_others(tmp_path: Path, server: Receiver) -> None:
    case = Case(tmp_path, server)
    poison = replace(make_event(0), explanation="POISON")
    server.reject = "POISON"
    case.change(poison, "opened")
    for number in range(1, 7):
        case.change(make_event(number), "opened")
    case.run(600)
    assert len(server.accepted) == 6
    assert case.outcomes["dropped", "rejected"] == 1
    assert case.outcomes["failed", "OutputError"] == PATIENCE * MAX_OVERTAKEN
    case.delivery.close(1)


def test_a_receiver_that_never_answers_is_given_up_within_the_time_limit(tmp_path: Path, server: Receiver) -> None:
    case = Case(tmp_path, server)
    server.status = None
    case.change(make_event(), "opened")
    started = time.monotonic()
    case.run(60, attempts=1)
    assert time.monotonic() - started < 10
    assert "did not answer within 0.5 s" in str(case.delivery.status()["error"])
    server.status = 200
    case.run(60)
    assert len(server.accepted) == 1
    case.delivery.close(1)


def test_a_new_event_waits_a_moment_for_its_picture(tmp_path: Path, server: Receiver) -> None:
    picture = tmp_path / "snapshot.jpg"
    asked: list[Any] = []

    def find(event: Any) -> Path | None:
        asked.append(event)
        return picture if picture.exists() else None

    case = Case(tmp_path, server, context=SinkContext(picture_of=find))
    case.change(make_event(0), "opened")
    case.run(1)
    assert server.requests == []
    picture.write_bytes(b"\xff\xd8picture\xff\xd9")
    case.run(1)
    assert b"\xff\xd8picture\xff\xd9" in server.requests[0][1]
    picture.unlink()
    case.change(make_event(1), "opened")
    case.run(PICTURE_SECONDS + 1)
    assert server.requests[1][0].get_content_type() == "application/json"
    assert [event.camera for event in asked] == ["gate"] * len(asked)
    case.delivery.close(1)


def test_a_disk_that_cannot_be_written_costs_no_notification_while_the_program_runs(
    tmp_path: Path, server: Receiver
) -> None:
    case = Case(tmp_path, server)
    folder = tmp_path / "outbox"
    folder.rename(tmp_path / "moved")
    folder.write_text("a file in place of the folder")
    case.change(make_event(0), "opened")
    assert "outbox" in str(case.delivery.status()["error"])
    case.run(5)
    assert len(server.accepted) == 1
    case.delivery.close(1)


def test_a_fanout_delivers_on_threads_of_its_own_and_closes_in_time(tmp_path: Path, server: Receiver) -> None:
    with receiver() as hanging:
        hanging.status = None
        outcomes: list[tuple[str, str]] = []
        specs = [
            WebhookSinkSpec(name="well", url=SecretStr(server.url)),
            *(WebhookSinkSpec(name=f"hangs-{n}", url=SecretStr(hanging.url), timeout_seconds=30) for n in range(3)),
        ]
        outbox = OutboxSpec(folder=tmp_path / "outbox")
        fanout = SinkFanout(
            [build_sink(spec, outbox) for spec in specs],
            on_outcome=lambda name, outcome, amount, reason: outcomes.append((name, outcome)),
        )
        started = time.monotonic()
        for number in range(20):
            fanout.emit(make_event(number), "opened")
            fanout.emit(replace(make_event(number), reason="progress"), "updated")
        assert time.monotonic() - started < 1
        wait_until(lambda: len(server.accepted) == 20)
        wait_until(lambda: len(hanging.requests) == 3)
        started = time.monotonic()
        fanout.close()
        fanout.close()
        assert time.monotonic() - started < 3.5
        assert outcomes == [("well", "written")] * 20
        assert not fanout.writers[1].is_over
        assert not [writer.name for writer in fanout.writers if writer.dropped]


def test_the_end_sends_what_can_be_sent_and_the_summary(tmp_path: Path, server: Receiver) -> None:
    spec = WebhookSinkSpec.model_validate({"url": server.url, "rate_limit": {"events": 2, "seconds": 60}})
    fanout = SinkFanout([build_sink(spec, OutboxSpec(folder=tmp_path / "outbox"))])
    for number in range(5):
        fanout.emit(make_event(number), "opened")
    fanout.close()
    assert [document["kind"] for document in server.accepted] == ["opened", "opened", "summary"]


class PagerSpec(NotifierSpec, PluginSink):
    type: Literal["pager"] = "pager"

    def build_sender(self, context: SinkContext) -> Pager:
        return Pager()


class Pager:
    def __init__(self) -> None:
        self.sent: list[str] = []

    def open(self) -> None: ...

    def send(self, notification: Notification) -> None:
        if len(self.sent) == 1:
            self.sent.append("a bug")
            raise RuntimeError("not an OutputError")
        self.sent.append(notification.kind)

    def close(self) -> None: ...


def test_a_plugin_that_notifies_has_an_outbox_and_a_bug_in_it_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = build_sink(PagerSpec(changes="open_close"), OutboxSpec(folder=tmp_path))
    assert isinstance(sink, Delivery)
    outcomes: list[tuple[str, str]] = []
    fanout = SinkFanout([sink], on_outcome=lambda name, outcome, amount, reason: outcomes.append((outcome, reason)))
    for number in range(3):
        fanout.emit(make_event(number), "opened")
    fanout.close()
    assert outcomes == [("written", ""), ("dropped", "bug"), ("written", "")]
    assert "not an OutputError" in caplog.text
    assert (tmp_path / "pager.sqlite").exists()


def test_a_package_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("apprise", "paho", "paho.mqtt", "paho.mqtt.client"):
        monkeypatch.setitem(sys.modules, module, None)
    assert "[apprise]" in (AppriseSinkSpec.model_validate({"url": "json://h/"}).problem() or "")
    assert "[mqtt]" in (MqttSinkSpec(host="h").problem() or "")


def wait_until(question: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.01)
