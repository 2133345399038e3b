"""Web push to a real HTTPS push service: what devices decrypt, who signed it, failures, and who is told no more."""

from __future__ import annotations

import logging
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pydantic import ValidationError
from receiver_support import Clock
from unit.alerts.alert_events import START, make_event, make_health_event

from streamad.accounts import Role, User, changed_accounts
from streamad.alerts.sinks import Delivery, OutboxSpec, SinkContext, WebPushSinkSpec
from streamad.alerts.sinks.check import check_sink
from streamad.alerts.sinks.notification import Notification, of_event, summary
from streamad.alerts.sinks.subscriptions import MAX_DEVICES, Subscriptions
from streamad.alerts.sinks.webpush import MAX_BODY, PARTLY_SECONDS, SERVICES, WebPushSender
from streamad.config import parse_config
from streamad.errors import ConfigError, OutputError, UsageError

pytest.importorskip("http_ece", reason="needs http-ece (the extra `webpush`)")
pytest.importorskip("py_vapid", reason="needs py-vapid (the extra `webpush`)")

from push_support import Device, PushService, checked_claims, push_service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[PushService]:
    with push_service(tmp_path) as running:
        yield running


class Site:
    """A sink with users and devices."""

    def __init__(self, folder: Path, service: PushService, **settings: Any) -> None:
        self.folder, self.service = folder, service
        self.users = folder / "users.json"
        self.set_user("kim")
        self.spec = WebPushSinkSpec.model_validate({**service.settings(folder), **settings})
        self.context = SinkContext(users=self.users)
        self.clock = Clock(START)
        self.devices = self.spec.subscriptions(self.users)
        self.sender = WebPushSender(self.spec, self.context, clock=self.clock)

    def set_user(self, name: str, password: str = "hash") -> None:
        with changed_accounts(self.users) as states:
            states.append(states[0].with_user(User(name=name, role=Role.VIEWER, password=password)))

    def device(self, name: str, user: str = "kim", session: str = "s") -> Device:
        made = Device(self.service, name)
        self.devices.add(user, session, made.endpoint, **made.subscription["keys"])  # type: ignore[arg-type]
        return made

    def tell(self, what: Notification | None = None) -> None:
        self.sender.send(what or notification())


@pytest.fixture
def site(tmp_path: Path, service: PushService) -> Iterator[Site]:
    made = Site(tmp_path, service)
    yield made
    made.sender.close()


def notification(**changes: Any) -> Notification:
    return of_event(replace(make_event(), **changes), "opened", START, START.tzinfo)


# ── What is sent ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_device_decrypts_the_camera_the_words_and_the_time(site: Site) -> None:
    phone, tablet = site.device("phone"), site.device("tablet")
    event = replace(make_event(camera="gate"), explanation="speed 3.2× the usual here")
    site.tell(of_event(event, "opened", START, START.tzinfo))
    assert (
        phone.messages
        == tablet.messages
        == [
            {
                "title": "gate: unusual movement since 22:15:00",
                "body": "speed 3.2× the usual here (peak 12.5, threshold 10)",
                "tag": event.id,
                "at": START.timestamp() * 1000,
                "again": True,
                "open": f"#/review?event={event.id}",
            }
        ]
    )
    _, headers, body = site.service.requests[0]
    assert b"gate" not in body
    assert (headers["Content-Encoding"], headers["TTL"], headers["Urgency"]) == ("aes128gcm", "86400", "high")


def test_the_server_proves_who_it_is(site: Site) -> None:
    site.device("phone")
    site.tell()
    ((_, headers, _),) = site.service.requests
    claims, key = checked_claims(headers)
    assert claims["aud"] == site.service.url
    assert claims["sub"] == "mailto:kim@site.example"
    assert 0 < claims["exp"] - time.time() <= 24 * 3600
    assert key == site.devices.public_key()


def test_changes_of_an_event_replace_one_another_and_the_end_is_quiet(site: Site) -> None:
    phone = site.device("phone")
    event = make_event()
    for kind in ("opened", "updated", "closed"):
        site.tell(of_event(event, kind, START, START.tzinfo))  # type: ignore[arg-type]
    assert [(m["tag"], m["again"]) for m in phone.messages] == [(event.id, True), (event.id, True), (event.id, False)]
    topics = {headers["Topic"] for _, headers, _ in site.service.requests}
    assert len(topics) == 1, "a push service keeps the newest for a device that is off"
    assert len(topics.pop()) == 32


def test_faults_and_summaries_lead_to_their_places(site: Site) -> None:
    phone = site.device("phone")
    site.tell(of_event(make_health_event(camera="yard.2"), "opened", START, START.tzinfo))
    site.tell(summary({"gate": 2}, START, START, "quiet hours", START.tzinfo))
    fault, rest = phone.messages
    assert (fault["open"], fault["title"]) == (
        "#/setup?camera=yard.2",
        "yard.2: picture rejected (frozen) since 22:15:00",
    )
    assert (rest["open"], rest["body"]) == ("#/review", "gate: 2")


def test_a_long_message_fits_one_record(site: Site) -> None:
    phone = site.device("phone")
    site.tell(notification(explanation='🚗"' * 4000))
    assert len(phone.messages[0]["body"]) == MAX_BODY
    assert len(site.service.requests[0][2]) <= 4096


# ── Failures ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [404, 410])
def test_a_subscription_that_is_gone_is_removed(site: Site, status: int) -> None:
    gone, phone = site.device("gone"), site.device("phone")
    site.service.statuses[gone.path] = status
    site.tell()
    assert [one.endpoint for one in site.devices.current()] == [phone.endpoint]
    site.tell(notification(camera="yard"))
    assert [path for path, _, _ in site.service.requests] == [gone.path, phone.path, phone.path]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_the_outbox_repeats_until_the_service_accepts(site: Site, tmp_path: Path, status: int) -> None:
    phone = site.device("phone")
    site.service.status = status
    outcomes: list[tuple[str, int, str]] = []
    delivery = Delivery(
        site.spec, site.sender, OutboxSpec(folder=tmp_path / "outbox"), site.context,
        clock=site.clock, wall_clock=site.clock.wall, rng=Random(1),
    )  # fmt: skip
    delivery._on_outcome = lambda *what: outcomes.append(what)
    delivery.put((make_event(), "opened"))
    deadline = time.monotonic() + 20
    while not delivery.waiting() and time.monotonic() < deadline:
        time.sleep(0.01)
    for _ in range(20):
        delivery.step()
        site.clock.seconds += 10
    assert f"answered {status}" in str(delivery.error)
    assert "secret" not in str(delivery.error)
    assert (delivery.waiting(), phone.messages) == (1, [])
    site.service.status = 201
    site.clock.seconds += 60
    delivery.step()
    assert (delivery.waiting(), len(phone.messages), delivery.error) == (0, 1, None)
    assert [outcome for outcome, _, _ in outcomes].count("written") == 1
    delivery.close(1)


def test_a_device_that_has_it_is_not_told_again_while_others_wait(site: Site) -> None:
    phone, tablet = site.device("phone"), site.device("tablet")
    site.service.statuses[tablet.path] = 500
    what = notification()
    for _ in range(3):
        with pytest.raises(OutputError, match="answered 500"):
            site.tell(what)
    assert (len(phone.messages), len(tablet.messages)) == (1, 0)
    site.service.statuses.clear()
    site.tell(what)
    assert (len(phone.messages), len(tablet.messages)) == (1, 1)


def test_one_service_that_stays_away_does_not_hold_up_the_others_for_long(site: Site) -> None:
    phone, tablet = site.device("phone"), site.device("tablet")
    site.service.statuses[tablet.path] = 500
    what = notification()
    with pytest.raises(OutputError):
        site.tell(what)
    site.clock.seconds += PARTLY_SECONDS + 1
    site.tell(what)
    assert (len(phone.messages), len(tablet.messages)) == (1, 0)


def test_one_device_that_fails_holds_up_no_other(site: Site) -> None:
    bad, phone = site.device("bad"), site.device("phone")
    site.service.statuses[bad.path] = 500
    with pytest.raises(OutputError):
        site.tell()
    assert len(phone.messages) == 1


def test_a_refusal_is_reported_and_not_repeated_for_those_who_have_it(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    phone, other = site.device("phone"), site.device("other")
    site.service.statuses[other.path] = 403
    site.tell()
    assert len(phone.messages) == 1
    assert "answered 403" in caplog.text
    site.service.status = 403
    with pytest.raises(OutputError, match="answered 403"):
        site.tell(notification(camera="yard"))


def test_a_service_that_cannot_be_reached_is_asked_once_an_attempt(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        site.device(name)
    site.service.close()
    posted: list[str] = []
    send = site.sender._client.send
    monkeypatch.setattr(site.sender._client, "send", lambda r, **k: posted.append(str(r.url)) or send(r, **k))
    with pytest.raises(OutputError, match=r"^localhost:\d+ cannot be reached: ConnectError$"):
        site.tell()
    assert len(posted) == 1


def test_secrets_are_in_no_log_error_or_repr(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    phone = site.device("phone")
    site.tell()
    site.service.statuses[phone.path] = 500
    with pytest.raises(OutputError) as caught:
        site.tell(notification(camera="yard"))
    (device,) = site.devices.current()
    shown = f"{caplog.text} {caught.value} {device!r} {site.spec!r} {site.devices.__dict__!r}"
    for secret in ("is-secret", device.auth, device.p256dh, site.devices.private_key().splitlines()[1]):
        assert secret not in shown


# ── Devices ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_key_is_made_once_in_a_file_of_the_owner_alone(site: Site) -> None:
    assert not site.spec.path.exists(), "building a sender writes nothing"
    key = site.devices.public_key()
    site.device("phone")
    assert site.spec.subscriptions(site.users).public_key() == key
    assert stat.S_IMODE(site.spec.path.stat().st_mode) == 0o600
    site.spec.path.chmod(0o640)
    with pytest.raises(OutputError, match="other users of this machine") as caught:
        site.tell()
    assert str(caught.value.hint).startswith("chmod 600")


@pytest.mark.parametrize("content", [b"{", b'{"version": 2}', b"\xff\xfe"])
def test_a_damaged_file_is_reported_and_kept(site: Site, content: bytes) -> None:
    site.spec.path.write_bytes(content)
    site.spec.path.chmod(0o600)
    with pytest.raises(OutputError, match="damaged"):
        site.tell()
    with pytest.raises(OutputError, match="damaged"):
        site.device("phone")
    assert site.spec.path.read_bytes() == content


@pytest.mark.parametrize("change", ["removed", "password"])
def test_who_may_not_log_in_any_more_is_told_nothing(site: Site, change: str) -> None:
    site.set_user("lee")
    kim, lee = site.device("kim"), site.device("lee", user="lee")
    if change == "password":
        site.set_user("kim", "another hash")
    else:
        with changed_accounts(site.users) as states:
            rest = tuple(user for user in states[0].users if user.name != "kim")
            states.append(states[0].model_copy(update={"users": rest}))
    site.tell()
    assert (len(kim.messages), len(lee.messages)) == (0, 1)
    site.set_user("kim")
    assert [one.user for one in site.devices.current()] == ["lee"], "adding the user again does not bring it back"


def test_nobody_is_told_while_the_users_file_cannot_be_read(site: Site) -> None:
    phone = site.device("phone")
    site.users.chmod(0o666)
    with pytest.raises(OutputError, match="users file"):
        site.tell()
    site.users.chmod(0o600)
    site.tell()
    assert len(phone.messages) == 1


def test_the_devices_of_a_user_are_limited(site: Site) -> None:
    site.set_user("lee")
    site.device("lee", user="lee")
    made = [site.device(f"d{number}") for number in range(MAX_DEVICES + 2)]
    kept = {one.endpoint for one in site.devices.current() if one.user == "kim"}
    assert kept == {device.endpoint for device in made[2:]}
    assert len(site.devices.current()) == MAX_DEVICES + 1


def test_a_device_is_that_of_who_used_it_last(site: Site) -> None:
    site.set_user("lee")
    phone = site.device("phone")
    keys = phone.subscription["keys"]
    assert not site.devices.add("kim", "s", phone.endpoint, **keys)  # type: ignore[arg-type]
    before = site.spec.path.stat().st_mtime_ns
    site.devices.add("kim", "s", phone.endpoint, **keys)  # type: ignore[arg-type]
    assert site.spec.path.stat().st_mtime_ns == before, "a visit alone writes nothing"
    assert site.devices.add("lee", "t", phone.endpoint, **keys)  # type: ignore[arg-type]
    assert [(one.user, one.session) for one in site.devices.current()] == [("lee", "t")]


def test_a_day_later_a_visit_renews(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = site.device("phone")
    (before,) = site.devices.current()
    monkeypatch.setattr("streamad.alerts.sinks.subscriptions.RENEW_AFTER", timedelta(0))
    assert not site.devices.add("kim", "s", phone.endpoint, **phone.subscription["keys"])  # type: ignore[arg-type]
    (after,) = site.devices.current()
    assert after.renewed_at > before.renewed_at


ENDPOINTS = [
    "http://fcm.googleapis.com/x", "https://127.0.0.1/x", "https://localhost/x", "https://[::1]/x", "https://10.0.0.1/x",
    "https://169.254.169.254/latest", "https://evil.example/x", "https://fcm.googleapis.com.evil.example/x",
    "https://evil.example#.push.apple.com/x", "https://fcm.googleapis.com@evil.example/x",
    "https://evil.example\\@fcm.googleapis.com/x", "https://push.apple.com.evil.example/", "https://evilpush.apple.com/",
    "https://fcm.googleapis.com:99999/x", "https://fcm.googleapis.com/\n", "file:///etc/passwd", "", "https://",
    "https://fcm.googleapis.com/" + "x" * 3000, "https://fcm.googleapis.com./x", "https://fcm.googleapis.com%2f/x",
]  # fmt: skip


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_browsers_cannot_make_the_server_call_other_places(tmp_path: Path, service: PushService, endpoint: str) -> None:
    devices, keys = Subscriptions(tmp_path / "push.json", SERVICES, None), Device(service, "x").subscription["keys"]
    with pytest.raises(UsageError):
        devices.add("kim", "s", endpoint, **keys)  # type: ignore[arg-type]
    assert devices.current() == ()


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://fcm.googleapis.com/fcm/send/a:b-c", "https://updates.push.services.mozilla.com/wpush/v2/x",
        "https://web.push.apple.com/QA", "https://wns2-par02p.notify.windows.com/w/?token=x",
    ],
)  # fmt: skip
def test_the_services_of_browsers_are_known(tmp_path: Path, service: PushService, endpoint: str) -> None:
    devices, keys = Subscriptions(tmp_path / "push.json", SERVICES, None), Device(service, "x").subscription["keys"]
    assert devices.add("kim", "s", endpoint, **keys)  # type: ignore[arg-type]


def test_a_service_that_is_taken_out_of_the_settings_is_called_no_more(site: Site) -> None:
    site.device("phone")
    devices = Subscriptions(site.spec.path, SERVICES, site.users)
    assert devices.current() == ()
    site.tell()
    assert site.service.requests == []


@pytest.mark.parametrize(
    "keys",
    [{"p256dh": "A" * 87}, {"p256dh": ""}, {"p256dh": "ü"}, {"auth": "AAAA"}, {"auth": ""}, {"auth": "A"}],
)
def test_keys_that_nothing_can_be_encrypted_with_are_refused(site: Site, keys: dict[str, str]) -> None:
    good = Device(site.service, "x")
    with pytest.raises(UsageError, match="keys"):
        site.devices.add("kim", "s", good.endpoint, **{**good.subscription["keys"], **keys})  # type: ignore[arg-type]


# ── Tests and settings ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_test_message_goes_to_every_device(site: Site) -> None:
    result = check_sink(site.spec, site.context)
    assert not result["ok"]
    assert "no device is told yet" in result["message"]
    phone = site.device("phone")
    assert check_sink(site.spec, site.context)["ok"]
    (message,) = phone.messages
    assert (message["title"], message["body"]) == (
        "streamad: test",
        "This is a test of the sink webpush. Nothing has happened.",
    )
    site.service.status = 500
    assert "answered 500" in check_sink(site.spec, site.context)["message"]


@pytest.mark.parametrize(
    "settings",
    [
        {"contact": "nobody"},
        {"contact": "kim@box"},
        {"contact": None},
        {"services": []},
        {"services": ["https://fcm.googleapis.com"]},
        {"services": ["*"]},
        {"services": ["*.*.example.org"]},
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WebPushSinkSpec.model_validate({"contact": "kim@site.example", **settings})


CONFIG = """
model: m
cameras:
- {id: gate, source: {type: file, path: a.mp4}}
sinks:
- {type: webpush, contact: a@b.c}
"""


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("", "needs a page on which people log in"),
        ("web: {users: users.json, enabled: false}", "needs a page on which people log in"),
        ("- {type: webpush, name: other, contact: a@b.c}\nweb: {users: users.json}", "the page has one switch"),
    ],
)
def test_it_needs_a_page_with_logins_and_stands_alone(more: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(CONFIG + more)
    assert parse_config(CONFIG + "web: {users: users.json}").push is not None
    assert parse_config(CONFIG.partition("sinks:")[0]).push is None
