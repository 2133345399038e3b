"""Cache of built plans: one file each, named by its key, written atomically, checked when read.

A file is one line of JSON (format, key, SHA-256 of the plan) followed by the plan. Damaged or truncated files, and
those with another key, are rebuilt with a log message. The check detects damage, not tampering: the library trusts a
plan and runs it on the GPU, so nobody else may have write access to the folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from streamad.engines.tensorrt.profiles import BatchProfile
from streamad.errors import OutputError
from streamad.files import write_atomic

FORMAT = 1
"""Version of the file format and of the build process. Increase it if a change of `building` invalidates older
plans."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlanKey:
    """Everything on which a plan depends.

    Attributes:
        onnx_sha256: SHA-256 of the network.
        library: "tensorrt" or "tensorrt-rtx".
        version: Version of the library.
        capability: Compute capability of the GPU, (major, minor).
        gpu: Name of the GPU, on which TensorRT times kernels; "" for TensorRT-RTX, which does not.
        precision: Precision of the network.
        profiles: Ranges of batch sizes.
        workspace_mib: Limit on scratch memory, MiB; None if unlimited.
    """

    onnx_sha256: str
    library: str
    version: str
    capability: tuple[int, int]
    gpu: str
    precision: str
    profiles: tuple[BatchProfile, ...]
    workspace_mib: int | None

    def document(self) -> dict[str, object]:
        """The key as plain JSON."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]

    @property
    def file_name(self) -> str:
        """Name of the plan's file. Equal keys have equal names."""
        digest = hashlib.sha256(json.dumps(self.document(), sort_keys=True).encode()).hexdigest()
        major, minor = self.capability
        return f"{self.onnx_sha256[:12]}-{self.library}-sm{major}{minor}-{self.precision}-{digest[:16]}.plan"


def default_folder() -> Path:
    """Default folder for plans: `STREAMAD_CACHE`/plans, or streamad/plans in the user's cache folder."""
    own = os.environ.get("STREAMAD_CACHE")
    if own:
        return Path(own) / "plans"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streamad" / "plans"


class PlanCache:
    """Plans stored in a folder.

    Args:
        folder: The folder. It is created when the first plan is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, key: PlanKey) -> Path:
        """Path of a plan's file, whether it exists or not."""
        return self._folder / key.file_name

    def get(self, key: PlanKey, build: Callable[[], bytes]) -> tuple[bytes, bool]:
        """Return the plan and whether it came from the cache; otherwise it is built and stored.

        If the folder cannot be written, a warning is logged and every start builds the plan again.
        """
        known = self.read(key)
        if known is not None:
            return known, True
        return self.rebuild(key, build), False

    def rebuild(self, key: PlanKey, build: Callable[[], bytes]) -> bytes:
        """Build the plan regardless of the cache, and store it."""
        _log.info("building the plan %s; this takes seconds to minutes and happens only once", key.file_name)
        plan = build()
        header = {"format": FORMAT, "key": key.document(), "sha256": hashlib.sha256(plan).hexdigest()}
        try:
            write_atomic(self.path(key), json.dumps(header).encode() + b"\n" + plan)
        except OutputError as error:
            # Log only the text: a handler that keeps the error would keep its frames and the library's objects.
            _log.warning("cannot store the plan, so every start will build it again: %s", str(error))
        return plan

    def read(self, key: PlanKey) -> bytes | None:
        """Return the cached plan; None if it is missing or invalid, in which case the reason is logged."""
        path = self.path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("rebuilding the plan %s, which cannot be read: %s", path, error.strerror)
            return None
        problem = _problem(content, key)
        if problem:
            _log.warning("the plan %s %s; rebuilding it", path, problem)
            return None
        return content.partition(b"\n")[2]


def _problem(content: bytes, key: PlanKey) -> str:
    """Reason why the content is not the plan of the key; "" if it is."""
    head, _, plan = content.partition(b"\n")
    try:
        header = json.loads(head)
        form, found, digest = header["format"], header["key"], header["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "is damaged: its header is unreadable"
    if form != FORMAT:
        return f"has format {form!r}, expected {FORMAT}"
    if found != key.document():
        wanted = key.document()
        parts = [name for name in wanted if not isinstance(found, dict) or found.get(name) != wanted[name]]
        return f"was built for something else ({', '.join(parts) or 'other keys'})"
    if hashlib.sha256(plan).hexdigest() != digest:
        return "is damaged: its SHA-256 does not match its header"
    return ""
