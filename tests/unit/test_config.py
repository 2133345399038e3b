"""The YAML configuration: every fault is named with its line, and no secret is printed."""

from __future__ import annotations

from itertools import pairwise
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
        ("    alerts_per_day: 2", "    alert_per_day: 2", "alert_per_day", "unknown setting"),
        ("engine:", "engin:", "engin:", "unknown setting"),
        ("      transport: udp", "      transprt: udp", "transprt", "unknown setting"),
        ("  threads: 2", "  threads: many", "threads: many", "valid integer"),
        ("  threads: 2", "  threads: 0", "threads: 0", "greater than or equal to 1"),
        ("  name: openvino", "  name: tensorflow", "tensorflow", "auto"),
        ("version: 1", "version: 2", "version: 2", "version"),
        ("      type: file", "      type: vhs", "type: vhs", "vhs"),
        ("      path: yard.mp4\n", "", 14, "source.path: required setting is missing"),
        ("    threshold: 0.8", "    threshold: [1]", "threshold: [1]", "valid number"),
        ("    threshold: 0.8", "    threshold: 0.8\n    alerts_per_day: 3", "- id: yard", "cannot be combined"),
        ("  - id: yard", "  - id: a b", "a b", "pattern"),
        ("      realtime: true", "      realtime: sometimes", "realtime: sometimes", "bool"),
        ("  - type: jsonl", "  - type: pigeon", "pigeon", "pigeon"),
        ("  port: 0", "  port: 65536", "port: 65536", "less than or equal to 65535"),
        ("      min_duration_seconds: 1", "      min_duration_seconds: -1", "-1", "greater than or equal to 0"),
        ("  - id: yard", "  - id: gate", 13, "is also used on line 7"),
        ("  threads: 2", "  threads: 2\n  threads: 3", "threads: 3", "duplicate of line 5"),
        ("rules:\n  cooldown", "model: again\nrules:\n  cooldown", "model: again", "duplicate of line 2"),
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
    assert "'gate' has no `model`" in faults(GOOD.replace("model: small\n", ""))
    message = faults("model: m\ncameras:\n  - id: a\n")
    assert "site.yaml:3: cameras.0.source: required setting is missing" in message


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
        ("model: m\n", "cameras: required setting is missing"),
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


# ── What YAML reads otherwise than people do ───────────────────────────────────────────────────────────────────────

ONE = """\
model: m
cameras:
  - id: gate
    source: {type: rtsp, url: "rtsp://h/x"}
"""


def only_fault(text: str, *, where: str) -> str:
    """The single fault of a text, checked to be one line and at the line that holds `where`."""
    message = faults(text)
    first, *lines = message.splitlines()
    assert first == "site.yaml is not a valid configuration:"
    assert len(lines) == 1, message
    place = f"  site.yaml:{line_of(text, where)}: "
    assert lines[0].startswith(place), message
    return lines[0].removeprefix(place)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("no", "`no` as false"), ("Off", "`Off` as false"), ("on", "`on` as true"), ("yes", "`yes` as true"),
        ("007", "`007` as the number 7"), ("010", "`010` as the number 8"), ("12", "`12` as a number"),
        ("12:30", "`12:30` as the number 750"), ("1.5", "`1.5` as a number"), ("0x1F", "`0x1F` as the number 31"),
        ("1_000", "`1_000` as the number 1000"), ("1.0e+3", "`1.0e+3` as the number 1000.0"),
        ("2024-01-31", "`2024-01-31` as a date"), ("~", "`~` as null"), ("null", "`null` as null"),
    ],
)  # fmt: skip
def test_a_name_that_yaml_reads_otherwise_is_to_be_quoted(written: str, read: str) -> None:
    text = ONE.replace("id: gate", f"id: {written}")
    assert only_fault(text, where="id:") == f"cameras.0.id: YAML reads {read}; put it in quotes"
    quoted = ONE.replace("id: gate", f'id: "{written}"')
    if written not in ("12:30", "1.0e+3", "~"):  # which no id may be
        assert parse_config(quoted).cameras[0].id == written


@pytest.mark.parametrize("written", ["1e3", "0o17", "no-entry", "y", "n", "1.2.3"])
def test_what_yaml_reads_as_text_is_a_name(written: str) -> None:
    assert parse_config(ONE.replace("id: gate", f"id: {written}")).cameras[0].id == written


@pytest.mark.parametrize(
    ("added", "says"),
    [
        ("web: {port: 010}", "web.port: YAML reads `010` as the number 8; write it as a decimal number"),
        ("web: {port: yes}", "web.port: expected a number; YAML reads `yes` as true"),
        ("rules: {cooldown_seconds: 1:30}", "YAML reads `1:30` as the number 90; write it as a decimal number"),
        ("rules: {cooldown_seconds: 0:30.5}", "YAML reads `0:30.5` as the number 30.5"),
        ("rules: {cooldown_seconds: off}", "expected a number; YAML reads `off` as false"),
        ("    threshold: .nan", "finite number"),
        ("    threshold: .inf", "finite number"),
        ("    threshold: nan", "finite number"),
        ("    threshold: 2024-01-31", "valid number; YAML reads `2024-01-31` as a date"),
        ("web: {port: 1e3}", "valid integer, unable to parse string as an integer; YAML reads `1e3` as text"),
        ("logging: {level: off}", "logging.level: YAML reads `off` as false; put it in quotes"),
        ("web:", "web: expected nested settings, such as enabled, host"),
        ("web: # all of it left out", "YAML reads an empty value as null: omit the setting"),
        ("sinks:", "sinks: expected a list"),
        ("engine: openvino", "engine: expected nested settings, such as name, device"),
    ],
)
def test_other_values_that_are_not_what_they_look_like(added: str, says: str) -> None:
    assert says in only_fault(f"{ONE}{added}\n", where=added)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("modle: m\n", "modle: unknown setting; did you mean `model`?"),
        ("camera: []\n", "camera: unknown setting; did you mean `cameras`?"),
        ("rules: {cooldown: 3}\n", "rules.cooldown: unknown setting; did you mean `cooldown_seconds`?"),
        ("    threshhold: 1\n", "cameras.0.threshhold: unknown setting; did you mean `threshold`?"),
        (
            "    url: rtsp://h\n",
            "cameras.0.url: unknown setting; it belongs in `cameras.source.url` or `cameras.evidence_source.url`",
        ),
        ("port: 8080\n", "port: unknown setting; it belongs in `sinks.port` or `web.port`"),
        ("    zebra: 1\n", "cameras.0.zebra: unknown setting"),
    ],
)
def test_an_unknown_setting_comes_with_the_one_meant(given: str, meant: str) -> None:
    assert only_fault(ONE + given, where=given.strip()) == meant


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("engine: {name: opnvino}\n", "did you mean 'openvino'?"),
        ("engine: {precision: int}\n", "did you mean 'int8'?"),
        ("sinks: [{type: json, path: x}]\n", "did you mean 'jsonl'?"),
        ("logging: {level: warn}\n", "did you mean 'warning'?"),
    ],
)
def test_an_unknown_value_comes_with_the_one_meant(given: str, meant: str) -> None:
    assert only_fault(ONE + given, where=given.strip()).endswith(meant)


def test_a_source_says_what_it_lacks() -> None:
    bare = ONE.replace('{type: rtsp, url: "rtsp://h/x"}', "%s")
    assert "source: expected nested settings, such as `type` ('file', 'images'," in faults(bare % "rtsp://h/x")
    assert "source.type: required setting is missing: one of 'file'" in faults(bare % "{path: x}")
    assert "did you mean `password_env`?" in faults(bare % "{type: rtsp, url: 'rtsp://h', password: x}")


def test_one_fault_has_no_consequences() -> None:
    assert only_fault(ONE.replace("rtsp://h/x", "rtsp://h:99999/x"), where="99999") == (
        "cameras.0.source.url: the port must be a number from 1 to 65535"
    )
    text = ONE.replace("rtsp://h/x", "rtsp://${NO_SUCH_HOST}:554/x")
    assert only_fault(text, where="NO_SUCH").endswith("url: the environment variable NO_SUCH_HOST is not set")
    message = faults(text + "modle: m\nmodle: m\n")
    for says in ("4: url: the environment", "6: modle: unknown setting", "6: modle: duplicate of line 5"):
        assert f"site.yaml:{says}" in message


def test_a_number_in_place_of_a_credential_is_not_shown() -> None:
    text = ONE.replace('url: "rtsp://h/x"', 'url: "rtsp://h/x", username_env: A, password_env: 48151623')
    assert "48151623" not in faults(text)
    assert "password_env: YAML reads this as a number; put it in quotes" in faults(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model: m\ncameras:\n\t- id: a\n", "site.yaml:3: not valid YAML: a tab where YAML expects spaces"),
        ("model: a: b\n", "site.yaml:1: not valid YAML: a second `: `"),
        ("model: *hunter2\n", "site.yaml:1: not valid YAML: a value that starts with *"),
        ("model: !hunter2 x\n", "site.yaml:1: not valid YAML: a value that starts with ! or ="),
        ("model: !hunter2!x y\n", "site.yaml:1: not valid YAML: a value starts with"),
        ("model: @hunter2\n", "site.yaml:1: not valid YAML: a value starts with"),
        ("model: =\n", "site.yaml:1: not valid YAML: a value that starts with ! or ="),
        ('model: "C:\\models"\n', "site.yaml:1: not valid YAML: a backslash in double quotes"),
        (f"{ONE}---\n{ONE}", "site.yaml:5: not valid YAML: `---` starts a second document"),
        ("model: m\nx: \x00\n", "site.yaml:2: not valid YAML: the control character U+0000"),
        ("# nothing\n", "the file is empty"),
        ("- a\n", "not a list"),
        ("on: 1\n", "on: the name of a setting must be text, and YAML reads this as true; put it in quotes"),
        ("<<: {model: m}\n<<: {web: {}}\n", "<<: duplicate of line 1"),
    ],
)
def test_what_is_wrong_with_yaml_is_said_without_what_it_holds(text: str, says: str) -> None:
    assert says in faults(text)
    assert "hunter2" not in faults(text)


def test_merged_settings_are_named_where_they_stand() -> None:
    text = f"{ONE}    rules: &r\n      cooldown_seconds: long\nrules:\n  <<: *r\n"
    lines = faults(text).splitlines()[1:]
    assert len(lines) == 2
    assert all(line.startswith(f"  site.yaml:{line_of(text, 'long')}: ") for line in lines)


def test_aliases_that_multiply_are_refused_in_bounded_time() -> None:
    layers = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghij"))
    assert "values, counting each repetition by an alias" in faults("a: &a [x]\n" + layers)
    merges = "".join(f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}\n" for a, b in pairwise("abcdefghij"))
    assert "values, counting each repetition by an alias" in faults("a: &a {x: 1}\n" + merges)


def test_byte_order_mark_and_line_ends_of_windows_are_nothing(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_config(tmp_path / "site.yaml") == parse_config(GOOD)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (ONE.encode("utf-16"), "it is UTF-16"),
        (ONE.replace("gate", "tür").encode("latin-1"), "line 3 is not UTF-8"),
        (b"# " + b"x" * (5 << 20), "larger than 4 MiB"),
    ],
)
def test_encodings_are_named(tmp_path: Path, raw: bytes, says: str) -> None:
    (tmp_path / "site.yaml").write_bytes(raw)
    with pytest.raises(ConfigError, match=says):
        load_config(tmp_path / "site.yaml")


def test_a_line_end_of_a_variable_is_no_part_of_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_OF_GATE", "192.0.2.7\n")
    config = parse_config(ONE.replace("//h/", "//${HOST_OF_GATE}/"))
    assert config.cameras[0].source.url.reveal() == "rtsp://192.0.2.7/x"  # type: ignore[union-attr]
    monkeypatch.setenv("HOST_OF_GATE", "h\udcff")
    assert "HOST_OF_GATE is not UTF-8 text" in faults(ONE.replace("//h/", "//${HOST_OF_GATE}/"))


def test_what_a_variable_holds_is_not_looked_through_again_by_an_alias(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODD", "${HOME}")
    text = 'model: m\ncameras:\n  - id: a\n    source: &s {type: file, path: "${ODD}"}\n  - {id: b, source: *s}\n'
    paths = [camera.source.path for camera in parse_config(text).cameras]  # type: ignore[union-attr]
    assert paths == [Path("${HOME}")] * 2
