"""No output shows more of an address than its host: commands, logs, endpoints, files, processes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
import yaml
from address_support import FORMS, HOST, SECRET
from bundle_support import THRESHOLD
from cli_support import CliServer, streamad
from run_support import Running, children, running

from streamad.sources import Url

pytestmark = pytest.mark.timeout(300)

SAMPLE = FORMS[::9]
"""Addresses for the commands that take a second for each; all of them with --slow."""


def forms() -> list[Any]:
    return [pytest.param(text, marks=() if text in SAMPLE else pytest.mark.slow) for text in FORMS]


def is_stream(text: str) -> bool:
    try:
        Url(text)
    except ValueError:
        return False
    return True


def hidden(*outputs: str) -> None:
    for output in outputs:
        assert SECRET not in unquote(output), output


def config(path: Path, bundle: Path, sources: list[dict[str, Any]], **more: Any) -> Path:
    cameras = [{"id": f"c{n}", "source": source, "threshold": THRESHOLD} for n, source in enumerate(sources)]
    document = {"model": str(bundle), "cameras": cameras, "events": {"path": str(path.parent / "events.sqlite")}}
    path.write_text(yaml.safe_dump({**document, **more}))
    return path


def test_a_checked_configuration_shows_no_secret(quick: CliServer, small_bundle: Path, tmp_path: Path) -> None:
    for name, chosen in (("good", [t for t in FORMS if is_stream(t)]), ("bad", [t for t in FORMS if not is_stream(t)])):
        assert len(chosen) > 8
        for kind in ("rtsp", "file"):
            key = "url" if kind == "rtsp" else "path"
            file = config(tmp_path / "c.yaml", small_bundle, [{"type": kind, key: text} for text in chosen])
            for flag in ([], ["--json"]):
                ran = quick("config", "check", file, *flag, cwd=tmp_path)
                hidden(ran.out, ran.err)
                if name == "bad":
                    assert ran.code == 2
    streams = [{"type": "rtsp", "url": text, "open_timeout_seconds": 2} for text in SAMPLE if is_stream(text)]
    ran = quick("config", "check", "--connect", config(tmp_path / "c.yaml", small_bundle, streams), cwd=tmp_path)
    assert "refused" in ran.err
    hidden(ran.out, ran.err)
    # An address that becomes a key because of a colon without a space, and a string in place of a mapping.
    for source in ({"type": "rtsp", FORMS[0]: None}, FORMS[0], [FORMS[0]], {"type": FORMS[0]}):
        file = config(tmp_path / "c.yaml", small_bundle, [source])  # type: ignore[list-item]
        ran = quick("config", "check", file, "--json", cwd=tmp_path)
        assert ran.code == 2
        hidden(ran.out, ran.err)


@pytest.mark.parametrize("text", forms())
def test_commands_show_no_secret(quick: CliServer, small_bundle: Path, tmp_path: Path, text: str) -> None:
    for arguments in (
        ("score", text, "-m", small_bundle, "-o", "scores", "--json"),
        ("score", text, text, "--unknown"),
        ("learn", text, "--out", "gate", "--minutes", text),
        ("learn", text, "--out", "gate", "--username-env", "NO_SUCH_USER", "--password-env", "NO_SUCH_PASSWORD"),
        ("calibrate", small_bundle, "--data", text, "--json"),
        ("config", "check", text),
        ("models", "show", text, "--json"),
        ("doctor", text),
        (text,),
    ):
        if arguments[0] == "learn" and is_stream(text) and "--username-env" in arguments and "@" not in text:
            continue  # would keep retrying
        ran = quick(*arguments, cwd=tmp_path)
        assert ran.code in (1, 2, 3, 4)
        hidden(ran.out, ran.err)
    hidden(*(str(path) for path in tmp_path.rglob("*")))


@pytest.mark.slow
def test_a_recording_shows_no_secret(tmp_path: Path) -> None:
    for text in (FORMS[0], f"rtsp://{HOST}/live?pw={SECRET}"):
        ran = streamad("learn", text, "--out", "gate", "--minutes", "0.5", "--json", cwd=tmp_path, timeout=200)
        assert ran.code == 3
        assert ran.error()["reason"] == "refused"
        hidden(ran.out, ran.err)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"rtsp://127.0.0.1:1/" in path.read_bytes() for path in written), "the recording names its source"
    for path in written:
        hidden(str(path), path.read_bytes().decode(errors="replace"))


def outputs(run: Running) -> list[str]:
    """Return everything that a client can read."""
    paths = ["/", "/metrics", "/status", "/healthz", "/readyz", "/api/v1/events", "/api/v1/health-events", "/nothing"]
    answers = [httpx.get(run.url + path, timeout=10) for path in [*paths, "/api/v1/cameras/c0/preview.jpg"]]
    return [f"{answer.headers} {answer.text}" for answer in answers]


def processes(pid: int) -> list[str]:
    """Return command lines and environments of a process and its children."""
    found = []
    for one in (pid, *children(pid)):
        for name in ("cmdline", "environ"):
            try:
                found.append(Path(f"/proc/{one}/{name}").read_bytes().decode(errors="replace"))
            except (FileNotFoundError, ProcessLookupError):
                continue  # the process has ended
    return found


@pytest.mark.parametrize("chosen", [SAMPLE, pytest.param(FORMS, marks=pytest.mark.slow)], ids=["some", "all"])
@pytest.mark.parametrize("kind", ["text", "json"])
def test_a_watch_shows_no_secret(small_bundle: Path, tmp_path: Path, chosen: tuple[str, ...], kind: str) -> None:
    streams = [{"type": "rtsp", "url": text, "open_timeout_seconds": 2} for text in chosen if is_stream(text)]
    secret = tmp_path / "secret"
    secret.write_text(f"admin:{SECRET}\n")
    streams += [{"type": "rtsp", "url": "rtsp://127.0.0.1:1/x", "secret_file": str(secret)}]
    file = config(
        tmp_path / "c.yaml", small_bundle, streams, web={"port": 0}, logging={"format": kind, "level": "debug"},
        sinks=[{"type": "jsonl", "path": str(tmp_path / "events.jsonl")}, {"type": "log"}],
        reconnect={"initial_seconds": 2, "max_seconds": 5},
    )  # fmt: skip
    with running(file) as run:
        everything: list[str] = []

        def all_failed() -> bool:
            everything.extend(processes(run.process.pid))
            return all(camera["reason"] for camera in run.get("/status")["cameras"])

        run.eventually(all_failed, seconds=200)
        time.sleep(1.0)
        everything += outputs(run)
        messages = [camera["message"] for camera in run.get("/status")["cameras"]]
        run.end()
        hidden(run.text, *everything)
    assert any("127.0.0.1:1" in message for message in messages), "the host is what an operator needs"
    assert "is readable by" in run.text
    for path in tmp_path.rglob("*"):
        if path.is_file() and path not in (file, secret):
            hidden(path.read_bytes().decode(errors="replace"))
    if kind == "json":
        for line in run.text.splitlines():
            if line.startswith("{"):
                json.loads(line)
    assert SECRET not in " ".join(os.environ.values())
