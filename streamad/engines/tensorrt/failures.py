"""Typed errors of the GPU engines. Each names the cause and a remedy."""

from __future__ import annotations

from collections.abc import Sequence

from streamad.errors import EngineError


class GpuUnavailableError(EngineError):
    """There is no driver, no GPU, or no GPU with that number."""


class LibraryVersionError(EngineError):
    """A library version that this code does not support."""


class UnsupportedOperatorError(EngineError):
    """The network contains an operation that TensorRT cannot run, or not on that GPU."""


class GpuMemoryError(EngineError, MemoryError):
    """The GPU, or the configured limit, has too little memory."""


class PlanMismatchError(EngineError):
    """The plan belongs to another GPU or version, or is damaged."""


class ShapeOutsideProfileError(EngineError, ValueError):
    """The batch has a shape for which the plan was not built."""


_MEMORY = (
    "outofmemory",
    "out of memory",
    "insufficient memory",
    "insufficient workspace",
    "workspace limit",
    "cudaerror 2:",
)
_DRIVER = ("driver version is insufficient", "cudaerror 35", "cudaerror 100", "no cuda-capable device")
_PLAN = (
    "serialization version",
    "version tag does not match",
    "incompatible device",
    "generated on an incompatible",
    "built for a different",
    "compute capability",
    "magictag",
    "serialization assertion",
    "plan file",
)
_OPERATOR = ("is not supported", "cannot compile operation", "could not find any implementation", "unsupported")


def failure(what: str, messages: Sequence[str]) -> EngineError:
    """Create the typed error for a failure from the library's log.

    TensorRT reports failures by None, False or −1 plus log lines, and hardly ever by exceptions.

    Args:
        what: What failed; starts the message.
        messages: The library's errors, oldest first.
    """
    said = " | ".join(dict.fromkeys(_plain(message) for message in messages)) or "the library logged no reason"
    text, low = f"{what}: {said[:600]}", said.lower()

    def has(words: tuple[str, ...]) -> bool:
        return any(word in low for word in words)

    # Check for a missing driver first, because it makes everything else fail too.
    if has(_DRIVER):
        return GpuUnavailableError(
            text, hint="install or update the NVIDIA driver; `streamad doctor` shows what is installed"
        )
    if has(_MEMORY):
        return GpuMemoryError(
            text, hint="free memory on the GPU, raise `engine.workspace_mib` if set, or use `precision: fp16`"
        )
    if has(_PLAN):
        return PlanMismatchError(text, hint="delete the plan and start again; it is rebuilt from the ONNX file")
    if has(_OPERATOR):
        return UnsupportedOperatorError(text, hint="run this model with `engine: {name: openvino}`")
    return EngineError(text, hint="run this model with `engine: {name: openvino}`, and report this message")


def _plain(message: str) -> str:
    """The message on a single line."""
    return " ".join(message.split())
