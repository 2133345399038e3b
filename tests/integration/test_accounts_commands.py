"""`streamad users`, `tokens` and `events audit`, on the command line and beside a server that uses the same file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from cli_support import Ran, streamad

from streamad.accounts import read_accounts
from streamad.alerts import EventStore
from streamad.alerts.sinks import Subscriptions
from streamad.alerts.sinks.webpush import SERVICES
from streamad.observability import Health, Metrics
from streamad.web import Logins, WebServer, WebSpec, create_app

PASSWORD = "correct horse battery"
API = "/api/v1"
PUBLIC_KEY = "BGsX0fLhLEJH-Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"
"""A device's: the generator of the curve."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "password.txt").write_text(f"{PASSWORD}\r\n")
    (tmp_path / "camera.yaml").write_text(
        "model: motion-ped2\ncameras: [{id: gate, source: {type: file, path: a.mp4}}]\n"
        "web: {users: site/users.json}\nevents: {path: e.sqlite}\n"
    )
    return tmp_path / "camera.yaml"


def call(config: Path, *words: str) -> Ran:
    """Run a command; `CONFIG` stands for the configuration."""
    ran = streamad(*[str(config) if word == "CONFIG" else word for word in words], cwd=config.parent)
    assert ran.code == 0, ran.err
    return ran


def document(config: Path, *words: str) -> Any:
    return json.loads(call(config, *words, "--json").out)


def test_users_and_tokens_are_managed_while_a_server_runs(config: Path) -> None:
    folder = config.parent
    call(config, "users", "add", "CONFIG", "kim", "--role", "operator", "--password-file", "password.txt")
    spec = WebSpec(port=0, users=folder / "site" / "users.json", anonymous="nowhere")
    with EventStore(folder / "e.sqlite") as store:
        logins = Logins(spec, events=store.path)
        app = create_app(metrics=Metrics(), health=Health(), status=dict, store=store, logins=logins)
        with WebServer(app, spec) as server, httpx.Client(base_url=server.url) as browser:
            login = {"name": "kim", "password": PASSWORD}
            assert browser.post(f"{API}/login", json=login).json()["role"] == "operator"
            call(config, "users", "add", "CONFIG", "kim", "--role", "admin")  # keeps the password
            assert browser.get(f"{API}/me").json()["role"] == "admin"
            made = document(config, "tokens", "add", "CONFIG", "prometheus", "--scope", "metrics", "--expires", "365d")
            headers = {"Authorization": f"Bearer {made['token']}"}
            assert httpx.get(f"{server.url}/metrics", headers=headers).status_code == 200
            (listed,) = document(config, "tokens", "list", "CONFIG")["tokens"]
            assert (listed["id"], listed["scope"]) == (made["id"], "metrics")
            assert listed["last_used"] != "never"
            call(config, "tokens", "revoke", "CONFIG", made["token"])
            assert httpx.get(f"{server.url}/metrics", headers=headers).status_code == 401
            call(config, "users", "password", "CONFIG", "kim", "--password-file", "password.txt")
            assert browser.get(f"{API}/me").status_code == 401, (
                "a new password ends the sessions, even if it is the same"
            )
            assert browser.post(f"{API}/login", json=login).status_code == 200
            call(config, "users", "remove", "CONFIG", "kim")
            assert browser.get(f"{API}/me").status_code == 401
    entries = document(config, "events", "audit", "CONFIG", "--since", "24h")["entries"]
    assert [(entry["action"], entry["target"]) for entry in reversed(entries)] == [
        ("user.add", "kim"), ("login", None), ("user.change", "kim"), ("token.add", "prometheus"),
        ("token.revoke", "prometheus"), ("user.password", "kim"), ("login", None), ("user.remove", "kim"),
    ]  # fmt: skip
    everything = "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())
    assert made["token"] not in everything
    assert "user.password" in call(config, "events", "audit", "CONFIG").out


@pytest.mark.parametrize("end", [("remove",), ("password", "--password-file", "password.txt")])
def test_the_devices_of_who_may_not_log_in_any_more_are_forgotten(config: Path, end: tuple[str, ...]) -> None:
    pytest.importorskip("cryptography", reason="needs cryptography (the extra `webpush`)")
    with config.open("a") as file:
        file.write("sinks: [{type: webpush, contact: kim@site.example, path: push.json}]\n")
    call(config, "users", "add", "CONFIG", "kim", "--password-file", "password.txt")
    call(config, "users", "add", "CONFIG", "pia", "--password-file", "password.txt")
    devices = Subscriptions(config.parent / "push.json", SERVICES, config.parent / "site" / "users.json")
    for name in ("kim", "pia"):
        devices.add(name, "session", f"https://fcm.googleapis.com/{name}", PUBLIC_KEY, "A" * 22)
    call(config, "users", end[0], "CONFIG", "kim", *end[1:])
    assert "fcm.googleapis.com/kim" not in devices.path.read_text()
    assert [device.user for device in devices.current()] == ["pia"]


def test_a_user_of_a_proxy_has_no_password(config: Path) -> None:
    call(config, "users", "add", "CONFIG", "pia", "--no-password")
    assert document(config, "users", "list", "CONFIG")["users"] == [{"user": "pia", "role": "viewer", "login": "proxy"}]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("users", "add", "CONFIG", "kim"), "no terminal to ask for a password"),
        (("users", "add", "CONFIG", "a b", "--no-password"), "not a valid name"),
        (("users", "add", "CONFIG", "kim", "--password-file", "short.txt"), "8 to 1024 characters"),
        (("users", "add", "CONFIG", "kim", "--password-file", "latin.txt"), "not UTF-8"),
        (("users", "add", "CONFIG", "kim", "--password-file", "none.txt"), "cannot read none.txt"),
        (("users", "add", "CONFIG", "kim", "--role", "root"), "is not one of"),
        (("users", "remove", "CONFIG", "kim"), "has no user kim"),
        (("users", "list", "other.yaml"), "has no users file"),
        (("tokens", "revoke", "CONFIG", "none"), "has no token none"),
        (("tokens", "add", "CONFIG", "x", "--expires", "soon"), "'soon' is not"),
    ],
)
def test_mistakes_are_explained(config: Path, words: tuple[str, ...], message: str) -> None:
    folder = config.parent
    (folder / "short.txt").write_text("short")
    (folder / "latin.txt").write_bytes("pässword".encode("latin-1"))
    (folder / "other.yaml").write_text(config.read_text().replace("web: {users: site/users.json}\n", ""))
    ran = streamad(*[str(config) if word == "CONFIG" else word for word in words], cwd=folder)
    assert ran.code == 2
    assert message in ran.err
    assert not (folder / "site" / "users.json").exists()


def test_two_processes_lose_none_of_their_changes(config: Path) -> None:
    script = """if True:
        import sys
        from pathlib import Path
        from streamad.accounts import Role, User, changed_accounts
        for number in range(30):
            with changed_accounts(Path(sys.argv[1])) as states:
                states.append(states[0].with_user(User(name=f"{sys.argv[2]}{number}", role=Role.VIEWER)))
    """
    path = config.parent / "users.json"
    running = [subprocess.Popen([sys.executable, "-c", script, str(path), name]) for name in ("a", "b")]
    assert [process.wait() for process in running] == [0, 0]
    assert len(read_accounts(path).users) == 60
