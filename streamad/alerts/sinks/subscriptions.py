"""Subscriptions: the devices that web push reaches, and the server's key, in one file that only its owner can read.

A subscription belongs to a login: it ends when the user logs out on that device, is removed, or gets a new password.
The file is read whenever it is needed and changed under a lock: `streamad sinks test` may run beside `streamad run`.
"""

from __future__ import annotations

import hashlib
import os
import stat
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from streamad.accounts import AccountsFile
from streamad.errors import ConfigError, OutputError, StreamadError, UsageError
from streamad.files import open_regular, write_atomic
from streamad.redaction import ADDRESS, HOST_PORT

MAX_DEVICES = 10
"""Subscriptions of one user; beyond it, the one that was renewed longest ago is dropped."""
RENEW_AFTER = timedelta(hours=12)
"""The page renews its subscription at every visit; the file is not written more often than this for it."""
MAX_ENDPOINT = 2048
_MAX_BYTES = 16 << 20
_UNSAFE_MODE = stat.S_IRWXG | stat.S_IRWXO


class Subscription(BaseModel):
    """One device of a user.

    Attributes:
        user: The user's name.
        login: Changes with the user's password; empty for users whom a proxy names and the users file lacks.
        session: The session in which it was renewed last.
        renewed_at: When that was.
        endpoint: The address at the browser's push service that reaches the device. Whoever knows it can send there.
        p256dh: The device's public key, by which messages are encrypted, base64url.
        auth: The secret that is shared with the device, base64url.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    user: str
    login: str = Field(repr=False)
    session: str = Field(repr=False)
    renewed_at: AwareDatetime
    endpoint: str = Field(repr=False)
    p256dh: str = Field(repr=False)
    auth: str = Field(repr=False)

    @property
    def service(self) -> str:
        """Host of the push service, and its port if that is not the usual one."""
        return urlsplit(self.endpoint).netloc.lower().removesuffix(":443")

    def encrypt(self, message: bytes) -> bytes:
        """Encrypt a message that the device alone can read (RFC 8291)."""
        import http_ece
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

        return bytes(
            http_ece.encrypt(
                message,
                private_key=generate_private_key(SECP256R1()),
                dh=_decoded(self.p256dh),
                auth_secret=_decoded(self.auth),
                version="aes128gcm",
            )
        )


class _State(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    version: Literal[1] = 1
    key: str = Field("", repr=False)
    subscriptions: tuple[Subscription, ...] = ()


class Subscriptions:
    """The subscriptions in a file. Thread-safe.

    Args:
        path: The file, created with mode 600 when it is first needed.
        services: Host names of push services; "*.example.org": all names below one.
        users: The users file; None: a proxy alone names users.
    """

    def __init__(self, path: Path, services: Sequence[str], users: Path | None) -> None:
        self.path = path
        self._services = tuple(service.lower() for service in services)
        self._users = None if users is None else AccountsFile(users)

    def private_key(self) -> str:
        """The server's private key (VAPID), PEM. It is made once: subscriptions are bound to it.

        Raises:
            OutputError: The file cannot be read or written.
        """

        def with_key(state: _State) -> _State:
            return state if state.key else state.model_copy(update={"key": _new_key()})

        return self._read().key or self._change(with_key).key

    def public_key(self) -> str:
        """The key's public part, as browsers want it: the uncompressed point, base64url.

        Raises:
            OutputError: The file cannot be read or written.
        """
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
        from py_vapid import Vapid

        key = Vapid.from_pem(self.private_key().encode()).public_key
        point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return urlsafe_b64encode(point).decode().rstrip("=")

    def current(self) -> tuple[Subscription, ...]:
        """The subscriptions of users who could log in now, at push services that are still known; others are dropped.

        Raises:
            OutputError: This file or the users file cannot be read.
        """
        found = self._read().subscriptions
        if any(not self._is_current(one) for one in found):
            self.remove(lambda one: not self._is_current(one))
            found = tuple(one for one in found if self._is_current(one))
        return found

    def add(self, user: str, session: str, endpoint: str, p256dh: str, auth: str) -> bool:
        """Add a device, or renew it; a device is that of the user who renewed it last.

        Returns:
            Whether it is new for this user.

        Raises:
            UsageError: The push service is not one of `services`, or the keys are none.
            OutputError: The file cannot be written.
        """
        self._check(endpoint, p256dh, auth)
        made = Subscription(
            user=user, login=self._login(user), session=session, renewed_at=datetime.now(UTC), endpoint=endpoint,
            p256dh=p256dh, auth=auth,
        )  # fmt: skip
        is_new = True

        def added(state: _State) -> _State:
            nonlocal is_new
            before = next((one for one in state.subscriptions if one.endpoint == endpoint), None)
            is_new = before is None or before.user != user
            is_recent = before is not None and made.renewed_at - before.renewed_at < RENEW_AFTER
            if before is not None and is_recent and before == made.model_copy(update={"renewed_at": before.renewed_at}):
                return state
            others = [one for one in state.subscriptions if one.endpoint != endpoint]
            own = sorted((one for one in others if one.user == user), key=lambda one: one.renewed_at)
            excess = own[: max(len(own) - MAX_DEVICES + 1, 0)]
            return state.model_copy(update={"subscriptions": (*(o for o in others if o not in excess), made)})

        self._change(added)
        return is_new

    def remove(self, is_gone: Callable[[Subscription], bool]) -> int:
        """Remove what `is_gone` selects; returns how many those were.

        Raises:
            OutputError: The file cannot be read or written.
        """
        removed = 0

        def kept(state: _State) -> _State:
            nonlocal removed
            rest = tuple(one for one in state.subscriptions if not is_gone(one))
            removed = len(state.subscriptions) - len(rest)
            return state.model_copy(update={"subscriptions": rest})

        if any(is_gone(one) for one in self._read().subscriptions):
            self._change(kept)
        return removed

    def _check(self, endpoint: str, p256dh: str, auth: str) -> None:
        """Refuse addresses that this server must not be made to call, and keys that nothing can be encrypted with."""
        match = ADDRESS.fullmatch(endpoint)
        place = None if match is None or match["scheme"] != "https" else HOST_PORT.fullmatch(match["authority"])
        is_plain = len(endpoint) <= MAX_ENDPOINT and endpoint.isascii() and endpoint.isprintable()
        if place is None or not is_plain or int(place["port"] or 443) > 65535:
            raise UsageError("the endpoint is not an https address of a push service")
        host = place["host"].lower()
        if not self._is_known(host):
            raise UsageError(f"the push service {host} is not known", hint="add it to `services` of the sink webpush")
        if not _is_public_key(p256dh) or len(_decoded(auth)) != 16:
            raise UsageError("the keys are not those of a push subscription")

    def _is_known(self, host: str) -> bool:
        return any(host == name or (name.startswith("*.") and host.endswith(name[1:])) for name in self._services)

    def _login(self, name: str) -> str:
        if self._users is None:
            return ""
        try:
            user = self._users.current().user(name)
        except ConfigError as error:
            raise OutputError(str(error), hint=error.hint) from error
        return "" if user is None else fingerprint(f"{user.name}:{user.password}")

    def _is_current(self, subscription: Subscription) -> bool:
        is_known = self._is_known(urlsplit(subscription.endpoint).hostname or "")
        return is_known and self._login(subscription.user) == subscription.login

    def _read(self) -> _State:
        try:
            with open_regular(self.path, _MAX_BYTES) as file:
                if os.fstat(file.fileno()).st_mode & _UNSAFE_MODE:
                    raise OutputError(
                        f"push file {self.path}: other users of this machine can access it",
                        hint=f"chmod 600 {self.path}",
                    )
                return _State.model_validate_json(file.read(_MAX_BYTES))
        except FileNotFoundError:
            return _State()
        except ValidationError:
            reason = "it is damaged"
        except (OSError, ValueError) as error:
            if isinstance(error, StreamadError):
                raise
            reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(
            f"push file {self.path}: {reason}",
            hint="restore it, or move it away: all devices must then be turned on again",
        )

    def _change(self, change: Callable[[_State], _State]) -> _State:
        with _locked(self.path):
            before = self._read()
            after = change(before)
            if after != before:
                write_atomic(self.path, after.model_dump_json(indent=2) + "\n", mode=0o600)
            return after


def fingerprint(secret: str) -> str:
    """What tells a secret from others without giving it away."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()[:32]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout  # not at the top: it takes 30 ms

    lock = FileLock(f"{path.absolute()}.lock", timeout=10, mode=0o600, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise OutputError(f"push file {path}: another process is changing it", hint="try again") from error
    except OSError as error:
        raise OutputError(f"push file {path}: {error.strerror or error}", hint="check its folder") from error
    try:
        yield
    finally:
        lock.release()


def _new_key() -> str:
    from py_vapid import Vapid

    made = Vapid()
    made.generate_keys()
    return str(made.private_pem().decode())


def _is_public_key(text: str) -> bool:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

    try:
        EllipticCurvePublicKey.from_encoded_point(SECP256R1(), _decoded(text))
    except ValueError:
        return False
    return len(_decoded(text)) == 65


def _decoded(text: str) -> bytes:
    try:
        return urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
    except ValueError:
        return b""
