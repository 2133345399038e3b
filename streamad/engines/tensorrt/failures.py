"""Typed errors of the GPU engines: each names the cause and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from streamad.errors import EngineError


class GpuUnavailableError(EngineError):
    """No driver, no GPU, or none of that number."""


class LibraryVersionError(EngineError):
    """A version of a library that this code was not written for."""


class UnsupportedOperatorError(EngineError):
    """The network holds something that TensorRT cannot run, or not on that GPU."""


class GpuMemoryError(EngineError, MemoryError):
    """The GPU, or the limit that was set for it, has too little memory."""


class PlanMismatchError(EngineError):
    """A plan of another GPU, another version, or a damaged one."""


class ShapeOutsideProfileError(EngineError, ValueError):
    """A batch of a shape that the plan was not built for."""


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
    """The typed error for something that failed, from what the library logged about it.

    TensorRT fails by None, False or −1 and lines in its log, hardly ever by exceptions.

    Args:
        what: what failed, for the start of the message.
        messages: the library's errors, oldest first.
    """
    said = " | ".join(dict.fromkeys(_plain(message) for message in messages)) or "the library logged no reason"
    text, low = f"{what}: {said[:600]}", said.lower()

    def has(words: tuple[str, ...]) -> bool:
        return any(word in low for word in words)

    # A driver that is missing makes whatever follows fail as well, so it is looked for first.
    if has(_DRIVER):
        return GpuUnavailableError(
            text, hint="install or update the NVIDIA driver; `streamad doctor` shows what is there"
        )
    if has(_MEMORY):
        return GpuMemoryError(
            text, hint="free memory on the GPU, raise `engine.workspace_mib` where it is set, or use `precision: fp16`"
        )
    if has(_PLAN):
        return PlanMismatchError(text, hint="the plan is made anew from the ONNX file: delete it and start again")
    if has(_OPERATOR):
        return UnsupportedOperatorError(text, hint="run this model with `engine: {name: openvino}`")
    return EngineError(text, hint="run this model with `engine: {name: openvino}`, and report the message")


def _plain(message: str) -> str:
    """The message without the places in the library's source."""
    return " ".join(message.split())
