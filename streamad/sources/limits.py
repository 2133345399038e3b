"""Limits of a decoder process: the memory that it may take, and that it does not outlive the main process."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from pathlib import Path

MOST_BYTES = 3 << 30
"""Memory of a decoder process, beside the frames that it shares. H.265 of 7680×4320 in 10 bits with 4 references took
2.5 GiB, in 8 bits 1.5 GiB, 3840×2160 0.6 GiB (measured; 0.26 GiB are the process itself)."""

_PR_SET_PDEATHSIG = 1
_PICTURES = 4
"""A decoder that fails with less memory left than so many of its pictures failed for want of memory."""


def limit_memory() -> None:
    """Limit this process: to `MOST_BYTES`, or half of the machine's memory where that is less."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for limit in (MOST_BYTES, machine // 2, soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))


def memory_is_short(picture_bytes: int) -> bool:
    """Whether this process has a limit and is close to it. FFmpeg reports some failed allocations as damaged data."""
    limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
    if limit == resource.RLIM_INFINITY:
        return False
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    used = next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmData:")), 0)
    return limit - used < _PICTURES * picture_bytes


def end_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends, even while it is stopped or hangs."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
