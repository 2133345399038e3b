"""Keeps built plans: one file each, named by what it was built from, written atomically, checked when read.

A file is a header in one line of JSON (format, key, SHA-256 of the plan) and the plan. What is damaged, cut short or of
another key is built again, and the log says so. That tells damage, not malice: the library trusts a plan and runs it on
the GPU, so nobody else may write to the folder.
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
"""Of the file, and of how streamad builds: raised when a change of `building` makes older plans wrong."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlanKey:
    """Everything that a plan depends on.

    Attributes:
        onnx_sha256: of the network.
        library: tensorrt or tensorrt-rtx.
        version: of the library.
        capability: compute capability of the GPU, (major, minor).
        gpu: its name, since TensorRT times kernels on it; "" for TensorRT-RTX, which does not.
        precision: of the network.
        profiles: ranges of batches.
        workspace_mib: bound of scratch memory, None is none.
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
        """As plain JSON."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]

    @property
    def file_name(self) -> str:
        """Name of its file; equal keys give equal names."""
        digest = hashlib.sha256(json.dumps(self.document(), sort_keys=True).encode()).hexdigest()
        major, minor = self.capability
        return f"{self.onnx_sha256[:12]}-{self.library}-sm{major}{minor}-{self.precision}-{digest[:16]}.plan"


def default_folder() -> Path:
    """Where plans are kept: `STREAMAD_CACHE`/plans, else streamad/plans in the user's cache folder."""
    own = os.environ.get("STREAMAD_CACHE")
    if own:
        return Path(own) / "plans"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streamad" / "plans"


class PlanCache:
    """Plans in a folder.

    Args:
        folder: made when the first plan is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, key: PlanKey) -> Path:
        """The file of a plan, there or not."""
        return self._folder / key.file_name

    def get(self, key: PlanKey, build: Callable[[], bytes]) -> tuple[bytes, bool]:
        """The plan, and whether it came from the folder; else it is built and kept.

        A folder that cannot be written to costs a build at every start, and no more: the log says so.
        """
        known = self.read(key)
        if known is not None:
            return known, True
        return self.rebuild(key, build), False

    def rebuild(self, key: PlanKey, build: Callable[[], bytes]) -> bytes:
        """Build the plan whatever the folder holds, and keep it."""
        _log.info("building the plan %s; this takes seconds to minutes, once", key.file_name)
        plan = build()
        header = {"format": FORMAT, "key": key.document(), "sha256": hashlib.sha256(plan).hexdigest()}
        try:
            write_atomic(self.path(key), json.dumps(header).encode() + b"\n" + plan)
        except OutputError as error:
            # Its text: a log handler that keeps the error would keep its frames, and with them the library's objects.
            _log.warning("the plan is not kept, so every start builds it again: %s", str(error))
        return plan

    def read(self, key: PlanKey) -> bytes | None:
        """The plan where the folder holds a sound one, else None with a line in the log that says why."""
        path = self.path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("the plan %s cannot be read and is built again: %s", path, error.strerror)
            return None
        problem = _problem(content, key)
        if problem:
            _log.warning("the plan %s %s; it is built again", path, problem)
            return None
        return content.partition(b"\n")[2]


def _problem(content: bytes, key: PlanKey) -> str:
    """Why the content is not the plan of the key; "" where it is."""
    head, _, plan = content.partition(b"\n")
    try:
        header = json.loads(head)
        form, found, digest = header["format"], header["key"], header["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "is damaged: it has no readable header"
    if form != FORMAT:
        return f"has format {form!r}, this streamad writes {FORMAT}"
    if found != key.document():
        wanted = key.document()
        parts = [name for name in wanted if not isinstance(found, dict) or found.get(name) != wanted[name]]
        return f"was built for something else ({', '.join(parts) or 'other keys'})"
    if hashlib.sha256(plan).hexdigest() != digest:
        return "is damaged: its SHA-256 is not what it promises"
    return ""
