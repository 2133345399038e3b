"""MQTT, with Home Assistant's discovery.

paho's client has a thread of its own that reconnects by itself, so that state and availability are right again as soon
as a broker is back, and not only at the next event. A blocking client also fits the delivery's thread; an asyncio one
would need an event loop of its own for the same.
"""

from __future__ import annotations

import json
import secrets
import ssl
import threading
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from streamad.alerts.sinks.notification import Notification
from streamad.alerts.sinks.settings import CredentialsSpec, NotifierSpec, SinkContext, read_picture
from streamad.errors import OutputError, install_hint

if TYPE_CHECKING:
    from paho.mqtt.client import Client

_TOPIC = r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$"
_MAX_RECONNECT_SECONDS = 30


class MqttSinkSpec(CredentialsSpec, NotifierSpec):
    """An MQTT broker: events as JSON, the state of every camera, and Home Assistant's discovery."""

    type: Literal["mqtt"] = Field("mqtt", description="MQTT (extra `mqtt`)")
    host: str = Field(min_length=1, description="the broker")
    port: int | None = Field(None, ge=1, le=65535, description="its port; empty: 1883, with `tls` 8883")
    tls: bool = Field(False, description="whether the connection is encrypted")
    ca_file: Path | None = Field(None, description="PEM file with the certificates to trust; empty: the usual ones")
    prefix: str = Field("streamad", pattern=_TOPIC, max_length=128, description="first part of all topics")
    discovery_prefix: str | None = Field(
        "homeassistant",
        pattern=_TOPIC,
        max_length=128,
        description="first part of discovery topics; null: none are sent",
    )
    picture: bool = Field(True, description="whether the picture is published")

    @model_validator(mode="after")
    def _ends_are_told(self) -> Self:
        if self.changes == "opened":
            raise ValueError(
                "changes: with `opened`, the state of a camera would never return to OFF; use `open_close`"
            )
        return self

    def build_sender(self, context: SinkContext) -> MqttSender:
        """See `NotifierSpec.build_sender`."""
        return MqttSender(self, context)


class MqttSender:
    """Publishes notifications with QoS 1, and keeps the retained topics of every camera right.

    Args:
        spec: The settings.
        context: The cameras, and whether there are pictures.

    Raises:
        OutputError: paho-mqtt is not installed, or credentials or certificates cannot be read.
    """

    def __init__(self, spec: MqttSinkSpec, context: SinkContext) -> None:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise OutputError("the package paho-mqtt is not installed", hint=install_hint("mqtt")) from error
        self._spec = spec
        self._cameras = tuple(c for c in context.cameras if not spec.cameras or c in spec.cameras)
        self._has_pictures = spec.picture and context.picture_of is not None
        self._port = spec.port or (8883 if spec.tls else 1883)
        self._open: dict[str, dict[str, set[str]]] = {
            kind: defaultdict(set) for kind in ("anomaly", "health")
        }  # ids of open events by type and camera
        self._refused: str | None = None
        self._is_up = threading.Event()
        self._client: Client = Client(
            CallbackAPIVersion.VERSION2, client_id=f"streamad-{secrets.token_hex(6)}", clean_session=True
        )
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.connect_timeout = spec.timeout_seconds
        self._client.reconnect_delay_set(1, _MAX_RECONNECT_SECONDS)
        self._is_test = context.is_test
        if not context.is_test:
            self._client.will_set(self._topic("status"), "offline", qos=1, retain=True)
        given = spec.credentials()
        if given is not None:
            self._client.username_pw_set(*given)
        if spec.tls:
            try:
                context_ = ssl.create_default_context(cafile=None if spec.ca_file is None else str(spec.ca_file))
            except OSError as error:
                raise OutputError(f"sink {spec.label}: cannot read {spec.ca_file}: {error.strerror}") from error
            self._client.tls_set_context(context_)

    def open(self) -> None:
        """Start to connect, and to reconnect whenever the connection breaks."""
        self._client.connect_async(self._spec.host, self._port, keepalive=30)
        self._client.loop_start()

    def send(self, notification: Notification) -> None:
        """See `Sender.send`."""
        self._require_connection()
        document = notification.to_json()
        camera = notification.camera
        if camera is None:
            return self._publish(self._topic(notification.type), document)
        self._note(notification)
        picture = read_picture(notification.picture) if self._spec.picture else None
        if picture is not None:
            self._publish(self._topic(camera, "image"), picture, retain=True)
        self._publish(self._topic(camera, "events"), document)
        self._publish(*self._state(notification.type, camera), retain=True)

    def follow(self, cameras: Sequence[str]) -> None:
        """Keep the topics of other cameras: announce new ones, and take back those that are gone."""
        gone = [camera for camera in self._cameras if camera not in cameras]
        self._cameras = tuple(cameras)
        if not self._is_up.is_set():
            return  # announced when connected
        for camera in gone if self._spec.discovery_prefix is not None else ():
            for topic, _ in self._discovery(self._spec.discovery_prefix or "", camera):
                self._client.publish(topic, b"", qos=1, retain=True)
        for topic, payload in self._retained():
            self._client.publish(topic, payload, qos=1, retain=True)

    def close(self) -> None:
        """Report that streamad is offline, and disconnect."""
        if self._is_up.is_set() and not self._is_test:
            message = self._client.publish(self._topic("status"), "offline", qos=1, retain=True)
            with suppress(RuntimeError, ValueError):  # then the broker publishes the last will
                message.wait_for_publish(1.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _require_connection(self) -> None:
        if self._is_up.wait(self._spec.timeout_seconds):
            return
        where = f"{self._spec.host}:{self._port}"
        if self._refused is not None:
            raise OutputError(f"{where} refuses the connection: {self._refused}", hint="check user and password")
        raise OutputError(f"not connected to {where}", hint="check that the broker runs and can be reached")

    def _publish(self, topic: str, payload: str | bytes, *, retain: bool = False) -> None:
        message = self._client.publish(topic, payload, qos=1, retain=retain)
        try:
            message.wait_for_publish(self._spec.timeout_seconds)
        except (RuntimeError, ValueError) as error:
            raise OutputError(f"{self._spec.host}:{self._port}: {error}") from error
        if not message.is_published():
            raise OutputError(f"{self._spec.host}:{self._port} did not confirm within {self._spec.timeout_seconds:g} s")

    def _note(self, notification: Notification) -> None:
        event = notification.event
        assert event is not None
        ids = self._open[notification.type][event.camera]
        if event.state == "open":
            ids.add(event.id)
        else:
            ids.discard(event.id)

    def _state(self, kind: str, camera: str) -> tuple[str, str]:
        """Topic and payload of a camera's state."""
        return self._topic(camera, kind), "ON" if self._open[kind][camera] else "OFF"

    def _connected(self, client: Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._refused = str(reason)
            return
        self._refused = None
        # A broker may have forgotten what it retained. Not waited for: this runs on the client's own thread.
        for topic, payload in self._retained():
            client.publish(topic, payload, qos=1, retain=True)
        self._is_up.set()

    def _disconnected(self, client: Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._is_up.clear()

    def _retained(self) -> list[tuple[str, str]]:
        spec, found = self._spec, list[tuple[str, str]]()
        for camera in self._cameras:
            for kind in spec.types:
                found.append(self._state(kind, camera))
            if spec.discovery_prefix is not None:
                found += self._discovery(spec.discovery_prefix, camera)
        return [] if self._is_test else [*found, (self._topic("status"), "online")]

    def _discovery(self, prefix: str, camera: str) -> list[tuple[str, str]]:
        """Topics and payloads that make a camera a device of Home Assistant."""
        node = f"{self._spec.prefix}_{camera}".replace(".", "__").replace("/", "_")
        common = {
            "availability_topic": self._topic("status"),
            "device": {"identifiers": [node], "name": camera, "manufacturer": "streamad"},
            "origin": {"name": "streamad"},
        }
        entities: list[tuple[str, str, dict[str, Any]]] = []
        if "anomaly" in self._spec.types:
            anomaly = {"name": "Anomaly", "device_class": "safety", "state_topic": self._topic(camera, "anomaly")}
            entities.append(
                ("binary_sensor", "anomaly", anomaly | {"json_attributes_topic": self._topic(camera, "events")})
            )
        if "health" in self._spec.types:
            health = {"name": "Fault", "device_class": "problem", "entity_category": "diagnostic"}
            entities.append(("binary_sensor", "health", health | {"state_topic": self._topic(camera, "health")}))
        if self._has_pictures:
            image = {"name": "Last anomaly", "content_type": "image/jpeg", "image_topic": self._topic(camera, "image")}
            entities.append(("image", "image", image))
        return [
            (f"{prefix}/{kind}/{node}/{name}/config", json.dumps(common | entity | {"unique_id": f"{node}_{name}"}))
            for kind, name, entity in entities
        ]

    def _topic(self, *parts: str) -> str:
        return "/".join((self._spec.prefix, *parts))
