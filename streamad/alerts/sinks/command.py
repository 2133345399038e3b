"""A command: the notification as JSON on its standard input."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from typing import Literal

from pydantic import Field

from streamad.alerts.sinks.notification import Notification
from streamad.alerts.sinks.settings import NotifierSpec, SinkContext
from streamad.errors import OutputError
from streamad.redaction import redact

_INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR")


class CommandSinkSpec(NotifierSpec):
    """A program that is started for every notification, with the notification as JSON on its standard input."""

    type: Literal["command"] = Field("command", description="a program")
    command: tuple[str, ...] = Field(min_length=1, description="the program and its arguments; no shell is used")
    environment: tuple[str, ...] = Field(
        (), description="names of environment variables that it gets besides PATH, HOME, USER, LANG, LC_ALL, TZ, TMPDIR"
    )

    def build_sender(self, context: SinkContext) -> CommandSender:
        """See `NotifierSpec.build_sender`."""
        return CommandSender(self)


class CommandSender:
    """Runs the command. Exit code 0 within the time limit accepts; after the limit it is killed with its children.

    Args:
        spec: The settings.

    Raises:
        OutputError: The program does not exist or may not be run.
    """

    def __init__(self, spec: CommandSinkSpec) -> None:
        self._spec = spec
        if shutil.which(spec.command[0]) is None:
            raise OutputError(
                f"the program {spec.command[0]} does not exist or may not be run", hint="give its path, and chmod +x"
            )

    def open(self) -> None:
        """Do nothing."""

    def send(self, notification: Notification) -> None:
        """See `Sender.send`."""
        program, limit = self._spec.command[0], self._spec.timeout_seconds
        # Files instead of pipes: a program that does not read, or leaves children behind, blocks nothing.
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
            given.write(notification.to_json().encode() + b"\n")
            given.seek(0)
            try:
                process = subprocess.Popen(
                    self._spec.command,
                    stdin=given,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    env=self._environment(notification),
                    start_new_session=True,
                )
            except OSError as error:
                raise OutputError(f"{program} cannot be started: {error.strerror}") from error
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired as error:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise OutputError(f"{program} was killed after {limit:g} s", hint="see `timeout_seconds`") from error
            if code != 0:
                said.seek(0)
                text = " ".join(redact(said.read(2000).decode(errors="replace")).split())[:200]
                raise OutputError(f"{program} ended with exit code {code}" + (f": {text}" if text else ""))

    def close(self) -> None:
        """Do nothing."""

    def _environment(self, notification: Notification) -> dict[str, str]:
        passed = {name: os.environ[name] for name in (*_INHERITED, *self._spec.environment) if name in os.environ}
        return passed | {
            "STREAMAD_ID": notification.id,
            "STREAMAD_KIND": notification.kind,
            "STREAMAD_TYPE": notification.type,
            "STREAMAD_CAMERA": notification.camera or "",
            "STREAMAD_SEVERITY": notification.severity or "",
            "STREAMAD_SUBJECT": notification.subject,
            "STREAMAD_TEXT": notification.text,
            "STREAMAD_PICTURE": "" if notification.picture is None else str(notification.picture.absolute()),
        }
