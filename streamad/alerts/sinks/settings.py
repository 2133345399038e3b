"""What the sinks that notify have in common: their settings, and what each must be able to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, model_validator

from streamad.alerts.sinks.notification import Notification
from streamad.alerts.sinks.routing import Routing
from streamad.alerts.store import AnyEvent
from streamad.errors import OutputError, StreamadError
from streamad.files import open_regular
from streamad.sources.credentials import clean, from_environment, printable_name, read_secret_file

SINK_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_MAX_SECRET_BYTES = 1 << 16

PictureOf = Callable[[AnyEvent], Path | None]
"""Returns the JPEG file that shows an event; None if there is none (yet)."""


class Sender(Protocol):
    """Sends notifications to one receiver. All calls come from one thread."""

    def open(self) -> None:
        """Prepare; a receiver that cannot be reached is no failure yet."""

    def send(self, notification: Notification) -> None:
        """Send, and return when the receiver has accepted.

        Raises:
            OutputError: It did not, for example within the time limit; the notification is passed again later.
        """

    def close(self) -> None:
        """Release everything; nothing is sent after."""


@dataclass(frozen=True, slots=True)
class SinkContext:
    """What a sink may need to know of the program.

    Attributes:
        cameras: Ids of all cameras.
        picture_of: Finds the picture of an event; None if pictures are not kept.
        is_test: Whether only a test is sent, beside a streamad that may be running.
        users: The users file of the page; None if there is none.
    """

    cameras: tuple[str, ...] = ()
    picture_of: PictureOf | None = None
    is_test: bool = False
    users: Path | None = None


class OutboxSpec(BaseModel):
    """Where notifications wait until they were sent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path = Field(Path("runs/outbox"), description="the folder with one SQLite file for each sink that notifies")
    max_waiting: int = Field(
        1000, ge=1, le=20_000, description="notifications of one sink that may wait; beyond it, the oldest are dropped"
    )
    max_age_hours: float = Field(
        24.0, gt=0, le=24 * 365, description="notifications that waited longer are dropped, hours"
    )


class NotifierSpec(Routing):
    """Base class for the settings of a sink that notifies somebody, through an outbox."""

    type: str
    name: Annotated[str, StringConstraints(pattern=SINK_NAME, max_length=64)] | None = Field(
        None, description="name in metrics, logs and the outbox; needed if two sinks are of one type; empty: the type"
    )
    timeout_seconds: float = Field(10.0, gt=0, le=600, description="time limit of an attempt, seconds")
    retry_max_seconds: float = Field(
        300.0, ge=1, le=86_400, description="longest wait between two attempts, seconds; the first is 1 s, then doubled"
    )

    @property
    def label(self) -> str:
        """The sink's name."""
        return self.name or self.type

    def build_sender(self, context: SinkContext) -> Sender:
        """Create what sends; contacts nobody.

        Raises:
            OutputError: A package, a secret or a program is missing.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `build_sender`")

    def problem(self) -> str | None:
        """Why nothing could be sent, found without contacting anybody; None if nothing speaks against it."""
        try:
            self.build_sender(SinkContext()).close()
        except OutputError as error:
            return " ".join((f"{error} ({error.hint})" if error.hint else str(error)).split())
        return None


class CredentialsSpec(BaseModel):
    """User name and password from the environment or a file, as for cameras."""

    username_env: str | None = Field(None, min_length=1, description="environment variable with the user name")
    password_env: str | None = Field(None, min_length=1, description="environment variable with the password")
    secret_file: Path | None = Field(None, description="file with `user:password` on one line")

    @model_validator(mode="after")
    def _one_way_to_the_credentials(self) -> Self:
        if (self.username_env is None) != (self.password_env is None):
            raise ValueError("username_env and password_env must be set together")
        if self.username_env is not None and self.secret_file is not None:
            raise ValueError("use either username_env and password_env, or secret_file")
        return self

    def credentials(self) -> tuple[str, str] | None:
        """Read user and password; None if none are set.

        Raises:
            OutputError: A variable is not set, or the file cannot be read.
        """
        try:
            if self.username_env is not None and self.password_env is not None:
                return from_environment(self.username_env, self.password_env)
            return None if self.secret_file is None else read_secret_file(self.secret_file)
        except StreamadError as error:
            raise OutputError(str(error), hint=error.hint) from None


def read_secret(variable: str | None, file: Path | None) -> SecretStr | None:
    """Read a secret from an environment variable or a file with one line; None if neither is named.

    Raises:
        OutputError: It is not set, cannot be read, or is empty. The message shows nothing of it.
    """
    if variable is not None:
        where, text = f"the environment variable {printable_name(variable)}", clean(os.environ.get(variable, ""))
    elif file is not None:
        where = f"the secret file {file}"
        try:
            with open_regular(file) as stream:
                text = clean(stream.read(_MAX_SECRET_BYTES).decode())
        except OSError as error:
            raise OutputError(f"cannot read {where}: {error.strerror}", hint="one line of text, chmod 600") from None
        except ValueError as error:
            reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
            raise OutputError(f"cannot read {where}: {reason}", hint="one line of text, chmod 600") from None
    else:
        return None
    if not text:
        raise OutputError(f"{where} is not set or empty", hint="the secret is one line of text")
    return SecretStr(text)


def read_picture(picture: Path | None) -> bytes | None:
    """Read a picture; None if it is gone: a notification without a picture is better than none."""
    try:
        return None if picture is None else picture.read_bytes()
    except OSError:
        return None
