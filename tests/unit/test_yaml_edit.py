"""One setting of a YAML text changes, and nothing else: comments, order and layout stay."""

from __future__ import annotations

import difflib

import pytest
import yaml

from streamad.yaml_edit import EditError, edited, edited_parts

TEXT = """\
# head
model: m   # the model

cameras:
  - id: gate     # the gate
    source: {type: file, path: a.mp4}   # its source
    alerts_per_day: 1   # the budget
    # about the zones
    zones:
      - name: a   # the first
        polygon:
          - [0, 0]
          - [0.5, 0]
          - [0.5, 1]
      # after the zones

  # the yard
  - id: yard
    source:
      type: file
      path: b.mp4
web:
  port: 0 # any
"""
ZONES = [{"name": "s", "type": "exclude", "polygon": [[0, 0], [1, 0], [1, 0.25]]}]
NEW = ["    zones:", "      - name: s", "        type: exclude", "        polygon: [[0, 0], [1, 0], [1, 0.25]]"]
OLD = TEXT.splitlines()[8:14]


def difference(camera: int, key: str, value: object, text: str = TEXT) -> tuple[list[str], list[str]]:
    """Return the lines that are gone and those that are new."""
    result = edited(text, ("cameras", camera), key, value, name="camera.yaml")
    document = yaml.safe_load(text)
    document["cameras"][camera] = {**document["cameras"][camera], key: value}
    if value is None:
        del document["cameras"][camera][key]
    assert yaml.safe_load(result) == document
    lines = list(difflib.ndiff(text.splitlines(), result.splitlines()))
    return [line[2:] for line in lines if line[0] == "-"], [line[2:] for line in lines if line[0] == "+"]


def test_a_list_is_replaced_and_comments_around_it_stay() -> None:
    gone, new = difference(0, "zones", ZONES)
    assert set(gone) <= set(OLD)
    assert set(new) <= set(NEW)
    assert "      # after the zones" in edited(TEXT, ("cameras", 0), "zones", ZONES, name="c").splitlines()


def test_a_number_keeps_its_comment() -> None:
    assert difference(0, "alerts_per_day", 0.5) == (
        ["    alerts_per_day: 1   # the budget"], ["    alerts_per_day: 0.5   # the budget"],
    )  # fmt: skip


def test_a_new_setting_follows_the_last_one() -> None:
    assert difference(1, "zones", ZONES) == ([], NEW)
    assert difference(1, "threshold", 0.25) == ([], ["    threshold: 0.25"])


def test_a_setting_is_removed() -> None:
    assert difference(0, "zones", None) == (OLD, [])
    assert difference(0, "alerts_per_day", None) == (["    alerts_per_day: 1   # the budget"], [])


def test_line_ends_and_a_missing_last_one() -> None:
    text = "cameras:\r\n- id: a\r\n  source: b"
    result = edited(text, ("cameras", 0), "threshold", 1.5, name="c")
    assert result == "cameras:\r\n- id: a\r\n  source: b\r\n  threshold: 1.5\r\n"


@pytest.mark.parametrize(
    "text",
    [
        "cameras: [{id: a, source: x}]\n",
        "x: &c {id: a}\ncameras:\n  - *c\n",
        "b: &b {threshold: 1}\ncameras:\n  - {<<: *b, id: a}\n",
        "cameras:\n  - threshold: 1\n    id: a\n",  # to be removed from the line of the dash
    ],
)
def test_what_cannot_be_changed_by_itself_is_refused(text: str) -> None:
    with pytest.raises(EditError):
        edited(text, ("cameras", 0), "threshold", None if "- threshold" in text else 2, name="c")


def parts(old: object, new: object, key: str = "zones", text: str = TEXT) -> list[str]:
    """Return the lines that differ."""
    result = edited_parts(text, ("cameras", 0), key, old, new, name="c")
    return [line for line in difflib.ndiff(text.splitlines(), result.splitlines()) if line[0] in "+-"]


def test_only_what_differs_in_a_list_is_written() -> None:
    old = yaml.safe_load(TEXT)["cameras"][0]["zones"]
    assert parts(old, old) == []
    assert parts(old, [{**old[0], "min_size": 0.1}]) == ["+         min_size: 0.1"]
    assert parts(old, [{**old[0], "name": "b"}]) == [
        "-       - name: a   # the first",
        "+       - name: b   # the first",
    ]
    longer = edited_parts(TEXT, ("cameras", 0), "zones", old, [*old, *ZONES], name="c")
    assert longer == edited(TEXT, ("cameras", 0), "zones", [*old, *ZONES], name="c")


def test_an_entry_in_braces_is_written_again_with_its_list_alone() -> None:
    text = """\
cameras:
  - id: gate
    profiles:
      - name: night   # with the lamp
        hours: [{start: '20:00', end: '06:00'}]
        calibration: ${HOME}/night.json
"""
    old = [{"name": "night", "hours": [{"start": "20:00", "end": "06:00"}], "calibration": "/root/night.json"}]
    new = [{**old[0], "hours": [{"start": "21:00", "end": "06:00"}]}]
    assert parts(old, new, "profiles", text) == [
        "-         hours: [{start: '20:00', end: '06:00'}]",
        "+         hours:",
        "+           - start: '21:00'",
        "+             end: 06:00",
    ]
