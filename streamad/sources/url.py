"""Url: a stream address that prints only its host; and masking of addresses in any text."""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import quote, unquote

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

SCHEMES = ("rtsp", "rtsps")
MASK = "***"
HIDDEN = "…"

_SHAPE = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<tail>.*)", re.DOTALL)
# Reject percent-encoding: `rtsp://user%3Apassword%40host/` would otherwise pass as a host.
_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[\w.-]+)(?::(?P<port>\d{1,5}))?")
# RFC 6874 writes `[fe80::1%25eth0]` for the zone eth0; resolvers take `fe80::1%eth0`.
_ENCODED_ZONE = re.compile(r"%25(?=[\w.-]+\])")
# `pathlib` turns two slashes into one. An address in text extends to the next space, because a careless user may leave
# any other character unencoded in a password.
_IN_TEXT = re.compile(
    r"\b(?:[A-Za-z][A-Za-z0-9+.-]*://|(?:rtsp[su]?|rtmps?|https?|srt|udp|tcp|mqtts?|wss?):/)\S*", re.IGNORECASE
)
_PUNCTUATION = re.compile(r"['\")\]}>:;,.]{1,3}$")

# Secrets in text that others wrote: the second line of defense, behind types that never print them.
_KEY_VALUE = re.compile(
    r"(?P<key>(?<![A-Za-z])(?:user(?:name)?|usr|login|password|passwd|pass|pwd|pw|token|secret|sig(?:nature)?|api[_-]?key|access[_-]?key|auth)"
    r"(?:=|%3D))[^\s&;'\"<>]+",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(
    r"(?P<key>\bauthorization[\"']?\s*[:=]\s*[\"']?(?:basic|bearer|digest)\s+)[^\r\n]+", re.IGNORECASE
)
# User and password before a host, from an address that lost its scheme.
_USER_PASSWORD = re.compile(r"[^\s/]*:[^\s/]\S*@(?=\S)")


def is_address(text: str) -> bool:
    """Whether `text` starts like an address, well-formed or not: "rtsp://…", "rtsp:/…", "http://…", "rtsp:host"."""
    return re.match(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]+:[/\\]|rtsp[su]?:)", text, re.IGNORECASE) is not None


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
    match = _SHAPE.fullmatch(f"{scheme}://{rest.lstrip('/')}")
    if match is None or "@" in match["tail"]:
        return f"{scheme.lower()}://{MASK}"
    userinfo, _, host = match["authority"].rpartition("@")
    shown = host if host in ("", HIDDEN) or _HOST_PORT.fullmatch(host) else MASK
    tail = f"/{HIDDEN}" if match["tail"] not in ("", "/") else match["tail"]
    return f"{match['scheme'].lower()}://{f'{MASK}@' if userinfo else ''}{shown}{tail}"


def mask_addresses(text: str) -> str:
    """Return `text` with every address reduced to its printable part."""

    def reduced(match: re.Match[str]) -> str:
        end = _PUNCTUATION.search(match[0])
        closing = end[0] if end is not None else ""
        return printable(match[0].removesuffix(closing)) + closing

    return _IN_TEXT.sub(reduced, text)


def redact(text: str) -> str:
    """Reduce addresses in `text` to their hosts, and mask secrets in key=value pairs and Authorization headers."""
    text = _KEY_VALUE.sub(rf"\g<key>{MASK}", _USER_PASSWORD.sub(f"{MASK}@", mask_addresses(text)))
    return _AUTHORIZATION.sub(rf"\g<key>{MASK}", text)


class Url:
    """The address of a stream. `str` and `repr` show only the host (`printable`); `reveal()` returns all of it.

    Credentials in the text may be percent-encoded or plain; characters that end the authority of a URL
    (`/`, `?`, `#`) must be encoded.

    Args:
        text: `rtsp://[user[:password]@]host[:port]/path` or `rtsps://…`.

    Raises:
        ValueError: If the text is not such an address. The message shows only its scheme.
    """

    __slots__ = ("_address", "_password", "_scheme", "_tail", "_user")

    def __init__(self, text: str) -> None:
        match = _SHAPE.fullmatch(text.strip())
        if match is None or match["scheme"].lower() not in SCHEMES:
            raise ValueError("not a stream address: expected rtsp://host/path or rtsps://host/path")
        userinfo, _, address = match["authority"].rpartition("@")
        address = _ENCODED_ZONE.sub("%", address)
        problem = _host_problem(address)
        if problem is not None:
            if userinfo or "@" in match["tail"] or _HOST_PORT.fullmatch(address) is None:
                problem += (
                    "; a user name or password with /, ? or # must be percent-encoded (or set by username_env "
                    "and password_env)"
                )
            raise ValueError(problem)
        user, colon, password = userinfo.partition(":")
        self._scheme: str = match["scheme"].lower()
        self._address: str = address
        self._tail: str = match["tail"]
        self._user: str | None = unquote(user) if userinfo else None
        self._password: str | None = unquote(password) if colon else None

    @property
    def scheme(self) -> str:
        """The scheme, "rtsp" or "rtsps"."""
        return self._scheme

    @property
    def host(self) -> str:
        """The host name or IP address; IPv6 without brackets."""
        match = _HOST_PORT.fullmatch(self._address)
        assert match is not None
        return match["host"].strip("[]")

    @property
    def port(self) -> int:
        """The port; the scheme's default if none is given."""
        match = _HOST_PORT.fullmatch(self._address)
        assert match is not None
        return int(match["port"] or (322 if self._scheme == "rtsps" else 554))

    @property
    def has_credentials(self) -> bool:
        """Whether the address has a user or password before the host."""
        return self._user is not None

    def with_credentials(self, user: str, password: str) -> Url:
        """Return the same address with these plain (unencoded) credentials."""
        result = Url(f"{self._scheme}://{self._address}{self._tail}")
        result._user, result._password = user, password
        return result

    def at(self, host: str, port: int) -> Url:
        """Return the same path and credentials at another host and port."""
        result = Url(f"{self._scheme}://{host}:{port}{self._tail}")
        result._user, result._password = self._user, self._password
        return result

    def reveal(self, *, credentials: bool = True) -> str:
        """Return the whole address with percent-encoded credentials, for connecting. Never print it."""
        if self._user is None or not credentials:
            return f"{self._scheme}://{self._address}{self._tail}"
        secret = quote(self._user, safe="")
        if self._password is not None:
            secret += ":" + quote(self._password, safe="")
        return f"{self._scheme}://{secret}@{self._address}{self._tail}"

    def __str__(self) -> str:
        return printable(self.reveal())

    def __repr__(self) -> str:
        return f"Url({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Url) and self.reveal() == other.reveal()

    def __hash__(self) -> int:
        return hash(self.reveal())

    def __reduce__(self) -> tuple[type[Url], tuple[str]]:
        # Pickled only to the decoder process, over a private socket.
        return Url, (self.reveal(),)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate a string from YAML or JSON; serialization writes the redacted form."""
        return core_schema.no_info_plain_validator_function(
            cls._validated, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string", "format": "uri", "examples": ["rtsp://camera.example/stream1"]}

    @classmethod
    def _validated(cls, value: object) -> Url:
        if isinstance(value, Url):
            return value
        if isinstance(value, str):
            return cls(value)
        raise ValueError(f"expected an address as a string, got {type(value).__name__}")


def _host_problem(address: str) -> str | None:
    """Describe what is wrong with `host[:port]` without showing any of it; None if nothing is."""
    match = _HOST_PORT.fullmatch(address)
    if match is None:
        if re.fullmatch(r"[\w.-]+:\d*", address):
            return "the port must be a number from 1 to 65535"
        if re.fullmatch(r"[0-9A-Fa-f]*(?::[0-9A-Fa-f]*){2,}(?:%[\w.-]+)?", address):
            return "write an IPv6 address in brackets, as in rtsp://[2001:db8::1]:554/"
        return "no valid host[:port] in the address"
    if match["port"] is not None and not 1 <= int(match["port"]) <= 65535:
        return "the port must be a number from 1 to 65535"
    host = match["host"].strip("[]")
    try:
        if host != match["host"]:
            ipaddress.IPv6Address(host)
        elif re.fullmatch(r"[\d.]+", host):
            ipaddress.IPv4Address(host)
    except ValueError:
        return "the host is not a valid IP address"
    return None
