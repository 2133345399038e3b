"""Camera user name and password from a file or the environment, and checks for invisible characters in them."""

from __future__ import annotations

import codecs
import os
import re
import unicodedata
from pathlib import Path

from streamad.files import open_regular
from streamad.sources.failures import SourceAuthError

_MAX_BYTES = 1 << 16
_HINT = "write `user:password` on one line of UTF-8 text, then chmod 600"


def read_secret_file(path: Path) -> tuple[str, str]:
    """Read user and password from a file that contains `user:password`.

    A byte order mark and a trailing newline, which editors add unasked, are removed.

    Raises:
        SourceAuthError: If the file cannot be read or has another format. The message shows none of its content.
    """
    # `secret_file: user:password` is a configuration mistake. Do not print the password.
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
        raise SourceAuthError(f"the secret file {shown} does not contain `user:password` on one line", hint=_HINT)
    return user, password


def from_environment(username_env: str, password_env: str) -> tuple[str, str]:
    """Read user and password from two environment variables, without a newline left by `$(cat file)` or an editor.

    Raises:
        SourceAuthError: If a variable is not set or is not UTF-8, or the user is empty.
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
    """The variable's name if it looks like one; otherwise a placeholder, in case it is the password itself."""
    return variable if re.fullmatch(r"[A-Z][A-Z0-9_]*", variable) else "that is named"


def clean(text: str) -> str:
    """Return `text` without a leading byte order mark and trailing line ends."""
    return text.removeprefix("\ufeff").rstrip("\r\n")


def suspicious_characters(text: str) -> list[str]:
    """Describe invisible characters in a user or password that are probably mistakes, without showing the text."""
    found = []
    if text[:1] == " ":
        found.append("begins with a space")
    if text[-1:] == " " and text != " ":
        found.append("ends with a space")
    invisible = sorted({c for c in text if c != " " and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Zs")})
    found += [f"contains an invisible character, {unicodedata.name(c, 'control')} (U+{ord(c):04X})" for c in invisible]
    return found
