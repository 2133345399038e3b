"""Mask credentials in arbitrary text: a second safety net behind the types that never print them."""

from __future__ import annotations

import re

MASK = "***"
HIDDEN = "…"

ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<tail>.*)", re.DOTALL)
# Reject percent-encoding: `rtsp://user%3Apassword%40host/` would otherwise pass as a host.
HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[\w.-]+)(?::(?P<port>\d{1,5}))?")
# `pathlib` collapses two slashes into one. An address extends to the next space: users leave any other character
# unencoded in passwords.
_IN_TEXT = re.compile(
    r"\b(?:[A-Za-z][A-Za-z0-9+.-]*://|(?:rtsp[su]?|rtmps?|https?|srt|udp|tcp|mqtts?|wss?):/)\S*", re.IGNORECASE
)
_PUNCTUATION = re.compile(r"['\")\]}>:;,.]{1,3}$")

_KEY_VALUE = re.compile(
    r"(?P<key>(?<![A-Za-z])(?:user(?:name)?|usr|login|password|passwd|pass|pwd|pw|token|secret|sig(?:nature)?|api[_-]?key|access[_-]?key|auth)"
    r"(?:=|%3D))[^\s&;'\"<>]+",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(
    r"(?P<key>\bauthorization[\"']?\s*[:=]\s*[\"']?(?:basic|bearer|digest)\s+)[^\r\n]+", re.IGNORECASE
)
# A user and password before a host, in an address without a scheme.
_USER_PASSWORD = re.compile(r"[^\s/]*:[^\s/]\S*@(?=\S)")


def printable(address: str) -> str:
    """Return the printable part of an address: scheme, host and port, with marks for credentials and a path.

    Cameras accept credentials in the user part, the query and the path (`/user:password/`,
    `/user=a_password=b.sdp`), under any name, so no list of names can find them all.

    Args:
        address: `scheme://…`, well-formed or not. One slash is enough.

    Returns:
        For example "rtsp://***@10.0.0.7:554/…". If an "@" follows the authority, the text on either side of it may be
        an unencoded password, so the result is "rtsp://***".
    """
    scheme, _, rest = address.partition(":")
    match = ADDRESS.fullmatch(f"{scheme}://{rest.lstrip('/')}")
    if match is None or "@" in match["tail"]:
        return f"{scheme.lower()}://{MASK}"
    userinfo, _, host = match["authority"].rpartition("@")
    shown = host if host in ("", HIDDEN) or HOST_PORT.fullmatch(host) else MASK
    tail = f"/{HIDDEN}" if match["tail"] not in ("", "/") else match["tail"]
    return f"{match['scheme'].lower()}://{f'{MASK}@' if userinfo else ''}{shown}{tail}"


def mask_addresses(text: str) -> str:
    """Reduce every address in `text` to its printable part."""

    def reduced(match: re.Match[str]) -> str:
        end = _PUNCTUATION.search(match[0])
        closing = end[0] if end is not None else ""
        return printable(match[0].removesuffix(closing)) + closing

    return _IN_TEXT.sub(reduced, text)


def redact(text: str) -> str:
    """Reduce addresses in `text` to their hosts; mask secrets in key=value pairs and Authorization headers."""
    text = _KEY_VALUE.sub(rf"\g<key>{MASK}", _USER_PASSWORD.sub(f"{MASK}@", mask_addresses(text)))
    return _AUTHORIZATION.sub(rf"\g<key>{MASK}", text)
