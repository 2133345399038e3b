"""Notifications of a whole `streamad run`: delivered in order, past a kill and an outage, without a secret in sight."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cli_support import CliServer, file_source, streamad, write_config
from receiver_support import Receiver, receiver
from run_support import running
from unit.alerts.alert_events import START, make_event

from streamad.alerts.sinks import SinkContext, WebhookSinkSpec
from streamad.alerts.sinks.notification import of_event
from streamad.config import parse_config

ROOT = Path(__file__).resolve().parents[2]
SECRET = "hunter2"

RULES = {"min_duration_seconds": 0.1, "fast_duration_seconds": 0.05, "cooldown_seconds": 0.0}


@pytest.fixture
def server() -> Iterator[Receiver]:
    with receiver() as running_server:
        yield running_server


def stored(path: Path) -> dict[str, str]:
    """State of every event in the store, by id."""
    connection = sqlite3.connect(path)
    try:
        return dict(connection.execute("SELECT id, state FROM events").fetchall())
    finally:
        connection.close()


def kinds_by_event(documents: list[dict[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)  # by id, so that what came twice counts once
    for document in documents:
        found[document["event"]["id"]].setdefault(document["id"], document["kind"])
    return {event: list(kinds.values()) for event, kinds in found.items()}


def test_every_alert_of_a_file_reaches_every_sink(
    small_bundle: Path, shapes_video: Path, tmp_path: Path, server: Receiver
) -> None:
    commands = tmp_path / "commands.jsonl"
    config = write_config(
        tmp_path / "c.yaml", small_bundle, file_source(shapes_video), rules=RULES,
        sinks=[
            {"type": "webhook", "url": server.url},
            {"type": "command", "command": ["sh", "-c", f"cat >> {commands}"]},
            {"type": "jsonl", "path": str(tmp_path / "events.jsonl")},
        ],
    )  # fmt: skip
    ran = streamad("run", config, "--once", cwd=tmp_path)
    assert ran.code == 0
    states = stored(tmp_path / "events.sqlite")
    assert states
    for documents in (server.accepted, [json.loads(line) for line in commands.read_text().splitlines()]):
        told = kinds_by_event(documents)
        assert set(told) == set(states)
        assert all((kinds[0], kinds[-1]) == ("opened", "closed") for kinds in told.values())
    recorded = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [(d["kind"], d["id"]) for d in recorded] == [(d["kind"], d["event"]["id"]) for d in server.accepted]
    assert sorted(path.name for path in (tmp_path / "runs" / "outbox").glob("*.sqlite")) == [
        "command.sqlite",
        "webhook.sqlite",
    ]


def test_what_a_killed_process_had_accepted_is_sent_by_the_next(
    small_bundle: Path, shapes_video: Path, tmp_path: Path, server: Receiver
) -> None:
    source = {**file_source(shapes_video), "realtime": True, "loop": True}
    config = write_config(
        tmp_path / "c.yaml", small_bundle, source, rules=RULES, web={"port": 0},
        sinks=[{"type": "webhook", "url": server.url, "retry_max_seconds": 1}],
    )  # fmt: skip
    server.status = 500

    def waiting(run: Any) -> int:
        (output,) = [output for output in run.get("/status")["outputs"] if output["name"] == "webhook"]
        return int(output["waiting"])

    with running(config) as run:
        run.eventually(lambda: waiting(run) >= 4)
        run.eventually(lambda: run.metric("streamad_notifications_total", sink="webhook", outcome="failed") > 0)
        (output,) = [output for output in run.get("/status")["outputs"] if output["name"] == "webhook"]
        assert "answered 500" in output["error"]
        scored = run.get("/status")["cameras"][0]["frames"]
        run.eventually(lambda: run.get("/status")["cameras"][0]["frames"] > scored + 25)
        # Killed while an alert is open, if one is; either way nothing may be lost.
        run.end(signal.SIGKILL)
    before = stored(tmp_path / "events.sqlite")
    assert server.accepted == []
    server.status = 200
    with running(config) as run:
        run.eventually(lambda: waiting(run) == 0 and server.accepted)
        assert run.end() == 0
    told = kinds_by_event(server.accepted)
    assert set(before) <= set(told)
    assert set(told) == set(stored(tmp_path / "events.sqlite"))
    for kinds in told.values():
        assert kinds[0] == "opened"
        assert kinds.count("opened") == 1
        assert kinds[-1] == "closed"
    for event, state in stored(tmp_path / "events.sqlite").items():
        if state == "interrupted":
            (last,) = [d for d in server.accepted if d["event"]["id"] == event and d["kind"] == "closed"]
            assert last["event"]["state"] == "interrupted"


@pytest.mark.parametrize("kind", ["text", pytest.param("json", marks=pytest.mark.slow)])
def test_a_run_that_notifies_shows_no_secret(
    small_bundle: Path, shapes_video: Path, tmp_path: Path, server: Receiver, kind: str
) -> None:
    key = tmp_path / "key"
    key.write_text(f"{SECRET}\n")
    login = tmp_path / "login"
    login.write_text(f"admin:{SECRET}\n")
    for path in (key, login):
        path.chmod(0o600)
    path = f"/services/{SECRET}?token={SECRET}"
    sinks = [
        {"type": "webhook", "url": server.url.replace("/hook", path), "secret_file": str(key)},
        {
            "type": "webhook", "name": "refused", "url": f"http://u:{SECRET}@127.0.0.1:1{path}",
            "headers": {"X-Key": SECRET},
        },
        {
            "type": "email", "host": "127.0.0.1", "port": 1, "from_address": "a@b.example", "to": ["c@d.example"],
            "secret_file": str(login),
        },
    ]  # fmt: skip
    for module, entry in (
        ("apprise", {"type": "apprise", "url": f"json://u:{SECRET}@127.0.0.1:1/{SECRET}"}),
        ("paho", {"type": "mqtt", "host": "127.0.0.1", "port": 1, "secret_file": str(login), "timeout_seconds": 1}),
    ):
        try:
            __import__(module)
        except ImportError:
            continue
        sinks.append(entry)
    source = {**file_source(shapes_video), "realtime": True, "loop": True}
    config = write_config(
        tmp_path / "c.yaml", small_bundle, source, rules=RULES, web={"port": 0}, sinks=sinks,
        logging={"format": kind, "level": "debug"},
    )  # fmt: skip
    with running(config) as run:
        run.eventually(lambda: server.accepted)
        run.eventually(lambda: sum(o["error"] is not None for o in run.get("/status")["outputs"]) == len(sinks) - 1)
        shown = [httpx.get(run.url + path, timeout=10).text for path in ("/status", "/metrics", "/api/v1/events")]
        run.end()
        shown.append(run.text)
    assert server.requests[0][0]["X-Streamad-Signature"]
    for file in tmp_path.rglob("*"):
        if file.is_file() and file not in (config, key, login):
            shown.append(file.read_bytes().decode(errors="replace"))
    assert "127.0.0.1:1" in run.text, "the host is what an operator needs"
    assert [text for text in shown if SECRET in text] == []
    checked = streamad("config", "check", config, cwd=tmp_path)
    tested = streamad("sinks", "test", config, "--json", cwd=tmp_path)
    assert SECRET not in checked.out + checked.err + tested.out + tested.err
    assert tested.code == 1
    assert [sink["ok"] for sink in tested.document()["sinks"]] == [True] + [False] * (len(sinks) - 1)


def test_a_device_is_told_by_a_run_until_its_user_logs_out(
    small_bundle: Path, shapes_video: Path, tmp_path: Path
) -> None:
    pytest.importorskip("http_ece", reason="needs http-ece (the extra `webpush`)")
    from push_support import Device, push_service

    source = {**file_source(shapes_video), "realtime": True, "loop": True}
    with push_service(tmp_path) as service:
        config = write_config(
            tmp_path / "c.yaml", small_bundle, source, rules=RULES, sinks=[service.settings(tmp_path)],
            web={"port": 0, "users": "users.json"}, logging={"level": "debug"},
        )  # fmt: skip
        (tmp_path / "password").write_text("correct horse battery")
        added = streamad("users", "add", config, "kim", "--password-file", tmp_path / "password", cwd=tmp_path)
        assert added.code == 0, added.err
        phone = Device(service, "phone")
        with running(config) as run, httpx.Client(base_url=f"{run.url}/api/v1", timeout=20) as browser:
            login = {"name": "kim", "password": "correct horse battery"}
            browser.headers["X-CSRF-Token"] = browser.post("/login", json=login).json()["csrf_token"]
            assert browser.post("/push/subscribe", json=phone.subscription).status_code == 204
            run.eventually(lambda: phone.messages)
            assert phone.messages[0]["tag"] in stored(tmp_path / "events.sqlite")
            tested = streamad("sinks", "test", config, cwd=tmp_path)
            assert (tested.code, phone.messages[-1]["title"]) == (0, "streamad: test")
            assert browser.post("/logout").status_code == 204
            told, events = len(phone.messages), len(stored(tmp_path / "events.sqlite"))
            run.eventually(lambda: len(stored(tmp_path / "events.sqlite")) >= events + 2)
            run.end()
        assert len(phone.messages) <= told + 1, "one may have been on its way"
        assert "is-secret" not in run.text + added.err + tested.err


def test_the_test_command(quick: CliServer, small_bundle: Path, tmp_path: Path, server: Receiver) -> None:
    config = write_config(
        tmp_path / "c.yaml", small_bundle, {"type": "file", "path": "none.mp4"},
        sinks=[
            {"type": "webhook", "url": server.url, "severities": ["critical"]},
            {"type": "webhook", "name": "other", "url": "http://127.0.0.1:1/"},
            {"type": "jsonl", "path": str(tmp_path / "events.jsonl")},
            {"type": "log"},
        ],
    )  # fmt: skip
    ran = quick(
        "sinks", "test", config, "--sink", "webhook", "--sink", "jsonl", "--sink", "log", "--json", cwd=tmp_path
    )
    assert ran.code == 0
    results = {result["sink"]: result for result in json.loads(ran.out)["sinks"]}
    assert all(result["ok"] for result in results.values())
    assert list(results) == ["webhook", "jsonl", "log"]
    ((_, body),) = server.requests
    document = json.loads(body)
    assert (document["kind"], document["type"], document["event"]) == ("test", "test", None)
    assert "test" in document["subject"]
    assert (tmp_path / "events.jsonl").read_text() == ""
    assert not (tmp_path / "runs").exists()
    ran = quick("sinks", "test", config, cwd=tmp_path)
    assert ran.code == 1
    assert re.search(r"other +webhook +failed +[\d.]+ +http://127\.0\.0\.1:1/: Connection refused", ran.out)
    assert "failed: other" in ran.err
    ran = quick("sinks", "test", config, "--sink", "webhok", cwd=tmp_path)
    assert (ran.code, "did you mean 'webhook'" in ran.err) == (2, True)
    bare = write_config(tmp_path / "bare.yaml", small_bundle, {"type": "file", "path": "none.mp4"})
    assert quick("sinks", "test", bare, cwd=tmp_path).code == 2


@pytest.mark.parametrize(
    ("sinks", "message"),
    [
        ([{"type": "webhook", "url": "http://h/", "secret_env": "NO_SUCH_SECRET"}], "NO_SUCH_SECRET is not set"),
        ([{"type": "command", "command": ["/no/such/program"]}], "/no/such/program does not exist"),
        ([{"type": "command", "command": ["true"]}, {"type": "command", "command": ["true"]}], "give each a `name`"),
        ([{"type": "command", "command": ["true"], "cameras": ["b"]}], "camera 'b', which does not exist"),
        ([{"type": "webhook", "url": "http://h/", "quiet_hours": [{"start": "22:00"}]}], "end: required setting"),
        ([{"type": "webhook", "url": "http://h/", "severity": "critical"}], "did you mean `severities`"),
        ([{"type": "webhok", "url": "http://h/"}], "did you mean 'webhook'"),
    ],
)
def test_the_check_of_a_configuration_finds_what_would_fail(
    quick: CliServer, small_bundle: Path, shapes_video: Path, tmp_path: Path, sinks: list[Any], message: str
) -> None:
    config = write_config(tmp_path / "c.yaml", small_bundle, file_source(shapes_video), sinks=sinks)
    ran = quick("config", "check", config, cwd=tmp_path)
    assert ran.code == 2
    assert message in ran.err


def test_the_check_contacts_no_receiver_and_says_so(
    quick: CliServer, small_bundle: Path, shapes_video: Path, tmp_path: Path, server: Receiver
) -> None:
    (tmp_path / "runs").write_text("not a folder")
    entry = {"type": "webhook", "url": server.url}
    config = write_config(tmp_path / "c.yaml", small_bundle, file_source(shapes_video), sinks=[entry])
    ran = quick("config", "check", config, cwd=tmp_path)
    assert (ran.code, "cannot write to runs/outbox" in ran.err) == (2, True)
    (tmp_path / "runs").unlink()
    ran = quick("config", "check", config, cwd=tmp_path)
    assert ran.code == 0
    assert "whether webhook accepts: `streamad sinks test` asks it" in ran.err
    assert server.requests == []


def test_the_receiver_in_the_examples_accepts_what_is_genuine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", "opensesame")
    picture = tmp_path / "p.jpg"
    picture.write_bytes(b"\xff\xd8 jpeg \r\n\xff\xd9")
    program = [sys.executable, "-u", str(ROOT / "examples" / "receive_webhooks.py"), "0"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found is not None
            spec = WebhookSinkSpec.model_validate({"url": found[0], "secret_env": "WEBHOOK_SECRET"})
            sender = spec.build_sender(SinkContext())
            plain = of_event(make_event(0), "opened", START, None)
            pictured = of_event(make_event(1), "opened", START, None).with_picture(picture)
            for notification in (plain, plain, pictured):
                sender.send(notification)
            sender.close()
            assert process.stdout.readline() == f"{plain.text}\n"
            assert process.stdout.readline() == f"{pictured.text} [picture, {len(picture.read_bytes())} bytes]\n"
            forged = {"X-Streamad-Timestamp": str(int(time.time())), "X-Streamad-Signature": "sha256=" + "0" * 64}
            assert httpx.post(found[0], content=b"{}", headers=forged, timeout=10).status_code == 401
            assert httpx.post(found[0], content=b"{}", timeout=10).status_code == 401
        finally:
            process.kill()


def test_the_page_shows_the_examples_check() -> None:
    page = (ROOT / "docs" / "how-to" / "get-notified.md").read_text()
    block = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert block is not None
    assert block[1] in (ROOT / "examples" / "receive_webhooks.py").read_text()


def test_the_entries_of_the_page_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPRISE_URL", "ntfy://topic")
    page = (ROOT / "docs" / "how-to" / "get-notified.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    cameras = [{"id": name, "source": {"type": "file", "path": name}} for name in ("gate", "yard")]
    (push,) = (block for block in blocks if block.startswith("web:"))
    for sinks in (f"{blocks[0]}web: {{users: users.json}}", f"sinks:\n{blocks[1]}", push):
        assert parse_config(f"model: m\ncameras: {cameras}\n{sinks}").sinks
    example = (ROOT / "configs" / "several.yaml").read_text()
    commented = re.sub(r"^  # (?=- type|  )", "  ", example, flags=re.MULTILINE)
    assert len(parse_config(commented.replace("  # Receivers", "  #")).sinks) == 4
