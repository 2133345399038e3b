"""Specs: what the configuration accepts, and what a word of the command line means."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from address_support import FORMS, SECRET
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
    SupervisedSource,
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
        {"type": "file", "path": "a.mp4", "color": True},
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


@pytest.mark.parametrize("text", FORMS)
def test_no_word_of_the_command_line_is_shown(text: str) -> None:
    spec: object = None
    with suppress(UsageError):
        spec = parse_source(text)
    if spec is not None:
        assert isinstance(spec, RtspSpec), "an address is never taken for a file, whose name is printed"
        assert SECRET not in f"{spec} {spec!r}"
        return
    with pytest.raises(UsageError) as caught:
        parse_source(text)
    error = caught.value
    assert SECRET not in f"{error} {error.hint} {error!r} {error.__cause__} {error.__context__}"


def test_credentials_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = RtspSpec.model_validate({"url": "rtsp://h/a", "username_env": "CAM_U", "password_env": "CAM_P"})
    monkeypatch.setenv("CAM_U", "us er")
    mistaken = RtspSpec.model_validate({"url": "rtsp://h/a", "username_env": "CAM_U", "password_env": SECRET})
    with pytest.raises(SourceAuthError, match="variable that is named is not set") as caught:
        mistaken.connection_url()
    assert SECRET not in str(caught.value)
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
    mistaken = RtspSpec.model_validate({"url": "rtsp://h/a", "secret_file": f"admin:{SECRET}"})
    with pytest.raises(SourceAuthError, match="named in secret_file") as caught:
        mistaken.connection_url()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "readers"),
    [(0o600, None), (0o400, None), (0o640, "the group"), (0o604, "everyone"), (0o644, "and everyone")],
)
def test_a_secret_file_that_others_can_read_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, readers: str | None
) -> None:
    secret = tmp_path / "gate"
    secret.write_text(f"admin:{SECRET}\n")
    secret.chmod(mode)
    spec = RtspSpec.model_validate({"url": "rtsp://127.0.0.1:1/a", "secret_file": secret})
    assert spec.connection_url().has_credentials, "named, not refused"
    with SupervisedSource("gate", spec):
        pass
    said = [record.getMessage() for record in caplog.records if "secret file" in record.getMessage()]
    if readers is None:
        assert said == []
    else:
        assert len(said) == 1
        assert said[0].startswith(f"gate: the secret file {secret} is readable by ")
        assert f"{readers} (mode {mode:03o})" in said[0]
    assert SECRET not in caplog.text


def test_reading_a_configuration_loads_no_decoder() -> None:
    code = (
        "import sys; from streamad.sources import SourceSpec, parse_source; parse_source('a.mp4'); "
        "sys.exit(str([m for m in ('av', 'cv2', 'numpy') if m in sys.modules] or 0))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert run.stderr.strip() == "0"
