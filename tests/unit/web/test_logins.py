"""Who may do what, through real requests: users and sessions, tokens, a proxy's header, and nobody at all."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from unit.alerts.alert_events import make_event

from streamad.accounts import Role, User, changed_accounts, hash_password, new_token, password_fits, read_accounts
from streamad.alerts import EventStore, read_marks
from streamad.alerts.audit import read_audit, token_uses
from streamad.errors import ConfigError, OutputError, UsageError
from streamad.observability import Health, Metrics
from streamad.web import Logins, WebServer, WebSpec, create_app
from streamad.web.attempts import MAX_KEYS, Attempts, network_of
from streamad.web.logins import ATTEMPT_SECONDS, ATTEMPTS_PER_ADDRESS, ATTEMPTS_PER_NAME, MAX_SESSIONS

PASSWORD = "correct horse battery"
HASH = hash_password(PASSWORD)
API = "/api/v1"
EVENT = make_event(state="closed")


class Clock:
    """Monotonic seconds and a wall clock, which a test moves."""

    seconds = 0.0
    now = datetime(2026, 3, 1, tzinfo=UTC)


def add_user(path: Path, name: str, role: Role, password: str | None = HASH) -> None:
    with changed_accounts(path) as states:
        states.append(states[0].with_user(User(name=name, role=role, password=password)))


def add_token(path: Path, name: str, scope: Role, expires_at: datetime | None = None) -> str:
    token, text = new_token(name, scope, Clock.now, expires_at)
    with changed_accounts(path) as states:
        states.append(states[0].model_copy(update={"tokens": (*states[0].tokens, token)}))
    return text


class Site:
    """A running server with a users file."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.clock = Clock()
        self.users = folder / "users.json"
        for name, role in (("vera", Role.VIEWER), ("otto", Role.OPERATOR), ("anna", Role.ADMIN)):
            add_user(self.users, name, role)
        self.store = EventStore(folder / "events.sqlite")
        self.store.save(EVENT)
        self.spec = WebSpec(port=0, **{"users": self.users, **settings})
        self.logins = Logins(
            self.spec, events=self.store.path, clock=lambda: self.clock.seconds, utc=lambda: self.clock.now
        )
        app = create_app(metrics=Metrics(), health=Health(), status=dict, store=self.store, logins=self.logins)
        self.server = WebServer(app, self.spec)
        self.server.start()
        self.clients: list[httpx.Client] = []

    def client(self, **headers: str) -> httpx.Client:
        self.clients.append(httpx.Client(base_url=self.server.url, timeout=20, headers=headers))
        return self.clients[-1]

    def logged_in(self, name: str, password: str = PASSWORD) -> httpx.Client:
        client = self.client()
        answer = client.post(f"{API}/login", json={"name": name, "password": password})
        assert answer.status_code == 200, answer.text
        client.headers["X-CSRF-Token"] = answer.json()["csrf_token"]
        return client

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.server.stop()
        self.store.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    opened = Site(tmp_path)
    yield opened
    opened.close()


def mark(client: httpx.Client, kind: str = "reviewed", **more: Any) -> httpx.Response:
    return client.put(f"{API}/events/{EVENT.id}/mark", json={"kind": kind}, **more)


# ── Users ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_local_programs_read_and_only_users_change_something(site: Site) -> None:
    local = site.client()
    assert local.get(f"{API}/events").status_code == 200
    assert local.get(f"{API}/me").json() == {
        "name": None, "role": "viewer", "authentication": "none", "csrf_token": None, "login": True,
    }  # fmt: skip
    assert mark(local).status_code == 401
    assert local.get(f"{API}/audit").status_code == 401
    assert read_marks(site.store.path, EVENT.id) == []


def test_each_role_may_do_its_own_and_what_those_before_it_may(site: Site) -> None:
    for name, marking, auditing in (("vera", 403, 403), ("otto", 200, 403), ("anna", 200, 200)):
        client = site.logged_in(name)
        assert client.get(f"{API}/events").status_code == 200
        assert client.get("/metrics").status_code == 200
        assert mark(client).status_code == marking, name
        assert client.get(f"{API}/audit").status_code == auditing, name
    assert [one.by for one in read_marks(site.store.path, EVENT.id)] == ["otto", "anna"]


def test_a_mark_is_in_the_store_in_the_list_and_in_the_audit_trail(site: Site) -> None:
    client = site.logged_in("anna")
    answer = client.put(f"{API}/events/{EVENT.id}/mark", json={"kind": "false-alarm", "note": "a branch"})
    assert answer.json()["kind"] == "false-alarm"
    (stored,) = read_marks(site.store.path, EVENT.id)
    assert (stored.verdict, stored.by, stored.note) == ("false_alarm", "anna", "a branch")
    listed = client.get(f"{API}/events", params={"mark": "false-alarm"}).json()
    assert (listed["total"], listed["events"][0]["mark"]) == (1, answer.json())
    detail = client.get(f"{API}/events/{EVENT.id}").json()
    assert detail["marks"] == [answer.json()]
    entries = client.get(f"{API}/audit").json()["entries"]
    assert [(e["action"], e["who"], e["authentication"], e["address"]) for e in entries] == [
        ("event.mark", "anna", "session", "127.0.0.1"),
        ("login", "anna", "session", "127.0.0.1"),
    ]
    assert (entries[0]["target"], entries[0]["detail"]) == (EVENT.id, {"kind": "false-alarm", "note": "a branch"})
    assert client.put(f"{API}/events/{EVENT.id}/mark", json={"kind": "none"}).status_code == 200
    assert client.get(f"{API}/events", params={"mark": "none"}).json()["total"] == 1
    assert client.put(f"{API}/events/NONE/mark", json={"kind": "none"}).status_code == 404


def test_the_audit_trail_has_pages_and_is_only_added_to(site: Site) -> None:
    client = site.logged_in("anna")
    for _ in range(4):
        mark(client)
    seen: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get(f"{API}/audit", params={"limit": 2, **cursor}).json()
        seen += page["entries"]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert [entry["action"] for entry in seen] == ["event.mark"] * 4 + ["login"]
    for bad in ("x", "-1", "9" * 40, "1.5", "\u0661"):
        assert client.get(f"{API}/audit", params={"cursor": bad}).status_code == 422
    with closing(sqlite3.connect(site.store.path)) as other:
        for statement in ("DELETE FROM audit", "UPDATE audit SET who = 'nobody'"):
            with pytest.raises(sqlite3.IntegrityError, match="only ever added"):
                other.execute(statement)


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(site: Site) -> None:
    answer = site.client().post(f"{API}/login", json={"name": "vera", "password": PASSWORD})
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/" in cookie
    assert "Secure" not in cookie, "this server has no TLS"
    assert PASSWORD not in answer.text


@pytest.mark.parametrize(
    ("name", "password"),
    [("vera", "wrong password"), ("nobody", PASSWORD), ("", ""), ("VERA", PASSWORD), ("vera", "\0")],
)
def test_a_wrong_name_or_password_is_refused_with_the_same_answer(site: Site, name: str, password: str) -> None:
    answer = site.client().post(f"{API}/login", json={"name": name, "password": password})
    assert (answer.status_code, answer.json()["error"]) == (401, "name or password is wrong")
    assert "set-cookie" not in answer.headers


def test_an_unknown_name_is_checked_like_a_known_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []

    def counted(hashed: str, password: str) -> bool:
        checked.append(hashed)
        return password_fits(hashed, password)

    monkeypatch.setattr("streamad.web.logins.password_fits", counted)
    for name in ("vera", "nobody"):
        site.client().post(f"{API}/login", json={"name": name, "password": "wrong password"})
    # The same algorithm with the same costs, so the same time.
    assert len(checked) == 2
    assert checked[0].split("$")[:4] == checked[1].split("$")[:4]


def test_a_session_ends_by_logging_out_by_idling_and_by_age(site: Site) -> None:
    def is_in(client: httpx.Client) -> bool:
        return client.get(f"{API}/me").json()["name"] is not None

    leaving, idle, busy = site.logged_in("vera"), site.logged_in("vera"), site.logged_in("vera")
    stolen = dict(leaving.cookies)
    assert leaving.post(f"{API}/logout").status_code == 204
    assert not is_in(leaving)
    assert site.client(Cookie=f"streamad_session={stolen['streamad_session']}").get(f"{API}/me").json()["name"] is None
    for _ in range(2):
        site.clock.seconds += 45 * 60
        assert is_in(busy)
    assert not is_in(idle)
    for _ in range(31):
        site.clock.seconds += 45 * 60
        is_in(busy)
    assert not is_in(busy), "after a day, however busy"


def test_a_step_of_the_wall_clock_ends_no_session(site: Site) -> None:
    client = site.logged_in("vera")
    for step in (timedelta(days=4000), timedelta(days=-8000)):
        site.clock.now += step
        assert client.get(f"{API}/me").json()["name"] == "vera"


def test_changes_of_a_user_take_effect_at_once(site: Site) -> None:
    vera, otto = site.logged_in("vera"), site.logged_in("otto")
    add_user(site.users, "otto", Role.VIEWER)
    assert mark(otto).status_code == 403
    add_user(site.users, "vera", Role.OPERATOR, hash_password("another password"))
    assert vera.get(f"{API}/me").json()["name"] is None, "the password changed"
    with changed_accounts(site.users) as states:
        states.append(states[0].model_copy(update={"users": ()}))
    assert otto.get(f"{API}/me").json()["name"] is None
    assert site.client().post(f"{API}/login", json={"name": "anna", "password": PASSWORD}).status_code == 401


def test_only_so_many_sessions_are_kept(site: Site) -> None:
    first = site.logged_in("vera")
    with site.logins._lock:
        for number in range(MAX_SESSIONS):
            site.logins._sessions[str(number)] = next(iter(site.logins._sessions.values()))
    site.logged_in("otto")
    assert len(site.logins._sessions) == MAX_SESSIONS
    assert first.get(f"{API}/me").json()["name"] is None


# ── Forged requests ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "headers",
    [
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "0" * 64},
        {"X-CSRF-Token": "\u00e9"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_request_of_another_site_changes_nothing(site: Site, headers: dict[str, str]) -> None:
    client = site.logged_in("otto")
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    assert mark(client, headers=encoded).status_code == 403
    assert read_marks(site.store.path, EVENT.id) == []
    assert client.post(f"{API}/logout", headers=encoded).status_code == 403
    assert client.get(f"{API}/events", headers=encoded).status_code == 200, "reading needs no token"


def test_a_request_of_our_own_page_is_allowed(site: Site) -> None:
    client = site.logged_in("otto")
    for headers in ({"Origin": site.server.url}, {"Sec-Fetch-Site": "same-origin", "Origin": "null"}):
        assert mark(client, headers=headers).status_code == 200


def test_the_token_of_one_session_is_of_no_use_in_another(site: Site) -> None:
    one, other = site.logged_in("otto"), site.logged_in("anna")
    assert mark(one, headers={"X-CSRF-Token": other.headers["X-CSRF-Token"]}).status_code == 403


def test_nobody_is_logged_in_by_another_site(site: Site) -> None:
    login = {"name": "vera", "password": PASSWORD}
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert site.client().post(f"{API}/login", json=login, headers=headers).status_code == 403
    # What a form can send without asking first.
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = site.client().post(f"{API}/login", content=json.dumps(login), headers={"Content-Type": kind})
        assert answer.status_code == 415


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "null", '{"name": 1, "password": 2}', '{"name": "vera"}', '"x"', "[" * 60_000, "\ufeff{}"]
)
def test_a_body_that_is_not_a_login_is_an_error_of_the_client(site: Site, body: str) -> None:
    answer = site.client().post(f"{API}/login", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert set(answer.json()) - {"fields"} == {"error", "hint"}


def test_a_password_is_never_in_an_answer_or_the_log(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    for document in ({"name": "vera", "password": "geheim-geheim"}, {"name": ["geheim-geheim"], "password": "x"}):
        answer = site.client().post(f"{API}/login", json=document)
        assert "geheim-geheim" not in answer.text
    assert "geheim-geheim" not in caplog.text
    assert "login of 'vera' from 127.0.0.1 failed" in caplog.text


# ── Guessing ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_after_ten_failures_an_address_waits(site: Site) -> None:
    client = site.client()
    wrong = {"name": "vera", "password": "wrong password"}
    codes = [client.post(f"{API}/login", json=wrong).status_code for _ in range(ATTEMPTS_PER_ADDRESS + 1)]
    assert codes == [401] * ATTEMPTS_PER_ADDRESS + [429]
    answer = client.post(f"{API}/login", json={"name": "otto", "password": PASSWORD})
    assert answer.status_code == 429, "whatever the name, and even if it is right"
    assert int(answer.headers["retry-after"]) == ATTEMPT_SECONDS
    site.clock.seconds += ATTEMPT_SECONDS
    assert client.post(f"{API}/login", json={"name": "otto", "password": PASSWORD}).status_code == 200


def test_logins_that_succeed_do_not_count(site: Site) -> None:
    for _ in range(ATTEMPTS_PER_ADDRESS + 2):
        site.logged_in("vera")


def test_a_name_is_guessed_from_many_addresses_only_so_often(tmp_path: Path) -> None:
    site = Site(tmp_path, proxy={"addresses": ["127.0.0.1"]})
    try:
        client = site.client()
        wrong = {"name": "vera", "password": "wrong password"}
        codes = [
            client.post(f"{API}/login", json=wrong, headers={"X-Forwarded-For": f"192.0.2.{k}"}).status_code
            for k in range(ATTEMPTS_PER_NAME + 1)
        ]
        assert codes == [401] * ATTEMPTS_PER_NAME + [429]
        other = {"name": "otto", "password": PASSWORD}
        answer = client.post(f"{API}/login", json=other, headers={"X-Forwarded-For": "192.0.2.200"})
        assert answer.status_code == 200
    finally:
        site.close()


def test_attempts_are_counted_in_a_window_and_in_bounded_memory() -> None:
    clock = Clock()
    attempts = Attempts(2, 100.0, lambda: clock.seconds)
    assert [attempts.wait("a"), attempts.wait("a"), attempts.wait("a")] == [0, 0, 100]
    clock.seconds = 40.0
    assert attempts.wait("a") == 60
    attempts.forgive("a")
    assert [attempts.wait("a"), attempts.wait("a")] == [0, 60]
    for number in range(MAX_KEYS + 50):
        attempts.wait(str(number))
    assert len(attempts._failed) == MAX_KEYS
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff") != network_of("2001:db8:0:1::1")
    assert network_of("192.0.2.1") != network_of("192.0.2.2")


# ── Tokens ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_token_may_do_what_its_scope_says(tmp_path: Path) -> None:
    site = Site(tmp_path, anonymous="nowhere")
    try:
        allowed = {
            Role.METRICS: (200, 403, 403, 403), Role.VIEWER: (200, 200, 403, 403), Role.OPERATOR: (200, 200, 200, 403),
            Role.ADMIN: (200, 200, 200, 200),
        }  # fmt: skip
        for scope, codes in allowed.items():
            client = site.client(Authorization=f"Bearer {add_token(site.users, 'program', scope)}")
            got = (client.get("/metrics"), client.get("/status"), mark(client), client.get(f"{API}/audit"))
            assert tuple(answer.status_code for answer in got) == codes, scope
        assert {one.by for one in read_marks(site.store.path, EVENT.id)} == {"token:program"}
        for path in ("/metrics", "/status", f"{API}/me", f"{API}/openapi.json"):
            answer = site.client().get(path)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        for path in ("/healthz", "/readyz", "/"):
            assert site.client().get(path).status_code in (200, 503)
    finally:
        site.close()


def test_a_leaked_token_is_refused_from_the_next_request_on(site: Site) -> None:
    text = add_token(site.users, "leaked", Role.OPERATOR)
    client = site.client(Authorization=f"Bearer {text}")
    assert mark(client).status_code == 200
    (token,) = read_accounts(site.users).tokens
    assert token_uses(site.store.path) == {token.id: site.clock.now}
    with changed_accounts(site.users) as states:
        states.append(states[0].model_copy(update={"tokens": ()}))
    assert mark(client).status_code == 401
    assert client.get(f"{API}/events").status_code == 401, "a wrong token is not taken for none"
    assert text not in site.users.read_text()


def test_a_stream_ends_with_the_login_that_it_was_opened_by(tmp_path: Path) -> None:
    site = Site(tmp_path, anonymous="nowhere")
    try:
        text = add_token(site.users, "leaked", Role.VIEWER)
        by_token, by_session = site.client(Authorization=f"Bearer {text}"), site.logged_in("vera")
        with by_token.stream("GET", f"{API}/stream") as one, by_session.stream("GET", f"{API}/stream") as other:
            streams = [answer.iter_lines() for answer in (one, other)]
            for lines in streams:
                assert next(line for line in lines if line.startswith("data:"))
            with changed_accounts(site.users) as states:
                states.append(states[0].model_copy(update={"users": (), "tokens": ()}))
            for lines in streams:
                assert sum(line.startswith("data:") for line in lines) <= 20, "it ends by itself, soon"
    finally:
        site.close()


def test_a_token_expires(site: Site) -> None:
    text = add_token(site.users, "short", Role.VIEWER, Clock.now + timedelta(hours=1))
    client = site.client(Authorization=f"Bearer {text}")
    assert client.get(f"{API}/me").json()["name"] == "token:short"
    site.clock.now += timedelta(hours=1)
    assert client.get(f"{API}/me").status_code == 401


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer x", "bearer streamad_", "Bearer \u00ff\u00fe", "Bearer " + "x" * 4000]
)
def test_a_wrong_token_is_refused(site: Site, value: str) -> None:
    answer = httpx.get(f"{site.server.url}{API}/me", headers={"Authorization": value.encode("latin-1")})
    assert answer.status_code == 401


# ── Proxies ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_named_proxy_names_the_user_and_nobody_else_does(tmp_path: Path) -> None:
    site = Site(tmp_path, proxy={"addresses": ["127.0.0.0/8"], "user_header": "X-Remote-User"})
    try:
        add_user(site.users, "pia", Role.OPERATOR, None)
        for name, role in (("anna", "admin"), ("pia", "operator"), ("unknown@example.org", "viewer")):
            client = site.client(**{"X-Remote-User": name, "X-Forwarded-For": "203.0.113.9, 192.0.2.7"})
            me = client.get(f"{API}/me").json()
            assert (me["name"], me["role"], me["authentication"]) == (name, role, "proxy")
            assert mark(client).status_code == 403, "the proxy's cookie would be sent for another site, too"
            client.headers["X-CSRF-Token"] = me["csrf_token"]
            assert mark(client).status_code == (403 if role == "viewer" else 200)
        assert site.client().get(f"{API}/me").status_code == 401, "a request of the proxy without a user"
        for headers in ([("X-Remote-User", "anna")] * 2, [("X-Remote-User", "")]):
            assert httpx.get(f"{site.server.url}{API}/me", headers=headers).status_code == 401
        entries, _ = read_audit(site.store.path)
        assert {entry.address for entry in entries} == {"192.0.2.7"}
        login = {"name": "pia", "password": PASSWORD}
        assert site.client().post(f"{API}/login", json=login).status_code == 401, "pia has no password here"
    finally:
        site.close()


def test_the_header_of_a_stranger_is_ignored(tmp_path: Path) -> None:
    site = Site(tmp_path, proxy={"addresses": ["192.0.2.1"]})
    try:
        client = site.client(**{"Remote-User": "anna"})
        assert client.get(f"{API}/me").json()["authentication"] == "none"
        assert mark(client).status_code == 401
        # The proxy that is not named does not make its clients local.
        for headers in ({"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}, {"Via": "1.1 proxy"}):
            assert site.client(**headers).get(f"{API}/events").status_code == 401
    finally:
        site.close()


def test_behind_https_of_a_proxy_the_cookie_is_secure(tmp_path: Path) -> None:
    site = Site(tmp_path, proxy={"addresses": ["127.0.0.1"]}, allowed_hosts=["watch.example"])
    try:
        headers = {
            "X-Forwarded-Proto": "https", "X-Forwarded-Host": "watch.example", "Origin": "https://watch.example",
        }  # fmt: skip
        login = {"name": "vera", "password": PASSWORD}
        answer = site.client().post(f"{API}/login", json=login, headers=headers)
        assert answer.status_code == 200
        assert "Secure" in answer.headers["set-cookie"]
    finally:
        site.close()


# ── Without logins, and with a file that is not right ──────────────────────────────────────────────────────────────


def test_without_a_users_file_everything_is_read_and_nothing_changed(tmp_path: Path) -> None:
    site = Site(tmp_path, users=None)
    try:
        client = site.client(**{"X-Forwarded-For": "192.0.2.1"})
        assert client.get(f"{API}/events").status_code == 200, "as ever behind a proxy that asks for passwords itself"
        assert client.get(f"{API}/me").json()["login"] is False
        assert mark(client).status_code == 401
        assert client.post(f"{API}/login", json={"name": "vera", "password": PASSWORD}).status_code == 404
        assert site.client(Authorization="Bearer x").get(f"{API}/events").status_code == 401
    finally:
        site.close()


def damaged(path: Path, how: str) -> None:
    if how == "missing":
        path.unlink()
    elif how == "world-readable":
        path.chmod(0o644)
    elif how == "group-writable":
        path.chmod(0o660)
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    else:
        user = b'{"users": [{"name": "x", "role": "%s"}]}'
        path.write_bytes(
            {
                "empty": b"",
                "cut": path.read_bytes()[:-40],
                "binary": os.urandom(100),
                "latin-1": b'{"version": "\xe9"}',
                "unknown role": user % b"root",
                "no role for users": user % b"metrics",
                "twice": b'{"users": [%s]}' % b", ".join([b'{"name": "vera", "role": "admin"}'] * 2),
            }[how]
        )


WAYS = (
    "missing", "world-readable", "group-writable", "a folder", "empty", "cut", "binary", "latin-1",
    "unknown role", "no role for users", "twice",
)  # fmt: skip


@pytest.mark.parametrize("how", WAYS)
def test_a_file_that_is_not_right_opens_nothing(site: Site, how: str, caplog: pytest.LogCaptureFixture) -> None:
    client, token = site.logged_in("anna"), add_token(site.users, "program", Role.ADMIN)
    good = site.users.read_bytes()
    damaged(site.users, how)
    with pytest.raises(ConfigError) as caught:
        Logins(site.spec).check()
    assert caught.value.hint
    assert str(site.users) in str(caught.value)
    answer = mark(client)
    assert (answer.status_code, answer.json()["error"]) == (503, "nobody can log in: the users file cannot be read")
    assert site.client(Authorization=f"Bearer {token}").get(f"{API}/events").status_code == 503
    assert site.client().post(f"{API}/login", json={"name": "anna", "password": PASSWORD}).status_code == 503
    assert "nobody can log in" in caplog.text
    assert "argon2" not in caplog.text
    if site.users.is_dir():
        site.users.rmdir()
    site.users.write_bytes(good)
    site.users.chmod(0o600)
    assert mark(client).status_code == 200, "as soon as it is repaired"


def test_the_file_keeps_owner_and_mode_and_is_never_open_to_others(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    old = os.umask(0)
    try:
        add_user(path, "kim", Role.ADMIN)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 1235)
    before = path.stat()
    add_user(path, "alex", Role.VIEWER)
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert [user.name for user in read_accounts(path).users] == ["kim", "alex"]


def test_a_full_disk_does_not_lose_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "users.json"
    add_user(path, "kim", Role.ADMIN)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        add_user(path, "alex", Role.VIEWER)
    assert [user.name for user in read_accounts(path).users] == ["kim"]


def test_a_login_and_a_mark_while_the_disk_is_full(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Who must look after a full disk can log in; a mark that is not stored is not confirmed."""
    other = sqlite3.connect(site.store.path, isolation_level=None)
    pages = other.execute("PRAGMA page_count").fetchone()[0]
    other.close()
    path = site.store.path
    site.store.close()
    path.rename(path.with_suffix(".away"))
    path.mkdir()  # nothing can be written there, whoever one is
    assert pages > 0
    client = site.client()
    answer = client.post(f"{API}/login", json={"name": "anna", "password": PASSWORD})
    assert answer.status_code == 200
    assert '"action": "login"' in caplog.text, "what the trail lacks is in the log"


@pytest.mark.parametrize("name", ["", " ", "a b", "a\n", "-x", "x" * 65, "tok:en", "\u00e9"])
def test_odd_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        new_token(name, Role.VIEWER, Clock.now, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "watch.example", "localhost.evil.example", "0"])
def test_nothing_listens_openly_by_accident(host: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nobody can log in"):
        WebSpec(host=host)
    for more in ({"users": tmp_path / "u"}, {"proxy": {"addresses": ["192.0.2.1"]}}, {"anonymous": "anywhere"}):
        assert WebSpec.model_validate({"host": host, **more}).host == host
    assert WebSpec(host=host, enabled=False).host == host


def test_other_addresses_of_this_machine_are_not_local(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; the system chooses the address that it would send from
        own = probe.getsockname()[0]
    if own.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    site = Site(tmp_path, host="0.0.0.0")
    try:
        port = site.server.url.rsplit(":", 1)[1]
        assert httpx.get(f"http://127.0.0.1:{port}{API}/events").status_code == 200
        for path, code in ((f"{API}/events", 401), ("/metrics", 401), ("/status", 401), ("/healthz", 200), ("/", 200)):
            assert httpx.get(f"http://{own}:{port}{path}").status_code == code, path
    finally:
        site.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST.", "cam.localhost"])
def test_loopback_needs_no_login(host: str) -> None:
    assert not WebSpec(host=host).has_logins


@pytest.mark.parametrize("text", ["", "192.0.2.1/24", "proxy", "192.0.2", "*"])
def test_a_proxy_is_an_address(text: str) -> None:
    with pytest.raises(ValueError, match="addresses"):
        WebSpec.model_validate({"proxy": {"addresses": [text]}})
