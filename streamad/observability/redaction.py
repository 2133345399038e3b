"""Credentials out of text: the one place that knows how they look."""

from __future__ import annotations

import re

MASK = "***"

# The password may hold any character that a careless user left unencoded, "@", "/" and quotes included, so
# everything up to the last "@" of the word goes. A port ("host:8554/path?mail=a@b") is told from a password
# by what follows its digits. Taking too much is right here; taking too little is not.
_USER_PASSWORD = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^\s/@:?#\"']*:(?!\d{1,5}(?:[/?#\s\"',;)\]}>]|$))\S*@"
)
_USER_ALONE = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^\s/@?#\"']+@")
# Cameras that take credentials in the path or the query:
# rtsp://host/user=admin&password=secret&channel=1.stream
_KEY_VALUE = re.compile(
    r"(?P<key>(?<![A-Za-z])(?:user(?:name)?|usr|login|password|passwd|pass|pwd|token|secret|sig(?:nature)?|api[_-]?key|access[_-]?key|auth)"
    r"(?:=|%3D))[^\s&;'\"<>]+",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(
    r"(?P<key>\bauthorization[\"']?\s*[:=]\s*[\"']?(?:basic|bearer|digest)\s+)[^\r\n]+", re.IGNORECASE
)


def redact(text: str) -> str:
    """`text` with user names and passwords in URLs, secrets in key=value pairs and Authorization headers
    masked.
    """
    if "://" in text:
        text = _USER_PASSWORD.sub(rf"\g<scheme>{MASK}@", text)
        text = _USER_ALONE.sub(rf"\g<scheme>{MASK}@", text)
    text = _KEY_VALUE.sub(rf"\g<key>{MASK}", text)
    return _AUTHORIZATION.sub(rf"\g<key>{MASK}", text)
