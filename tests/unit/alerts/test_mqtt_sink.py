"""MQTT with a real broker (mosquitto): topics, Home Assistant's discovery, last will, restarts, login."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from program_support import program
from pydantic import ValidationError
from unit.alerts.alert_events import START, make_event, make_health_event

import streamad
from streamad.alerts.sinks import MqttSinkSpec, OutboxSpec, SinkContext, SinkFanout, build_sink
from streamad.alerts.sinks.check import check_sink
from streamad.alerts.sinks.mqtt import MqttSender
from streamad.alerts.sinks.notification import of_event

pytest.importorskip("paho.mqtt", reason="needs paho-mqtt (the extra `mqtt`)")
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion


class Broker:
    """A mosquitto process that keeps nothing when it restarts."""

    def __init__(self, folder: Path, *settings: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._config = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "persistence false", "user root", *settings]
        self._config.write_text("\n".join(lines) + "\n")
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [program("mosquitto"), "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._answers)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)

    def _answers(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


class Subscriber:
    """Everything that a fresh client receives."""

    def __init__(self, port: int, *, credentials: tuple[str, str] | None = None) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.retained: dict[str, bytes] = {}
        ready = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        if credentials is not None:
            self._client.username_pw_set(*credentials)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.on_message = self._take
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert ready.wait(10)

    def _take(self, client: Any, userdata: Any, message: Any) -> None:
        self.received.append((message.topic, message.payload))
        if message.retain:
            self.retained[message.topic] = message.payload

    def last(self, topic: str) -> bytes | None:
        found = [payload for name, payload in list(self.received) if name == topic]
        return found[-1] if found else None

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def wait_until(question: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path, "allow_anonymous true")
    yield running
    running.stop()


def sender_for(broker: Broker, context: SinkContext | None = None, **settings: Any) -> MqttSender:
    spec = MqttSinkSpec.model_validate({"host": "127.0.0.1", "port": broker.port, "timeout_seconds": 5, **settings})
    sender = spec.build_sender(context or SinkContext(cameras=("gate", "yard.2")))
    sender.open()
    return sender


def test_events_states_and_availability(broker: Broker, tmp_path: Path) -> None:
    listener, sender = Subscriber(broker.port), sender_for(broker)
    wait_until(lambda: listener.last("streamad/status") == b"online")
    assert listener.last("streamad/gate/anomaly") == b"OFF"
    event, picture = make_event(), tmp_path / "p.jpg"
    picture.write_bytes(b"\xff\xd8 jpeg \xff\xd9")
    opened = of_event(event, "opened", START, None)
    sender.send(opened.with_picture(picture))
    wait_until(lambda: listener.last("streamad/gate/anomaly") == b"ON")
    assert json.loads(listener.last("streamad/gate/events") or b"") == opened.to_dict()
    assert listener.last("streamad/gate/image") == picture.read_bytes()
    second = make_event(1)
    sender.send(of_event(second, "opened", START, None))
    closed = {"state": "closed", "ended_at": START, "ended_pts_seconds": 2.0}
    sender.send(of_event(replace(event, **closed), "closed", START, None))
    assert listener.last("streamad/gate/anomaly") == b"ON", "the other event is open"
    sender.send(of_event(replace(second, **closed), "closed", START, None))
    sender.send(of_event(make_health_event(), "opened", START, None))
    wait_until(lambda: listener.last("streamad/gate/health") == b"ON")
    assert listener.last("streamad/gate/anomaly") == b"OFF"
    late = Subscriber(broker.port)
    wait_until(lambda: "streamad/status" in late.retained)
    wait_until(lambda: late.retained.get("streamad/gate/health") == b"ON")
    assert "streamad/gate/events" not in late.retained
    sender.close()
    wait_until(lambda: listener.last("streamad/status") == b"offline")
    late.close()
    listener.close()


def test_home_assistant_discovers_every_camera(broker: Broker) -> None:
    context = SinkContext(cameras=("gate", "yard.2"), picture_of=lambda _: None)
    sender, listener = sender_for(broker, context), Subscriber(broker.port)
    wait_until(lambda: sum(topic.startswith("homeassistant/") for topic, _ in list(listener.received)) == 6)
    configs = {t: json.loads(p) for t, p in listener.received if t.startswith("homeassistant/")}
    assert set(configs) == {
        f"homeassistant/{kind}/streamad_{camera}/{name}/config"
        for camera in ("gate", "yard__2")
        for kind, name in (("binary_sensor", "anomaly"), ("binary_sensor", "health"), ("image", "image"))
    }
    anomaly = configs["homeassistant/binary_sensor/streamad_yard__2/anomaly/config"]
    # https://www.home-assistant.io/integrations/binary_sensor.mqtt/: payload_on and payload_off default to ON and OFF.
    assert anomaly["state_topic"] == "streamad/yard.2/anomaly"
    assert anomaly["availability_topic"] == "streamad/status"
    assert len({config["unique_id"] for config in configs.values()}) == 6
    assert len({json.dumps(config["device"]) for config in configs.values()}) == 2
    sender.close()
    listener.close()


def test_topics_and_discovery_can_be_set(broker: Broker) -> None:
    sender = sender_for(broker, prefix="site/cams", discovery_prefix=None, cameras=["gate"], types=["anomaly"])
    listener = Subscriber(broker.port)
    wait_until(lambda: listener.last("site/cams/status") == b"online")
    assert {topic for topic, _ in listener.received} == {"site/cams/status", "site/cams/gate/anomaly"}
    sender.close()
    listener.close()


def test_states_would_not_return_without_the_ends() -> None:
    with pytest.raises(ValidationError, match="never return to OFF"):
        MqttSinkSpec(host="h", changes="opened")


def test_a_broker_that_restarts_gets_everything_and_its_states_back(broker: Broker, tmp_path: Path) -> None:
    spec = MqttSinkSpec(host="127.0.0.1", port=broker.port, timeout_seconds=2, retry_max_seconds=1)
    outbox = OutboxSpec(folder=tmp_path / "outbox")
    fanout = SinkFanout([build_sink(spec, outbox, SinkContext(cameras=("gate",)))])
    events = [make_event(number) for number in range(4)]
    fanout.emit(events[0], "opened")
    (delivery,) = fanout.writers
    wait_until(lambda: delivery.status()["waiting"] == 0 and delivery.error is None)
    broker.stop()
    for event in events[1:]:
        fanout.emit(event, "opened")
    wait_until(
        lambda: "not connected" in str(delivery.status()["error"]) or "127.0.0.1" in str(delivery.status()["error"])
    )
    assert delivery.status()["waiting"] == 3
    broker.start()
    listener = Subscriber(broker.port)
    wait_until(lambda: delivery.status()["waiting"] == 0)
    wait_until(lambda: listener.last("streamad/status") == b"online")
    wait_until(lambda: listener.last("streamad/gate/anomaly") == b"ON")
    broker.stop()
    broker.start()  # nothing happens meanwhile: the state must come back by itself
    late = Subscriber(broker.port)
    wait_until(lambda: late.last("streamad/gate/anomaly") == b"ON")
    fanout.close()
    late.close()
    listener.close()


def test_all_that_was_accepted_during_an_outage_arrives_in_order(broker: Broker, tmp_path: Path) -> None:
    broker.stop()
    spec = MqttSinkSpec(host="127.0.0.1", port=broker.port, timeout_seconds=0.2, retry_max_seconds=1)
    fanout = SinkFanout([build_sink(spec, OutboxSpec(folder=tmp_path / "outbox"), SinkContext(cameras=("gate",)))])
    event = make_event()
    changes = [event, replace(event, reason="reopened"), replace(event, state="closed", ended_at=START)]
    for change, kind in zip(changes, ("opened", "updated", "closed"), strict=True):
        fanout.emit(change, kind)  # type: ignore[arg-type]
    (delivery,) = fanout.writers
    wait_until(lambda: delivery.error is not None)
    fanout.close()
    broker.start()
    listener = Subscriber(broker.port)
    again = SinkFanout([build_sink(spec, OutboxSpec(folder=tmp_path / "outbox"), SinkContext(cameras=("gate",)))])
    wait_until(lambda: again.writers[0].status()["waiting"] == 0)
    again.close()
    wait_until(lambda: sum(topic == "streamad/gate/events" for topic, _ in list(listener.received)) >= 3)
    documents = [json.loads(payload) for topic, payload in listener.received if topic == "streamad/gate/events"]
    by_id = {document["id"]: document["kind"] for document in documents}
    assert list(by_id.values()) == ["opened", "updated", "closed"]
    listener.close()


def test_the_broker_announces_a_killed_process(broker: Broker) -> None:
    listener = Subscriber(broker.port)
    program = (
        "import sys, time\n"
        "from streamad.alerts.sinks import MqttSinkSpec, SinkContext\n"
        "s = MqttSinkSpec(host='127.0.0.1', port=int(sys.argv[1])).build_sender(SinkContext(cameras=('gate',)))\n"
        "s.open()\ntime.sleep(100)\n"
    )
    root = str(Path(streamad.__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", program, str(broker.port)], env={**os.environ, "PYTHONPATH": root}
    ) as process:
        wait_until(lambda: listener.last("streamad/status") == b"online")
        process.kill()
        wait_until(lambda: listener.last("streamad/status") == b"offline")
    listener.close()


def test_login_and_a_test_beside_a_running_streamad(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(passwords), "streamad", "hunter2"], check=True, capture_output=True)
    broker = Broker(tmp_path, "allow_anonymous false", f"password_file {passwords}")
    try:
        secret = tmp_path / "secret"
        secret.write_text("streamad:hunter2\n")
        sender = sender_for(broker, secret_file=secret)
        listener = Subscriber(broker.port, credentials=("streamad", "hunter2"))
        wait_until(lambda: listener.last("streamad/status") == b"online")
        settings = {"host": "127.0.0.1", "port": broker.port, "timeout_seconds": 5}
        result = check_sink(MqttSinkSpec.model_validate({**settings, "secret_file": secret}))
        assert result["ok"]
        wait_until(lambda: listener.last("streamad/test") is not None)
        assert json.loads(listener.last("streamad/test") or b"")["kind"] == "test"
        assert listener.last("streamad/status") == b"online", "the test leaves the retained topics alone"
        secret.write_text("streamad:hunter3\n")
        result = check_sink(MqttSinkSpec.model_validate({**settings, "secret_file": secret, "timeout_seconds": 2}))
        assert not result["ok"]
        assert "refuses the connection" in result["message"]
        assert "hunter" not in str(result)
        sender.close()
        listener.close()
    finally:
        broker.stop()
