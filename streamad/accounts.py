"""Accounts: the users and tokens that may use the web server, in one file that only its owner can read.

Passwords are stored as argon2id hashes, tokens as SHA-256 hashes: a token is random, so that a fast hash is enough. The
file is read again whenever it changes, so that a removed user or token is refused from the next request on.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from streamad.errors import ConfigError, UsageError
from streamad.files import open_regular, write_atomic

TOKEN_PREFIX = "streamad_"  # noqa: S105 - what all tokens begin with
MIN_PASSWORD = 8
MAX_PASSWORD = 1024
"""Shortest and longest password, characters (NIST SP 800-63B: at least 8, and no rules about which)."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9._@+-]*$"
_MAX_BYTES = 1 << 20
_UNSAFE_MODE = stat.S_IRWXO | stat.S_IWGRP
_NO_FILE = "create the first user: streamad users add CONFIG NAME --role admin"


class Role(StrEnum):
    """What a user or a token may do. Each role may do what those before it may."""

    METRICS = "metrics"
    """Read the metrics. For tokens only."""
    VIEWER = "viewer"
    """Read everything but the audit trail."""
    OPERATOR = "operator"
    """Mark events and change what a camera looks for."""
    ADMIN = "admin"
    """Read the audit trail and reload the configuration."""

    @property
    def level(self) -> int:
        """Position among the roles."""
        return list(Role).index(self)


UserRole = Literal[Role.VIEWER, Role.OPERATOR, Role.ADMIN]
Name = Annotated[str, Field(pattern=NAME, max_length=64)]


class User(BaseModel):
    """A person who logs in.

    Attributes:
        name: Name to log in with, and in the audit trail.
        role: What they may do.
        password: The argon2id hash of the password. None: no login here, only through a proxy.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Name
    role: UserRole
    password: str | None = Field(None, repr=False)


class Token(BaseModel):
    """A program that sends a token.

    Attributes:
        id: What the token is revoked by.
        name: What it is for; in the audit trail.
        scope: What it may do.
        sha256: SHA-256 of the token, hexadecimal.
        created_at: When it was made.
        expires_at: When it ends; None: never.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    id: str = Field(pattern=r"^[0-9a-f]{8}$")
    name: Name
    scope: Role
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None


class Accounts(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    version: Literal[1] = 1
    users: tuple[User, ...] = ()
    tokens: tuple[Token, ...] = ()

    @model_validator(mode="after")
    def _unique(self) -> Self:
        for what, names in (("user", [u.name for u in self.users]), ("token", [t.id for t in self.tokens])):
            if len(set(names)) < len(names):
                raise ValueError(f"a {what} is listed twice")
        return self

    def user(self, name: str) -> User | None:
        """The user with this name."""
        return next((user for user in self.users if user.name == name), None)

    def token(self, text: str, now: datetime) -> Token | None:
        """The token with this text, unless it has expired."""
        digest = token_sha256(text)
        found = next((token for token in self.tokens if secrets.compare_digest(token.sha256, digest)), None)
        return found if found is not None and (found.expires_at is None or now < found.expires_at) else None

    def with_user(self, user: User) -> Accounts:
        """The accounts with this user added, or in place of the one of the same name."""
        others = tuple(other for other in self.users if other.name != user.name)
        return self.model_copy(update={"users": (*others, user)})


class AccountsFile:
    """The accounts in a file, read again when it changes. Thread-safe.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] | None = None
        self._result: Accounts | ConfigError | None = None

    def current(self) -> Accounts:
        """The accounts as the file has them now.

        Raises:
            ConfigError: The file is missing, damaged, or accessible to others. Nobody can log in then.
        """
        with self._lock:
            try:
                status = os.stat(self.path)
                seen = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            except OSError:
                seen = None
            if self._result is None or seen is None or seen != self._seen:
                try:
                    self._result = read_accounts(self.path)
                except ConfigError as error:
                    self._result = error
                self._seen = seen
            if isinstance(self._result, ConfigError):
                raise self._result
            return self._result


def read_accounts(path: Path) -> Accounts:
    """Read the accounts.

    Raises:
        ConfigError: The file is missing, damaged, or can be read by everyone or written by others.
    """
    try:
        with open_regular(path, _MAX_BYTES) as file:
            if os.fstat(file.fileno()).st_mode & _UNSAFE_MODE:
                raise ConfigError(
                    f"users file {path}: other users of this machine can access it", hint=f"chmod 600 {path}"
                )
            return Accounts.model_validate_json(file.read(_MAX_BYTES))
    except FileNotFoundError as error:
        raise ConfigError(f"users file {path} does not exist", hint=_NO_FILE) from error
    except OSError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"cannot read the users file {path}: {error.strerror}", hint="its owner must be who runs streamad"
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        what = f"{place}: {first['msg']}" if place else first["msg"]
        raise ConfigError(
            f"users file {path} is damaged: {what}", hint="restore it, or remove it and add users"
        ) from None
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"users file {path} is not one: {error}", hint="set web.users to another path") from error


@contextmanager
def changed_accounts(path: Path) -> Iterator[list[Accounts]]:
    """Change the accounts: the list has the present ones, and what is appended to it is written.

    Two processes change the file one after the other. It is created with mode 600; an existing file keeps its owner and
    mode.

    Raises:
        ConfigError: The file cannot be read.
        OutputError: It cannot be written.
    """
    from filelock import FileLock, Timeout  # not at the top: it takes 30 ms

    path = Path(os.path.realpath(path))
    lock = FileLock(f"{path}.lock", timeout=10, mode=0o600, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise ConfigError(f"users file {path}: another process is changing it", hint="try again") from error
    except OSError as error:
        raise ConfigError(f"cannot change the users file {path}: {error.strerror}", hint="check its folder") from error
    try:
        status = path.stat() if path.exists() else None
        states = [Accounts() if status is None else read_accounts(path)]
        yield states
        if len(states) > 1:
            text = states[-1].model_dump_json(indent=2, exclude_none=True) + "\n"
            mode = 0o600 if status is None else stat.S_IMODE(status.st_mode)
            owner = None if status is None else (status.st_uid, status.st_gid)
            write_atomic(path, text, mode=mode, owner=owner)
    finally:
        lock.release()


def new_token(name: str, scope: Role, now: datetime, expires_at: datetime | None) -> tuple[Token, str]:
    """Make a token; returns it as it is stored, and its text, which is stored nowhere.

    Raises:
        UsageError: The name is not valid.
    """
    text = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token = Token(
        id=secrets.token_hex(4), name=checked_name(name), scope=scope, sha256=token_sha256(text), created_at=now,
        expires_at=expires_at,
    )  # fmt: skip
    return token, text


def token_sha256(text: str) -> str:
    """The hash by which a token is stored."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def checked_name(name: str) -> str:
    """The name of a user or token.

    Raises:
        UsageError: It has other characters than letters, digits and ._@+-, or is too long.
    """
    if len(name) > 64 or not re.fullmatch(NAME, name):
        raise UsageError(
            f"{json.dumps(name)} is not a valid name",
            hint="use at most 64 letters, digits, and . _ @ + - after the first",
        )
    return name


def checked_password(password: str) -> str:
    """A new password.

    Raises:
        UsageError: It is too short or too long.
    """
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise UsageError(
            f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters, this one has {len(password)}",
            hint="a phrase of several words is easy to remember",
        )
    return password


def hash_password(password: str) -> str:
    """The argon2id hash of a password, with salt and parameters."""
    from argon2 import PasswordHasher

    # 46 MiB and one pass, one thread: of the equivalent settings of OWASP's Password Storage Cheat Sheet the one with
    # the least time, so that a login takes the least from the cores that score.
    return PasswordHasher(time_cost=1, memory_cost=47104, parallelism=1).hash(password)


def password_fits(hashed: str, password: str) -> bool:
    """Whether a password is the one that was hashed; False for a hash that is damaged."""
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return PasswordHasher().verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False
