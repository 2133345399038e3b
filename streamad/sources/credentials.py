"""User and password of a camera, from a file or the environment, and the characters in them that nobody sees."""

from __future__ import annotations

import codecs
import os
import re
import unicodedata
from pathlib import Path

from streamad.files import open_regular
from streamad.sources.failures import SourceAuthError

_MAX_BYTES = 1 << 16
_HINT = "write `user:password` in one line of UTF-8 text, and chmod 600"


def read_secret_file(path: Path) -> tuple[str, str]:
    """User and password of a file that holds `user:password`.

    A byte order mark and the end of the line are no part of them: editors write both unasked.

    Raises:
        SourceAuthError: the file cannot be read or holds something else; the message shows nothing of its content.
    """
    # `secret_file: user:password` is a mistake that must not print the password.
    shown = "named in secret_file" if ":" in str(path) else str(path)
    try:
        with open_regular(path) as file:
            raw = file.read(_MAX_BYTES)
    except OSError as error:
        raise SourceAuthError(f"cannot read the secret file {shown}: {error.strerror}", hint=_HINT) from None
    except ValueError as error:
        raise SourceAuthError(f"cannot read the secret file {shown}: {error}", hint=_HINT) from None
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in raw:
        raise SourceAuthError(f'the secret file {shown} is UTF-16 (Windows\' "Unicode") or binary', hint=_HINT)
    try:
        text = clean(raw.decode())
    except UnicodeDecodeError:
        raise SourceAuthError(f"the secret file {shown} is not UTF-8 text", hint=_HINT) from None
    if not text.strip():
        raise SourceAuthError(f"the secret file {shown} is empty", hint=_HINT)
    user, colon, password = text.lstrip("\r\n").partition(":")
    if not colon or not user or "\n" in text.strip("\r\n") or "\r" in password:
        raise SourceAuthError(f"the secret file {shown} does not hold `user:password` in one line", hint=_HINT)
    return user, password


def from_environment(username_env: str, password_env: str) -> tuple[str, str]:
    """User and password of two environment variables, without the end of a line that `$(cat file)` or an editor left.

    Raises:
        SourceAuthError: a variable is not set, is empty where the user belongs, or is not UTF-8.
    """
    hint = "set it for the process that runs streamad"
    missing = [name for name in (username_env, password_env) if name not in os.environ]
    if missing:
        shown = " and ".join(map(printable_name, missing))
        many = len(missing) > 1
        raise SourceAuthError(
            f"the environment variable{'s' * many} {shown} {'are' if many else 'is'} not set", hint=hint
        )
    values = []
    for name in (username_env, password_env):
        value = clean(os.environ[name])
        try:
            value.encode()
        except UnicodeEncodeError:  # bytes that are not UTF-8 reach Python as surrogates
            raise SourceAuthError(
                f"the environment variable {printable_name(name)} is not UTF-8 text", hint=hint
            ) from None
        values.append(value)
    if not values[0]:
        raise SourceAuthError(f"the environment variable {printable_name(username_env)} is empty", hint=hint)
    return values[0], values[1]


def printable_name(variable: str) -> str:
    """A variable's name; not where someone wrote the password instead, which seldom looks like a name."""
    return variable if re.fullmatch(r"[A-Z][A-Z0-9_]*", variable) else "that is named"


def clean(text: str) -> str:
    """`text` without a byte order mark at its start and without line ends at its end."""
    return text.removeprefix("\ufeff").rstrip("\r\n")


def odd_characters(text: str) -> list[str]:
    """What in a user or password is likely a mistake that cannot be seen, in words that do not show it."""
    found = []
    if text[:1] == " ":
        found.append("begins with a blank")
    if text[-1:] == " " and text != " ":
        found.append("ends with a blank")
    invisible = sorted({c for c in text if c != " " and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Zs")})
    found += [f"holds an invisible character, {unicodedata.name(c, 'control')} (U+{ord(c):04X})" for c in invisible]
    return found
