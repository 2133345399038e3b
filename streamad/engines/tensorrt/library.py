"""Loading of TensorRT or TensorRT-RTX, and collection of their logs, the only place that explains their failures."""

from __future__ import annotations

import importlib
import logging
import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from streamad.engines.tensorrt.api import Module
from streamad.engines.tensorrt.failures import GpuUnavailableError, LibraryVersionError
from streamad.errors import install_hint

LibraryName = Literal["tensorrt", "tensorrt-rtx"]
Started = TypeVar("Started")

MODULES: dict[LibraryName, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
EXTRAS: dict[LibraryName, str] = {"tensorrt": "gpu", "tensorrt-rtx": "rtx"}
VERSIONS: dict[LibraryName, tuple[tuple[int, int], tuple[int, int]]] = {
    "tensorrt": ((10, 13), (12, 0)),
    "tensorrt-rtx": ((1, 7), (2, 0)),
}
"""Supported versions: from the first up to, but excluding, the second. The names in `api` were checked against them."""

KEPT = 200
"""Maximum number of remembered errors, so that memory stays bounded."""

_log = logging.getLogger(__name__)


class LogCollector:
    """Log of the library: errors are kept for exceptions, and everything is forwarded to Python's logging.

    Args:
        name: Name of the engine.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._errors: deque[tuple[int, str]] = deque(maxlen=KEPT)
        self._count = 0
        self._lock = threading.Lock()

    def add(self, severity: str, message: str) -> None:
        """Add a log line. The library calls this from its own threads."""
        if severity in ("INTERNAL_ERROR", "ERROR"):
            with self._lock:
                self._count += 1
                self._errors.append((self._count, message))
        # At most INFO: the caller raises an exception with the errors or handles them.
        level = logging.DEBUG if severity in ("INFO", "VERBOSE") else logging.INFO
        _log.log(level, "%s: %s", self._name, message)

    def mark(self) -> int:
        """Return the current position, for `since`."""
        with self._lock:
            return self._count

    def since(self, mark: int) -> list[str]:
        """Return the errors logged after `mark`, oldest first. They may include those of other threads."""
        with self._lock:
            return [message for number, message in self._errors if number > mark]


@dataclass(frozen=True, slots=True)
class Library:
    """A loaded library.

    Attributes:
        name: Name of the engine, as in the configuration.
        trt: The module.
        version: Version of the library.
        log: Collected log.
        logger: The library's logger object. There is one per process, because the library ignores all but the first.
    """

    name: LibraryName
    trt: Module
    version: str
    log: LogCollector
    logger: Any

    @property
    def rtx(self) -> bool:
        """Whether it builds for GPUs by name, even on machines without a GPU."""
        return self.name == "tensorrt-rtx"

    def start(self, create: Callable[[Any], Started]) -> Started:
        """Create a builder or a runtime.

        Raises:
            GpuUnavailableError: If there is no driver.
        """
        mark = self.log.mark()
        try:
            return create(self.logger)
        except TypeError as error:  # raised if there is no driver: "factory function returned nullptr"
            raise GpuUnavailableError(
                f"{self.name} cannot start: {error}; {' | '.join(self.log.since(mark)) or 'no log message'}",
                hint="install or update the NVIDIA driver; `streamad doctor` shows what is installed",
            ) from error


_loaded: dict[LibraryName, Library] = {}
_loading = threading.Lock()


def load_library(name: LibraryName) -> Library:
    """Return the library, imported once.

    Raises:
        GpuUnavailableError: If it is not installed or cannot be loaded.
        LibraryVersionError: If its version is not supported.
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
    """Check that a version is supported.

    Raises:
        LibraryVersionError: If it is too old, too new or unreadable.
    """
    first, beyond = VERSIONS[name]
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or not first <= (int(found[1]), int(found[2])) < beyond:
        supported = f">={first[0]}.{first[1]},<{beyond[0]}"
        raise LibraryVersionError(
            f"{MODULES[name]} is version {version}; this version of streamad requires {supported}",
            hint=f"{install_hint(EXTRAS[name])}, which installs a supported version",
        )


def _logger(module: Any, collector: LogCollector) -> Any:
    class Logger(module.ILogger):  # type: ignore[misc, name-defined, unused-ignore]  # the class comes with the library
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            collector.add(str(severity.name), message)

    return Logger()
