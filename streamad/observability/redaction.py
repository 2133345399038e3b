"""Credentials out of text that others wrote: the second net, behind types that do not print them."""

from __future__ import annotations

import re

from streamad.sources.url import MASK, mask_addresses

_KEY_VALUE = re.compile(
    r"(?P<key>(?<![A-Za-z])(?:user(?:name)?|usr|login|password|passwd|pass|pwd|pw|token|secret|sig(?:nature)?|api[_-]?key|access[_-]?key|auth)"
    r"(?:=|%3D))[^\s&;'\"<>]+",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(
    r"(?P<key>\bauthorization[\"']?\s*[:=]\s*[\"']?(?:basic|bearer|digest)\s+)[^\r\n]+", re.IGNORECASE
)
# A user and password before a host, of an address that lost its scheme.
_USER_PASSWORD = re.compile(r"[^\s/]*:[^\s/]\S*@(?=\S)")


def redact(text: str) -> str:
    """`text` with addresses reduced to their hosts, and secrets in key=value pairs and Authorization headers masked."""
    text = _KEY_VALUE.sub(rf"\g<key>{MASK}", _USER_PASSWORD.sub(f"{MASK}@", mask_addresses(text)))
    return _AUTHORIZATION.sub(rf"\g<key>{MASK}", text)
