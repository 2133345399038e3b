"""Url: a stream address that prints only its host."""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import quote, unquote

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from streamad.redaction import ADDRESS, HOST_PORT, printable

SCHEMES = ("rtsp", "rtsps")

# RFC 6874 writes `[fe80::1%25eth0]` for the zone eth0; resolvers take `fe80::1%eth0`.
_ENCODED_ZONE = re.compile(r"%25(?=[\w.-]+\])")


def is_address(text: str) -> bool:
    """Whether `text` starts like an address, well-formed or not: "rtsp://…", "rtsp:/…", "http://…", "rtsp:host"."""
    return re.match(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]+:[/\\]|rtsp[su]?:)", text, re.IGNORECASE) is not None


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
        match = ADDRESS.fullmatch(text.strip())
        if match is None or match["scheme"].lower() not in SCHEMES:
            raise ValueError("not a stream address: expected rtsp://host/path or rtsps://host/path")
        userinfo, _, address = match["authority"].rpartition("@")
        address = _ENCODED_ZONE.sub("%", address)
        problem = _host_problem(address)
        if problem is not None:
            if userinfo or "@" in match["tail"] or HOST_PORT.fullmatch(address) is None:
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
        match = HOST_PORT.fullmatch(self._address)
        assert match is not None
        return match["host"].strip("[]")

    @property
    def port(self) -> int:
        """The port; the scheme's default if none is given."""
        match = HOST_PORT.fullmatch(self._address)
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
    match = HOST_PORT.fullmatch(address)
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
