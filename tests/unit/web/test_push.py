"""Turning notifications on and off over HTTP: who may, for how long, and that a logged-out device gets nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from unit.alerts.alert_events import make_event

from streamad.accounts import Role, User, changed_accounts, hash_password, new_token
from streamad.alerts import EventStore
from streamad.alerts.audit import read_audit
from streamad.alerts.sinks import OutboxSpec, SinkContext, SinkFanout, Subscriptions, WebPushSinkSpec, build_sink
from streamad.alerts.sinks.webpush import SERVICES
from streamad.alerts.tracker import utc_now
from streamad.observability import Health, Metrics
from streamad.web import Logins, WebServer, WebSpec, create_app

pytest.importorskip("http_ece", reason="needs http-ece (the extra `webpush`)")
pytest.importorskip("py_vapid", reason="needs py-vapid (the extra `webpush`)")

from push_support import Device, PushService, checked_claims, from_base64, push_service

API = "/api/v1"
PASSWORD = "correct horse battery"
HASH = hash_password(PASSWORD)


class Site:
    """A server with two viewers, and a sink that tells their devices."""

    def __init__(self, folder: Path, service: PushService, **web: Any) -> None:
        self.users, self.service = folder / "users.json", service
        with changed_accounts(self.users) as states:
            for name in ("vera", "otto"):
                states.append(states[-1].with_user(User(name=name, role=Role.VIEWER, password=HASH)))
        self.spec = WebSpec(port=0, users=self.users, **web)
        self.sink = WebPushSinkSpec.model_validate(service.settings(folder))
        self.devices = self.sink.subscriptions(self.users)
        self.store = EventStore(folder / "events.sqlite")
        context = SinkContext(users=self.users)
        self.fanout = SinkFanout([build_sink(self.sink, OutboxSpec(folder=folder / "outbox"), context)])
        app = create_app(
            metrics=Metrics(), health=Health(), status=dict, store=self.store, logins=Logins(self.spec),
            push=self.devices,
        )  # fmt: skip
        self.server = WebServer(app, self.spec)
        self.server.start()
        self.clients: list[httpx.Client] = []

    def client(self, name: str | None = None, **headers: str) -> httpx.Client:
        client = httpx.Client(base_url=self.server.url, timeout=20, headers=headers)
        self.clients.append(client)
        if name is not None:
            answer = client.post(f"{API}/login", json={"name": name, "password": PASSWORD})
            client.headers["X-CSRF-Token"] = answer.json()["csrf_token"]
        return client

    def on(self, client: httpx.Client, device: Device) -> httpx.Response:
        return client.post(f"{API}/push/subscribe", json=device.subscription)

    def off(self, client: httpx.Client, device: Device) -> httpx.Response:
        return client.post(f"{API}/push/unsubscribe", json={"endpoint": device.endpoint})

    def told(self) -> None:
        """Let an event happen, and wait until everything was sent."""
        self.fanout.emit(make_event(), "opened")
        self.fanout.close()

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.server.stop()
        self.fanout.close()
        self.store.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[PushService]:
    with push_service(tmp_path) as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, service: PushService) -> Iterator[Site]:
    made = Site(tmp_path, service)
    yield made
    made.close()


def actions(site: Site) -> list[tuple[str, str, str | None]]:
    return [(entry.who, entry.action, entry.target) for entry in reversed(read_audit(site.store.path)[0])]


def test_a_viewer_turns_it_on_and_is_told(site: Site) -> None:
    vera, phone = site.client("vera"), Device(site.service, "phone")
    key = vera.get(f"{API}/push").json()["key"]
    assert len(from_base64(key)) == 65
    assert site.on(vera, phone).status_code == 204
    site.told()
    (message,) = phone.messages
    assert message["title"].startswith("gate: unusual movement since")
    _, signed_by = checked_claims(site.service.requests[0][1])
    assert signed_by == key, "the key that the browser has subscribed with"


def test_turned_off_it_is_told_nothing(site: Site) -> None:
    vera, phone, tablet = site.client("vera"), Device(site.service, "phone"), Device(site.service, "tablet")
    site.on(vera, phone)
    site.on(vera, tablet)
    assert site.off(vera, phone).status_code == 204
    site.told()
    assert (len(phone.messages), len(tablet.messages)) == (0, 1)


def test_logged_out_it_is_told_nothing_and_other_devices_are(site: Site) -> None:
    phone, tablet = Device(site.service, "phone"), Device(site.service, "tablet")
    one, other = site.client("vera"), site.client("vera")
    site.on(one, phone)
    site.on(other, tablet)
    assert one.post(f"{API}/logout").status_code == 204
    assert [device.endpoint for device in site.devices.current()] == [tablet.endpoint]
    site.told()
    assert (len(phone.messages), len(tablet.messages)) == (0, 1)
    assert len(site.service.requests) == 1


def test_a_session_that_ran_out_or_a_restart_leaves_it_on(site: Site) -> None:
    """A phone in a pocket sends no requests, and is to be told all the same."""
    vera, phone = site.client("vera"), Device(site.service, "phone")
    site.on(vera, phone)
    vera.cookies.clear()
    again = site.client("vera")
    assert site.on(again, phone).status_code == 204
    assert len(site.devices.current()) == 1
    again.post(f"{API}/logout")
    assert site.devices.current() == ()


def test_one_user_cannot_turn_off_another(site: Site) -> None:
    vera, otto, phone = site.client("vera"), site.client("otto"), Device(site.service, "phone")
    site.on(vera, phone)
    assert site.off(otto, phone).status_code == 204
    assert len(site.devices.current()) == 1


def test_only_people_who_are_logged_in_may(site: Site) -> None:
    phone = Device(site.service, "phone")
    token, text = new_token("script", Role.ADMIN, utc_now(), None)
    with changed_accounts(site.users) as states:
        states.append(states[0].model_copy(update={"tokens": (token,)}))
    local, program = site.client(), site.client(Authorization=f"Bearer {text}")
    assert (site.on(local, phone).status_code, site.off(local, phone).status_code) == (401, 401)
    assert (site.on(program, phone).status_code, site.off(program, phone).status_code) == (403, 403)
    assert site.devices.current() == ()


def test_another_site_cannot_turn_it_on(site: Site) -> None:
    vera, phone = site.client("vera"), Device(site.service, "phone")
    del vera.headers["X-CSRF-Token"]
    assert site.on(vera, phone).status_code == 403
    assert site.off(vera, phone).status_code == 403
    assert vera.post(f"{API}/push/subscribe", content=json.dumps(phone.subscription)).status_code == 415


def test_users_whom_a_proxy_names_may(tmp_path: Path, service: PushService) -> None:
    site = Site(tmp_path, service, proxy={"addresses": ["127.0.0.1"]})
    try:
        client = site.client(**{"Remote-User": "pat"})
        client.headers["X-CSRF-Token"] = client.get(f"{API}/me").json()["csrf_token"]
        phone = Device(service, "phone")
        assert site.on(client, phone).status_code == 204
        site.told()
        assert len(phone.messages) == 1
    finally:
        site.close()


def test_the_audit_trail_has_who_turned_it_on_and_off(site: Site) -> None:
    vera, otto, phone = site.client("vera"), site.client("otto"), Device(site.service, "phone")
    for client in (vera, vera, otto):
        site.on(client, phone)
    site.off(otto, phone)
    site.off(otto, phone)
    assert [entry for entry in actions(site) if entry[1] != "login"] == [
        ("vera", "push.subscribe", "localhost"),
        ("otto", "push.subscribe", "localhost"),
        ("otto", "push.unsubscribe", "localhost"),
    ]
    trail = json.dumps([entry.to_dict() for entry in read_audit(site.store.path)[0]])
    assert "is-secret" not in trail


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint": "https://evil.example/x"},
        {"endpoint": "http://localhost/x"},
        {"endpoint": "https://localhost/" + "x" * 3000},
        {"keys": {"p256dh": "A", "auth": "A"}},
        {"keys": {}},
        {"more": 1},
    ],
)
def test_what_is_no_subscription_is_refused(
    site: Site, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    vera, phone = site.client("vera"), Device(site.service, "phone")
    answer = vera.post(f"{API}/push/subscribe", json={**phone.subscription, **change})
    assert answer.status_code == 422
    assert phone.subscription["keys"]["auth"] not in answer.text + caplog.text
    assert site.devices.current() == ()


def test_what_the_api_says_cannot_add_a_push_service(tmp_path: Path, service: PushService) -> None:
    """Only the configuration can name another than those of browsers."""
    devices = Subscriptions(tmp_path / "other.json", SERVICES, None)
    app = create_app(metrics=Metrics(), health=Health(), status=dict, push=devices)
    properties = app.openapi()["components"]["schemas"]["PushDevice"]["properties"]
    assert set(properties) == {"endpoint", "keys"}


def test_without_such_a_sink_there_is_nothing_to_turn_on(site: Site) -> None:
    app = create_app(metrics=Metrics(), health=Health(), status=dict, logins=Logins(site.spec))
    with WebServer(app, site.spec) as server, httpx.Client(base_url=server.url) as client:
        answer = client.get(f"{API}/push")
    assert (answer.status_code, answer.json()["error"]) == (404, "this server does not notify browsers")
