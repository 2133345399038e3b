"""The schema that editors get accepts what streamad accepts, and describes every setting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    from streamad.cli.config import config_schema

    return json.loads(json.dumps(config_schema(), default=str))


def test_the_examples_match_it(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for name in ("camera", "several", "replay"):
        text = (CONFIGS / f"{name}.yaml").read_text()
        validator.validate(yaml.safe_load(text))
        comments = [line[:4] + line[6:] if line.startswith("    # ") else line for line in text.splitlines()]
        if name == "camera":  # also what its comments suggest
            shown = "\n".join(line for line in comments if not line.startswith("    Parts of"))
            document = yaml.load(shown, Loader=yaml.BaseLoader)
            assert [zone["name"] for zone in document["cameras"][0]["zones"]] == ["street", "door"]


def test_mistakes_do_not_match_it(schema: dict[str, Any]) -> None:
    validator = Draft202012Validator(schema)
    document = yaml.safe_load((CONFIGS / "camera.yaml").read_text())
    camera = document["cameras"][0]
    triangle = [[0, 0], [1, 0], [1, 1]]
    for more in (
        {"zone": []}, {"zones": [{"name": "a", "polygon": triangle[:2]}]}, {"zones": [{"polygon": triangle}]},
        {"zones": [{"name": "a", "polygon": [[0, 0], [640, 0], [640, 480]]}]}, {"alerts_per_day": 0},
        {"active": [{"start": "22:00", "end": "06:00", "days": ["monday"]}]}, {"source": {"type": "rtps"}},
    ):  # fmt: skip
        assert not validator.is_valid({**document, "cameras": [{**camera, **more}]}), more
    assert validator.is_valid({**document, "cameras": [{**camera, "zones": [{"name": "a", "polygon": triangle}]}]})


def test_every_setting_is_described(schema: dict[str, Any]) -> None:
    for name, part in [("the file", schema), *schema["$defs"].items()]:
        for key, setting in part.get("properties", {}).items():
            assert "description" in setting or key == "type", f"{name}: {key}"
