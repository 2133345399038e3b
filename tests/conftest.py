"""Fixtures shared by several parts of the suite. Expensive ones are created once per session."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bundle_support import (
    moving_shapes,
    single_torch_thread,
    write_mp4,
    write_narrow_bundle,
    write_small_bundle,
)
from cli_support import CliServer

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A suite started in the background ignores Ctrl-C, and so would every program that it starts and interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the slow tests")
    parser.addoption("--soak-minutes", type=float, default=1.0, help="length of tests/integration/test_soak.py")
    parser.addoption("--soak-report", default=None, help="page to which the soak test writes its table (make soak)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("rtsp"):
            item.add_marker("alone")
    if not config.getoption("--slow"):
        left_out = pytest.mark.skip(reason="slow; runs with --slow, as in CI")
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(left_out)


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ADACL bundle with random weights. Moving patches score above -5, still frames -10. Read-only."""
    pytest.importorskip("torch", reason="creating the test model needs torch (the extra `train`)")
    with single_torch_thread():
        return write_small_bundle(tmp_path_factory.mktemp("bundles") / "small")


@pytest.fixture(scope="session")
def narrow_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A learned-noise bundle with random weights and both forms of its network. Read-only."""
    pytest.importorskip("torch", reason="creating the test model needs torch (the extra `train`)")
    with single_torch_thread():
        return write_narrow_bundle(tmp_path_factory.mktemp("bundles") / "narrow")


@pytest.fixture(scope="session")
def shapes_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 160×120 at 25 frames/s, 100 frames of H.264, with moving shapes only in frames 30 to 59. Read-only."""
    path = tmp_path_factory.mktemp("videos") / "shapes.mp4"
    return write_mp4(path, moving_shapes(100, busy=((30, 60),)))


@pytest.fixture
def one_torch_thread() -> Iterator[None]:
    """Use one torch thread; see `bundle_support.single_torch_thread`."""
    pytest.importorskip("torch", reason="needs torch (the extra `train`)")
    with single_torch_thread():
        yield


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CliServer]:
    """A server for commands that fail early, without the second that every start takes."""
    server = CliServer(tmp_path_factory.mktemp("said"))
    yield server
    server.close()


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Restore logging. Handlers of `setup_logging` would otherwise write to the stream of a finished test."""
    from streamad.observability.logging import AggregatingHandler

    root, ours = logging.getLogger(), logging.getLogger("streamad")
    levels = root.level, ours.level
    yield
    for handler in [h for h in root.handlers if isinstance(h, AggregatingHandler)]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], logging_as_before: None, tmp_path: Path
) -> Any:
    """Function that calls `streamad` with arguments and returns (exit code, standard output, standard error)."""
    from streamad.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["streamad", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run
