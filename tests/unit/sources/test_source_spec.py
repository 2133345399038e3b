"""Specs: what the configuration accepts, and what a word of the command line means."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from streamad.errors import UsageError
from streamad.sources import (
    DeviceSpec,
    FileSpec,
    ImagesSpec,
    ReconnectSpec,
    RtspSpec,
    SourceAuthError,
    SourceSpec,
    parse_source,
)

ADAPTER: TypeAdapter[SourceSpec] = TypeAdapter(SourceSpec)


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"type": "file", "path": "a.mp4", "realtime": True, "speed": 2}, FileSpec),
        ({"type": "images", "path": "frames", "fps": 10}, ImagesSpec),
        ({"type": "rtsp", "url": "rtsp://h/a", "transport": "udp", "hwaccel": "auto"}, RtspSpec),
        ({"type": "device", "device": "/dev/video1", "width": 640, "height": 480}, DeviceSpec),
    ],
)
def test_the_type_tells_sources_apart(document: dict[str, object], kind: type) -> None:
    spec = ADAPTER.validate_python(document)
    assert isinstance(spec, kind)
    assert spec.live == (document["type"] in ("rtsp", "device"))


@pytest.mark.parametrize(
    "document",
    [
        {"path": "a.mp4"},
        {"type": "film", "path": "a.mp4"},
        {"type": "file", "path": "a.mp4", "colour": True},
        {"type": "file", "path": "a.mp4", "speed": 0},
        {"type": "images", "path": "a", "fps": 0},
        {"type": "rtsp", "url": "rtsp://h/a", "transport": "pigeon"},
        {"type": "rtsp", "url": "rtsp://h/a", "username_env": "U"},
        {"type": "rtsp", "url": "rtsp://u:p@h/a", "username_env": "U", "password_env": "P"},
        {"type": "rtsp", "url": "rtsp://u:p@h/a", "secret_file": "s"},
        {"type": "device", "width": 640},
    ],
)
def test_wrong_documents_are_refused(document: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(document)


def test_every_field_has_a_description() -> None:
    for kind in (FileSpec, ImagesSpec, RtspSpec, DeviceSpec, ReconnectSpec):
        missing = [n for n, f in kind.model_fields.items() if n != "type" and not f.description]
        assert not missing, (kind, missing)


def test_backoff_bounds_are_ordered() -> None:
    with pytest.raises(ValidationError, match="less than"):
        ReconnectSpec(initial_seconds=10, max_seconds=5)


def test_words_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "01").mkdir()
    assert parse_source("01") == ImagesSpec(path=Path("01"))
    assert parse_source("0") == DeviceSpec(device=Path("/dev/video0"))
    assert parse_source("/dev/video3") == DeviceSpec(device=Path("/dev/video3"))
    assert parse_source("missing.mp4") == FileSpec(path=Path("missing.mp4"))
    camera = parse_source("rtsp://u:p@h:554/a")
    assert isinstance(camera, RtspSpec)
    assert camera.url.reveal() == "rtsp://u:p@h:554/a"


@pytest.mark.parametrize("text", ["", " ", "http://u:hunter2@h/a.m3u8", "rtsp://u:hunter2@", "udp://h:1"])
def test_words_that_mean_nothing(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_source(text)
    assert caught.value.hint
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__} {caught.value.__context__}"


def test_credentials_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = RtspSpec.model_validate({"url": "rtsp://h/a", "username_env": "CAM_U", "password_env": "CAM_P"})
    monkeypatch.setenv("CAM_U", "us er")
    with pytest.raises(SourceAuthError, match="CAM_P is not set"):
        spec.connection_url()
    monkeypatch.setenv("CAM_P", "p@/#")
    assert spec.connection_url().reveal() == "rtsp://us%20er:p%40%2F%23@h/a"


@pytest.mark.parametrize(
    ("content", "good"), [("u:p:q\n", True), ("just", False), ("a:b\nc:d\n", False), (":p", False)]
)
def test_credentials_from_a_file(tmp_path: Path, content: str, good: bool) -> None:
    secret = tmp_path / "secret"
    secret.write_text(content)
    spec = RtspSpec.model_validate({"url": "rtsp://h/a", "secret_file": secret})
    if good:
        assert spec.connection_url().reveal() == "rtsp://u:p%3Aq@h/a"
    else:
        with pytest.raises(SourceAuthError, match="user:password"):
            spec.connection_url()
    secret.unlink()
    with pytest.raises(SourceAuthError, match="No such file"):
        spec.connection_url()


def test_reading_a_configuration_loads_no_decoder() -> None:
    code = (
        "import sys; from streamad.sources import SourceSpec, parse_source; parse_source('a.mp4'); "
        "sys.exit(str([m for m in ('av', 'cv2', 'numpy') if m in sys.modules] or 0))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert run.stderr.strip() == "0"
