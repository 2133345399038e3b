"""The YAML configuration: every fault is named with its line, and no secret is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamad.config import load_config, parse_config
from streamad.errors import ConfigError, ExitCode
from streamad.sources.spec import FileSpec, RtspSpec

GOOD = """\
version: 1
model: small
engine:
  name: openvino
  threads: 2
cameras:
  - id: gate
    source:
      type: rtsp
      url: rtsp://10.0.0.5/stream
      transport: udp
    alerts_per_day: 2
  - id: yard
    source:
      type: file
      path: yard.mp4
      realtime: true
    model: other
    threshold: 0.8
    rules:
      min_duration_seconds: 1
rules:
  cooldown_seconds: 30
sinks:
  - type: jsonl
    path: events.jsonl
web:
  port: 0
"""


def faults(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, name="site.yaml")
    assert caught.value.exit_code == ExitCode.USAGE
    return str(caught.value)


def line_of(text: str, part: str) -> int:
    """Number of the only line that holds `part`."""
    (number,) = [k for k, line in enumerate(text.splitlines(), 1) if part in line]
    return number


def test_a_good_file_becomes_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(GOOD)
    config = load_config(tmp_path / "site.yaml")
    gate, yard = config.cameras
    assert isinstance(gate.source, RtspSpec)
    assert gate.source.transport == "udp"
    assert isinstance(yard.source, FileSpec)
    assert yard.source.drops
    assert [config.model_of(c) for c in config.cameras] == ["small", "other"]
    assert config.rules_of(gate).cooldown_seconds == 30
    assert config.rules_of(yard).min_duration_seconds == 1
    assert config.rules_of(yard).cooldown_seconds == 10  # its own rules, not mixed with the common ones
    assert config.engine.threads == 2


@pytest.mark.parametrize(
    ("old", "new", "where", "says"),
    [
        ("    alerts_per_day: 2", "    alert_per_day: 2", "alert_per_day", "there is no such setting"),
        ("engine:", "engin:", "engin:", "there is no such setting"),
        ("      transport: udp", "      transprt: udp", "transprt", "there is no such setting"),
        ("  threads: 2", "  threads: many", "threads: many", "valid integer"),
        ("  threads: 2", "  threads: 0", "threads: 0", "greater than or equal to 1"),
        ("  name: openvino", "  name: tensorflow", "tensorflow", "auto"),
        ("version: 1", "version: 2", "version: 2", "version"),
        ("      type: file", "      type: vhs", "type: vhs", "vhs"),
        ("      path: yard.mp4\n", "", 14, "source.file.path: this setting is needed"),
        ("    threshold: 0.8", "    threshold: [1]", "threshold: [1]", "valid number"),
        ("    threshold: 0.8", "    threshold: 0.8\n    alerts_per_day: 3", "- id: yard", "excludes"),
        ("  - id: yard", "  - id: a b", "a b", "pattern"),
        ("      realtime: true", "      realtime: sometimes", "realtime: sometimes", "bool"),
        ("  - type: jsonl", "  - type: pigeon", "pigeon", "pigeon"),
        ("  port: 0", "  port: 65536", "port: 65536", "less than or equal to 65535"),
        ("      min_duration_seconds: 1", "      min_duration_seconds: -1", "-1", "greater than or equal to 0"),
        ("  - id: yard", "  - id: gate", 13, "is taken by the camera on line 7"),
        ("  threads: 2", "  threads: 2\n  threads: 3", "threads: 3", "given before, on line 5"),
        ("rules:\n  cooldown", "model: again\nrules:\n  cooldown", "model: again", "given before, on line 2"),
    ],
)
def test_each_fault_is_named_with_its_line(old: str, new: str, where: str | int, says: str) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    line = line_of(text, where) if isinstance(where, str) else where
    message = faults(text)
    mine = [part for part in message.splitlines() if part.strip().startswith(f"site.yaml:{line}:")]
    assert mine, message
    assert any(says in part for part in mine), message


def test_all_faults_are_told_at_once() -> None:
    text = GOOD.replace("threads: 2", "threads: none").replace("port: 0", "port: none").replace("type: file", "type: f")
    message = faults(text)
    for part in ("threads: none", "port: none"):
        assert f"site.yaml:{line_of(text, part)}:" in message


def test_a_camera_without_model_or_source() -> None:
    assert "'gate' names no model" in faults(GOOD.replace("model: small\n", ""))
    message = faults("model: m\ncameras:\n  - id: a\n")
    assert "site.yaml:3: cameras.0.source: this setting is needed" in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected a mapping"),
        ("- a\n", "expected a mapping"),
        ("just words", "expected a mapping"),
        ("model: m\ncameras: [\n", "site.yaml:3: not valid YAML"),
        ("model: 'm\n", "not valid YAML"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("model: !secret m\ncameras: []\n", "site.yaml:1: not valid YAML"),
        ("model: m\nengine: !!python/name:os.system\n", "site.yaml:2: not valid YAML"),
        ("model: 2024-99-99\ncameras: []\n", "not valid YAML"),
        ("model: m\n? [a, b]\n: 1\n", "site.yaml:2: "),
        ("model: m\n? {a: 1}\n: 1\n", "site.yaml:2: "),
        ("model: m\n1: 2\ncameras: []\n", "site.yaml:2: "),
        ("model: m\ncameras: &c [*c]\n", "not valid YAML"),
        ("cameras: " + "[" * 5000, "not valid YAML"),
        ("model: m\ncameras: []\n", "site.yaml:2: cameras"),
        ("model: m\ncameras: none\n", "site.yaml:2: cameras"),
        ("model: m\ncameras:\n", "site.yaml:2: cameras"),
        ("model: m\ncameras: [3]\n", "site.yaml:2: cameras.0"),
        ("model: m\n", "cameras: this setting is needed"),
        ("model: \x07\n", "not valid YAML"),
    ],
)
def test_what_is_no_configuration_at_all(text: str, says: str) -> None:
    assert says in faults(text)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_unreadable_files_are_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "site.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*site\.yaml"):
        load_config(path)
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_config(tmp_path)


def test_environment_variables_are_put_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_OF_GATE", "192.0.2.7")
    monkeypatch.setenv("PORT_OF_PAGE", "9000")
    text = GOOD.replace("10.0.0.5", "${HOST_OF_GATE}").replace("port: 0", "port: ${PORT_OF_PAGE}")
    config = parse_config(text)
    assert isinstance(config.cameras[0].source, RtspSpec)
    assert config.cameras[0].source.url.host == "192.0.2.7"
    assert config.web.port == 9000


def test_a_variable_that_is_not_set_is_named_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOST_OF_GATE", raising=False)
    text = GOOD.replace("10.0.0.5", "${HOST_OF_GATE}")
    assert f"site.yaml:{line_of(text, 'HOST_OF_GATE')}: url: the environment variable HOST_OF_GATE" in faults(text)


def test_a_value_from_the_environment_is_not_read_as_yaml_or_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODD", "${HOME}: [*, &")
    config = parse_config(GOOD.replace("path: events.jsonl", "path: ${ODD}"))
    assert str(config.sinks[0].path) == "${HOME}: [*, &"  # type: ignore[union-attr]


SECRET = "hunter2-s3cret"


@pytest.mark.parametrize(
    "source",
    [
        "{type: rtsp, url: 'rtsp://admin:%s@host/path', transport: wire}",
        "{type: rtsp, url: 'http://admin:%s@host/path'}",
        "{type: rtsp, url: 'rtsp://admin:%s@host:notaport/path'}",
        "{type: rtsp, url: 'rtsp://admin:%s@/path'}",
        "{type: rtsp, url: 'rtsp://admin:%s@host', username_env: A, password_env: B}",
        "{type: rtsp, url: ['rtsp://admin:%s@host']}",
        "{type: 'rtsp://admin:%s@host'}",
        "{type: file, path: x, url: 'rtsp://admin:%s@host'}",
        "{type: rtsp, url: 'rtsp://admin:%s@host', password: '%s'}",
        "'rtsp://admin:%s@host'",
    ],
)
def test_no_password_in_any_message(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_GATE", SECRET)
    for value in (SECRET, "${SECRET_OF_GATE}"):
        text = f"model: m\ncameras:\n  - id: gate\n    source: {source.replace('%s', value)}\n"
        with pytest.raises(ConfigError) as caught:
            parse_config(text, name="site.yaml")
        shown: BaseException | None = caught.value
        while shown is not None:  # the chain too: a log prints it
            assert SECRET not in str(shown)
            assert SECRET not in repr(shown)
            shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)
        assert "site.yaml:4:" in str(caught.value)


def test_merge_keys_and_anchors_work() -> None:
    text = """\
model: m
rules: &common {cooldown_seconds: 5}
cameras:
  - id: a
    source: {type: file, path: a.mp4}
    rules:
      <<: *common
      min_duration_seconds: 2
"""
    rules = parse_config(text).cameras[0].rules
    assert rules is not None
    assert (rules.cooldown_seconds, rules.min_duration_seconds) == (5, 2)
