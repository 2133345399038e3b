"""Limits of a decoder process: its maximum memory, and its termination with the main process."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from pathlib import Path

MAX_BYTES = 3 << 30
"""Maximum memory of a decoder process, bytes, apart from the shared frames. Measured: 2.5 GiB for H.265 at 7680×4320
in 10 bits with 4 reference pictures, 1.5 GiB in 8 bits, 0.6 GiB at 3840×2160; the process itself takes 0.26 GiB."""

_PR_SET_PDEATHSIG = 1
_PICTURES = 4
"""If decoding fails with less memory left than this many pictures need, lack of memory is taken as the cause."""


def limit_memory() -> None:
    """Limit this process to `MAX_BYTES` or half of the machine's memory, whichever is less."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for limit in (MAX_BYTES, machine // 2, soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))


def memory_is_short(picture_bytes: int) -> bool:
    """Whether this process is close to its memory limit. FFmpeg reports some failed allocations as damaged data."""
    limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
    if limit == resource.RLIM_INFINITY:
        return False
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    used = next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmData:")), 0)
    return limit - used < _PICTURES * picture_bytes


def end_with_parent() -> None:
    """Make the kernel kill this process when the thread that started it ends, even if it is stopped or hangs."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
