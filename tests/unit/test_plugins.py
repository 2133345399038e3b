"""Entry points of other packages, written to disk as pip would: what is found, and what is refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamad.config import parse_config
from streamad.detectors import BUILT_IN, detector_names, find_detector
from streamad.engines import available_engines
from streamad.errors import ConfigError, PluginError, UsageError
from streamad.plugins import _entry_points, plugin_names
from streamad.sources import parse_source

MODULE = """
from typing import Literal
from streamad.detectors import find_detector
from streamad.sources import PluginSource

class Quiet(PluginSource):
    type: Literal["quiet"] = "quiet"
    decibels: int = 3

    @classmethod
    def from_address(cls, address):
        return cls(decibels=int(address.partition("://")[2]))

motion, number = find_detector("motion"), 7
"""

Install = Callable[[str, dict[str, dict[str, str]]], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a package with entry points, by group and name; all share one module."""
    (tmp_path / "quietpackage.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(package: str, groups: dict[str, dict[str, str]]) -> None:
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [
            f"[streamad.{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items())
            for group, names in groups.items()
        ]
        (info / "entry_points.txt").write_text("\n".join(lines))
        _entry_points.cache_clear()

    yield write
    _entry_points.cache_clear()
    find_detector.cache_clear()


def test_names_are_listed_without_importing_anything(install: Install) -> None:
    install("one", {"detectors": {"zebra": "no_such_module:X", "ant": "no_such_module:Y"}})
    assert plugin_names("streamad.detectors") == ("ant", "zebra")
    assert detector_names() == (*BUILT_IN, "ant", "zebra")


def test_built_in_names_cannot_be_taken_over(install: Install) -> None:
    install("one", {"detectors": {"motion": "no_such_module:X"}, "engines": {"openvino": "no_such_module:X"}})
    assert find_detector("motion").name == "motion"
    assert detector_names() == BUILT_IN
    assert available_engines()["openvino"] == ""


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module:X", "the plugin 'mine' of one 1.0 cannot be loaded: ModuleNotFoundError"),
        ("quietpackage:absent", "the plugin 'mine' of one 1.0 cannot be loaded: AttributeError"),
        ("quietpackage:number", "the plugin 'mine' of one 1.0 cannot be used: quietpackage:number is not a Detector"),
        ("quietpackage:motion", "the plugin 'mine' provides a detector that calls itself 'motion'"),
    ],
)
def test_a_detector_that_cannot_be_used_is_one_sentence(install: Install, target: str, message: str) -> None:
    install("one", {"detectors": {"mine": target}})
    with pytest.raises(PluginError) as caught:
        find_detector("mine")
    assert str(caught.value).startswith(message)
    assert find_detector("motion").name == "motion"


def test_of_two_packages_with_one_name_the_first_is_used(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install("one", {"sources": {"quiet": "quietpackage:Quiet"}})
    install("two", {"sources": {"quiet": "elsewhere:Quiet"}})
    assert plugin_names("streamad.sources") == ("quiet",)
    assert "both add 'quiet' to streamad.sources" in caplog.text


def test_a_source_in_a_configuration_and_as_an_address(install: Install) -> None:
    install("one", {"sources": {"quiet": "quietpackage:Quiet"}})
    text = "model: m\ncameras:\n  - id: a\n    source: {type: quiet, decibels: 5}\n"
    config = parse_config(text)
    source = config.cameras[0].source
    assert (source.type, source.live, source.model_dump()["decibels"]) == ("quiet", True, 5)
    assert config.model_dump(mode="json")["cameras"][0]["source"]["decibels"] == 5
    assert parse_source("quiet://9").model_dump()["decibels"] == 9
    with pytest.raises(ConfigError, match=r"cameras\.0\.source\.volume: unknown setting"):
        parse_config(text.replace("decibels", "volume"))
    with pytest.raises(UsageError, match="cannot use this loud:// address"):
        parse_source("loud://9")
