"""Url: a stream's address whose printed form never shows its credentials."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, unquote

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

SCHEMES = ("rtsp", "rtsps")

_SHAPE = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<tail>.*)", re.DOTALL)
_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]@\s]+)(?::(?P<port>\d{1,5}))?")
# Cameras also take credentials in the query or even in the path (`/user=admin_password=x_channel=1.sdp`).
_SECRET_PAIR = re.compile(
    r"((?:user|usr|login|account|pass|pwd|token|auth|key|secret|sig)[a-z_]*)=[^&/;?#]*", re.IGNORECASE
)


class Url:
    """The address of a stream. `str` and `repr` are redacted; `reveal()` gives what is needed to connect.

    Credentials in the text may be percent-encoded or plain; characters that end the authority of a URL
    (`/`, `?`, `#`) must be encoded.

    Args:
        text: `rtsp://[user[:password]@]host[:port]/path` or `rtsps://…`.

    Raises:
        ValueError: not such an address. The message shows nothing of the text but its scheme.
    """

    __slots__ = ("_address", "_password", "_scheme", "_tail", "_user")

    def __init__(self, text: str) -> None:
        match = _SHAPE.fullmatch(text.strip())
        if match is None or match["scheme"].lower() not in SCHEMES:
            raise ValueError("not a stream address: expected rtsp://host[:port]/path or rtsps://…")
        userinfo, _, address = match["authority"].rpartition("@")
        if _HOST_PORT.fullmatch(address) is None:
            raise ValueError(
                f"no valid host[:port] in the {match['scheme'].lower()} address; a user or password that "
                "holds /, ? or # must be percent-encoded (or given by username_env and password_env)"
            )
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
        """The host's name or address, IPv6 without brackets."""
        match = _HOST_PORT.fullmatch(self._address)
        assert match is not None
        return match["host"].strip("[]")

    @property
    def has_credentials(self) -> bool:
        """Whether a user or password stands before the host."""
        return self._user is not None

    def with_credentials(self, user: str, password: str) -> Url:
        """The same address with these (plain, not encoded) credentials."""
        result = Url(f"{self._scheme}://{self._address}{self._tail}")
        result._user, result._password = user, password
        return result

    def reveal(self) -> str:
        """The whole address with percent-encoded credentials: for connecting, never for printing."""
        if self._user is None:
            return f"{self._scheme}://{self._address}{self._tail}"
        secret = quote(self._user, safe="")
        if self._password is not None:
            secret += ":" + quote(self._password, safe="")
        return f"{self._scheme}://{secret}@{self._address}{self._tail}"

    def scrub(self, text: str) -> str:
        """`text` without this address' secrets: for messages that others wrote."""
        text = text.replace(self.reveal(), str(self))
        for secret in (self._password, quote(self._password, safe="") if self._password else None):
            if secret:
                text = text.replace(secret, "***")
        return text

    def __str__(self) -> str:
        tail = _SECRET_PAIR.sub(r"\1=***", self._tail)
        # An "@" further on may end a password that holds an unencoded "/": hide all before it.
        if "@" in tail:
            return f"{self._scheme}://***@{tail.rpartition('@')[2]}"
        return f"{self._scheme}://{'***@' if self.has_credentials else ''}{self._address}{tail}"

    def __repr__(self) -> str:
        return f"Url({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Url) and self.reveal() == other.reveal()

    def __hash__(self) -> int:
        return hash(self.reveal())

    def __reduce__(self) -> tuple[type[Url], tuple[str]]:
        # For the decoder's process, over a private socket.
        return Url, (self.reveal(),)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A string in YAML or JSON; written out again it is redacted."""
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
