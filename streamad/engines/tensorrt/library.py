"""Loads TensorRT or TensorRT-RTX, and collects what they log: their log is where they say why something failed."""

from __future__ import annotations

import importlib
import logging
import re
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal, cast

from streamad.engines.tensorrt.api import Module
from streamad.engines.tensorrt.failures import GpuUnavailableError, LibraryVersionError
from streamad.errors import install_hint

LibraryName = Literal["tensorrt", "tensorrt-rtx"]

MODULES: dict[LibraryName, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
EXTRAS: dict[LibraryName, str] = {"tensorrt": "gpu", "tensorrt-rtx": "rtx"}
VERSIONS: dict[LibraryName, tuple[tuple[int, int], tuple[int, int]]] = {
    "tensorrt": ((10, 13), (12, 0)),
    "tensorrt-rtx": ((1, 7), (2, 0)),
}
"""From the first version up to but without the second: what the names in `api` were checked against."""

KEPT = 200
"""Errors that are remembered, so that a process of months does not grow."""

_log = logging.getLogger(__name__)


class LogCollector:
    """The library's log: errors are kept for exceptions, everything goes to Python's logging.

    Args:
        name: of the engine.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._errors: deque[tuple[int, str]] = deque(maxlen=KEPT)
        self._count = 0
        self._lock = threading.Lock()

    def add(self, severity: str, message: str) -> None:
        """Take a line; the library calls from threads of its own."""
        if severity in ("INTERNAL_ERROR", "ERROR"):
            with self._lock:
                self._count += 1
                self._errors.append((self._count, message))
        # No more than a hint here: whoever called the library raises with the errors, or goes another way.
        level = logging.DEBUG if severity in ("INFO", "VERBOSE") else logging.INFO
        _log.log(level, "%s: %s", self._name, message)

    def mark(self) -> int:
        """Now, for `since`."""
        with self._lock:
            return self._count

    def since(self, mark: int) -> list[str]:
        """Errors logged after `mark`, oldest first; another thread's may be among them."""
        with self._lock:
            return [message for number, message in self._errors if number > mark]


@dataclass(frozen=True, slots=True)
class Library:
    """A loaded library.

    Attributes:
        name: of the engine, as in the configuration.
        trt: the module.
        version: of the library.
        log: what it logged.
        logger: the object that it logs to. One for the process: the library takes the first and ignores later ones.
    """

    name: LibraryName
    trt: Module
    version: str
    log: LogCollector
    logger: Any

    @property
    def rtx(self) -> bool:
        """Whether it builds for GPUs by name, on machines without one."""
        return self.name == "tensorrt-rtx"


_loaded: dict[LibraryName, Library] = {}
_loading = threading.Lock()


def load_library(name: LibraryName) -> Library:
    """The library, imported once.

    Raises:
        GpuUnavailableError: it is not installed, or cannot be loaded.
        LibraryVersionError: this code was not written for its version.
    """
    with _loading:
        if name not in _loaded:
            _loaded[name] = _load(name)
        return _loaded[name]


def _load(name: LibraryName) -> Library:
    hint = install_hint(EXTRAS[name])
    try:
        module = importlib.import_module(MODULES[name])
    except ModuleNotFoundError as error:
        raise GpuUnavailableError(f"the module {MODULES[name]} is not installed", hint=hint) from error
    except (ImportError, OSError, RuntimeError) as error:
        raise GpuUnavailableError(f"the module {MODULES[name]} cannot be loaded: {error}", hint=hint) from error
    version = str(module.__version__)
    check_version(name, version)
    collector = LogCollector(name)
    return Library(name, cast(Module, module), version, collector, _logger(module, collector))


def check_version(name: LibraryName, version: str) -> None:
    """Refuse a version that this code was not written for.

    Raises:
        LibraryVersionError: too old, too new or unreadable.
    """
    least, beyond = VERSIONS[name]
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or not least <= (int(found[1]), int(found[2])) < beyond:
        wanted = f">={least[0]}.{least[1]},<{beyond[0]}"
        raise LibraryVersionError(
            f"{MODULES[name]} is version {version}; this streamad works with {wanted}",
            hint=f"{install_hint(EXTRAS[name])}, which asks for such a version",
        )


def _logger(module: Any, collector: LogCollector) -> Any:
    class Logger(module.ILogger):  # type: ignore[misc, name-defined, unused-ignore]  # the class comes with the library
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            collector.add(str(severity.name), message)

    return Logger()
