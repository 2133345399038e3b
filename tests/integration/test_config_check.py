"""`streamad config check` opens what a configuration names, reports all errors, and reports what it did not open."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from bundle_support import THRESHOLD, moving_shapes, write_mp4
from cli_support import CliServer, Ran, streamad
from rtsp_support import RtspServer, require_rtsp_server

SECRET = "geheim-hunter2"
Check = Callable[..., Ran]


@pytest.fixture
def check(tmp_path: Path, small_bundle: Path, quick: CliServer) -> Check:
    """Function that writes a configuration of one camera with the given parts and checks it."""

    def run(*arguments: str, source: dict[str, Any], env: dict[str, str] | None = None, **more: Any) -> Ran:
        camera = {"id": "gate", "source": source, **more.pop("camera", {"threshold": THRESHOLD})}
        document = {"model": str(small_bundle), "cameras": [camera], "web": {"port": 0}, **more}
        (tmp_path / "site.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
        if env is None:
            return quick("config", "check", "site.yaml", *arguments, cwd=tmp_path)
        return streamad("config", "check", "site.yaml", *arguments, cwd=tmp_path, env=env, timeout=120)

    return run


def faults(ran: Ran) -> list[str]:
    """Return the messages of a rejection, after checking that each is one line with a line number of the file."""
    assert ran.code == 2, ran.err
    listed = ran.err.partition("matches the schema, but:\n")[2].splitlines()
    lines = [line for line in listed if line.startswith("  site.yaml:")]
    assert [line for line in listed if line not in lines] == [listed[-1]], "the hint alone is no fault"
    return lines


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Any]:
    """A folder of images, the cheapest source."""
    (tmp_path / "frames").mkdir()
    for number in range(3):
        cv2.imwrite(str(tmp_path / "frames" / f"{number}.png"), np.full((120, 160), 90, np.uint8))
    return {"type": "images", "path": "frames"}


def test_a_good_one_is_valid_and_leaves_nothing_behind(check: Check, tmp_path: Path, pictures: dict[str, Any]) -> None:
    before = sorted(tmp_path.rglob("*"))
    ran = check("--json", source=pictures, sinks=[{"type": "jsonl", "path": "out/events.jsonl"}])
    assert ran.code == 0, ran.err
    document = ran.document()
    assert (document["valid"], document["warnings"], document["not_checked"]) == (True, [], [])
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "site.yaml"])


def test_what_keeps_people_from_logging_in_is_reported(check: Check, pictures: dict[str, Any]) -> None:
    web = {"port": 0, "users": "users.json", "tls_certificate": "a.pem", "tls_key": "a.key"}
    found = [fault["message"] for fault in check("--json", source=pictures, web=web).error()["faults"]]
    assert [message.partition(": ")[0] for message in found] == ["web.users", "web.tls_certificate"]
    assert "streamad users add" in found[0]
    assert check(source=pictures, web={"port": 0, "host": "0.0.0.0"}).code == 2
    open_to_all = {"port": 0, "host": "0.0.0.0", "anonymous": "anywhere"}
    (warning,) = check("--json", source=pictures, web=open_to_all).document()["warnings"]
    assert "everyone who can connect" in warning["message"]


def test_every_fault_is_reported_at_once(check: Check, tmp_path: Path) -> None:
    (tmp_path / "cut.mp4").write_bytes(b"\0\0\0\x18ftypmp42 and nothing more")
    (tmp_path / "a-file").write_text("x")
    (tmp_path / "notes.sqlite").write_text("no database at all")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = check(
            "--json",
            source={"type": "file", "path": "cut.mp4"},
            camera={"model": "lost", "threshold": 1.0},
            history={"folder": "a-file"},
            events={"path": "notes.sqlite"},
            sinks=[{"type": "jsonl", "path": "a-file/events.jsonl"}],
            web={"port": taken.getsockname()[1]},
        )
    found = ran.error()["faults"]
    assert {fault["message"].partition(": ")[0] for fault in found} == {
        "cameras.0.source", "cameras.0.model", "history.folder", "events.path", "sinks.0.path", "web.port",
    }  # fmt: skip
    text = (tmp_path / "site.yaml").read_text().splitlines()
    for fault in found:
        key = fault["message"].partition(": ")[0].rpartition(".")[2]
        assert f"{key}:" in text[fault["line"] - 1]
    assert len(faults(ran)) == len(found)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"type": "file", "path": "missing.mp4"}, "no such file"),
        ({"type": "file", "path": "folder"}, "folder"),
        ({"type": "file", "path": "empty.mp4"}, "empty.mp4"),
        ({"type": "images", "path": "folder"}, "folder"),
        ({"type": "images", "path": "missing"}, "no such folder"),
        ({"type": "device", "device": "/dev/no-such-video"}, "/dev/no-such-video does not exist"),
        ({"type": "file", "path": "small.mp4"}, "small"),
    ],
)
def test_sources_are_opened(check: Check, tmp_path: Path, source: dict[str, Any], says: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.mp4").touch()
    write_mp4(tmp_path / "small.mp4", [np.zeros((16, 16), np.uint8)] * 3)
    (line,) = faults(check(source=source))
    assert says in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"camera": {}}, "has no calibration"),
        ({"camera": {"calibration": "missing.json"}}, "missing.json"),
        ({"camera": {"calibration": "other.json"}}, "belongs to"),
        ({"engine": {"name": "tensorrt"}}, "engine tensorrt cannot run here"),
        ({"engine": {"precision": "int8"}}, "no int8 variant"),
        ({"web": {"host": "192.0.2.1", "port": 0, "anonymous": "anywhere"}}, "cannot listen on 192.0.2.1"),
        ({"events": {"path": "frames"}}, "is a folder"),
        ({"events": {"path": "e"}, "sinks": [{"type": "jsonl", "path": "e"}]}, "is also written by `events.path`"),
        ({"quality": {"reference": "frames"}}, "frames"),
    ],
)
def test_models_outputs_and_port_are_tried(
    check: Check, tmp_path: Path, pictures: dict[str, Any], parts: dict[str, Any], says: str
) -> None:
    from streamad.model_folders import find_bundle

    shutil.copy(find_bundle("adacl-ped2") / "calibration.json", tmp_path / "other.json")
    lines = faults(check(source=pictures, **parts))
    assert any(says in line for line in lines), lines


def test_a_model_that_was_changed_is_named(check: Check, tmp_path: Path, small_bundle: Path, pictures: Any) -> None:
    shutil.copytree(small_bundle, tmp_path / "changed")
    with (tmp_path / "changed" / "model.onnx").open("ab") as file:
        file.write(b"x")
    (line,) = faults(check(source=pictures, model="changed"))
    assert "SHA-256" in line


# ── Cameras: credentials are read; hosts are contacted only on request ─────────────────────────────────────────────


@pytest.fixture
def listener() -> Iterator[tuple[int, Callable[[], bool]]]:
    """A listening port, and a function that tells whether anything has connected to it."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.setblocking(False)

        def contacted() -> bool:
            try:
                server.accept()[0].close()
            except BlockingIOError:
                return False
            return True

        yield server.getsockname()[1], contacted


def test_hosts_are_not_contacted_and_that_is_said(check: Check, listener: tuple[int, Callable[[], bool]]) -> None:
    port, contacted = listener
    ran = check("--json", source={"type": "rtsp", "url": f"rtsp://127.0.0.1:{port}/x"})
    assert ran.code == 0, ran.err
    (skipped,) = ran.document()["not_checked"]
    assert f"rtsp://127.0.0.1:{port}/… answers" in skipped["message"]
    assert "--connect" in ran.err
    assert not contacted()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "mode", "code", "says"),
    [
        (f"admin:{SECRET}\n", 0o600, 0, None),
        (f"\ufeffadmin:{SECRET}\r\n", 0o600, 0, None),
        (f"admin:{SECRET}\n", 0o644, 0, "is readable by the group and everyone (mode 644)"),
        (f"admin:{SECRET} \n", 0o600, 0, "the password ends with a space"),
        (f"admin:{SECRET}\u200b\n", 0o600, 0, "ZERO WIDTH SPACE (U+200B)"),
        (f"ad\u00a0min:{SECRET}\n", 0o600, 0, "the user contains an invisible character, NO-BREAK SPACE"),
        ("admin:\n", 0o600, 0, "the password is empty"),
        ("", 0o600, 2, "is empty"),
        (SECRET, 0o600, 2, "does not contain `user:password`"),
        (None, 0, 2, "No such file"),
    ],
)
def test_secret_files(
    check: Check, tmp_path: Path, content: str | None, mode: int, code: int, says: str | None
) -> None:
    if content is not None:
        (tmp_path / "gate.secret").write_bytes(content.encode())
        (tmp_path / "gate.secret").chmod(mode)
    ran = check(source={"type": "rtsp", "url": "rtsp://192.0.2.1/x", "secret_file": "gate.secret"})
    assert ran.code == code, ran.err
    assert SECRET not in ran.out + ran.err
    found = [line for line in ran.err.splitlines() if "secret_file" in line]
    assert [says in line for line in found] == ([True] if says else []), ran.err


def test_environment_variables(check: Check) -> None:
    source = {"type": "rtsp", "url": "rtsp://192.0.2.1/x", "username_env": "CAM_U", "password_env": "CAM_P"}
    (line,) = faults(check(source=source))
    assert "the environment variables CAM_U and CAM_P are not set" in line
    ran = check(source=source, env={"CAM_U": "admin\n", "CAM_P": f"{SECRET}\t\n"})
    assert ran.code == 0, ran.err
    assert "the password contains an invisible character, control (U+0009)" in ran.err
    assert SECRET not in ran.err


@pytest.mark.parametrize(
    ("content", "says"), [(None, "No such file or directory"), ("no certificate", "no certificates")]
)
def test_certificates_to_trust(check: Check, tmp_path: Path, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    (line,) = faults(check(source={"type": "rtsp", "url": "rtsps://192.0.2.1/x", "ca_file": "ca.pem"}))
    assert line.endswith(f"ca.pem: {says}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_secret_file_that_may_not_be_read(check: Check, tmp_path: Path) -> None:
    (tmp_path / "gate.secret").write_text(f"admin:{SECRET}\n")
    (tmp_path / "gate.secret").chmod(0)
    (line,) = faults(check(source={"type": "rtsp", "url": "rtsp://192.0.2.1/x", "secret_file": "gate.secret"}))
    assert "Permission denied" in line


@pytest.mark.rtsp
def test_cameras_are_tried_where_asked(check: Check, tmp_path: Path) -> None:
    require_rtsp_server()
    video = write_mp4(tmp_path / "shapes.mp4", moving_shapes(100, busy=()))
    with RtspServer({"gate": video}, user="admin", password=SECRET) as server:
        secret = tmp_path / "gate.secret"
        secret.write_text(f"\ufeffadmin:{SECRET}\r\n", encoding="utf-8")
        secret.chmod(0o600)
        source = {"type": "rtsp", "url": server.url("gate", credentials=False), "secret_file": "gate.secret"}
        ran = check("--connect", "--json", source=source)
        assert ran.code == 0, ran.err
        assert ran.document()["not_checked"] == []
        secret.write_text("admin:wrong\n")
        (line,) = faults(check("--connect", source=source))
        assert "credentials" in line
    (line,) = faults(check("--connect", source=source))
    assert "refused" in line or "cannot connect" in line
