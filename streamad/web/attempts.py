"""How many failed logins are allowed in a time, for each address and for each name."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict, deque
from collections.abc import Callable

MAX_KEYS = 10_000
"""Keys that are remembered; beyond, the one that failed longest ago is forgotten."""


class Attempts:
    """Counts the attempts of each key in the last `seconds`. Thread-safe.

    Args:
        limit: Largest number of failed attempts of a key in that time.
        seconds: The time.
        clock: Returns monotonic seconds.
    """

    def __init__(self, limit: int, seconds: float, clock: Callable[[], float]) -> None:
        self._limit, self._seconds, self._clock = limit, seconds, clock
        self._lock = threading.Lock()
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, key: str) -> float:
        """Seconds until the next attempt is allowed; 0 if one is now, which then counts as failed until `forgive`."""
        now = self._clock()
        with self._lock:
            times = self._failed.setdefault(key, deque())
            while times and now - times[0] >= self._seconds:
                times.popleft()
            if len(times) >= self._limit:
                return self._seconds - (now - times[0])
            times.append(now)
            self._failed.move_to_end(key)
            while len(self._failed) > MAX_KEYS:
                self._failed.popitem(last=False)
            return 0.0

    def forgive(self, key: str) -> None:
        """Take back the newest attempt of a key, which succeeded or was not made."""
        with self._lock:
            if times := self._failed.get(key):
                times.pop()


def network_of(address: str) -> str:
    """What counts as one address: of IPv6 a /64, which one client may have all of."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)
