"""E-mail over SMTP."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from streamad.alerts.sinks.notification import Notification
from streamad.alerts.sinks.routing import CHANGES, Changes
from streamad.alerts.sinks.settings import CredentialsSpec, NotifierSpec, SinkContext, read_picture
from streamad.errors import OutputError
from streamad.redaction import redact

Address = Annotated[str, StringConstraints(pattern=r"^[^@\s<>\",;:]+@[^@\s<>\",;:]+$", max_length=254)]
_PORTS = {"starttls": 587, "tls": 465, "none": 25}


class EmailSinkSpec(CredentialsSpec, NotifierSpec):
    """An e-mail for every notification, with the picture attached if there is one."""

    type: Literal["email"] = Field("email", description="e-mail over SMTP")
    changes: Changes = Field("opened", description=CHANGES)
    host: str = Field(min_length=1, description="the mail server")
    port: int | None = Field(
        None, ge=1, le=65535, description="its port; empty: 587 for starttls, 465 for tls, 25 for none"
    )
    security: Literal["starttls", "tls", "none"] = Field("starttls", description="encryption of the connection")
    ca_file: Path | None = Field(None, description="PEM file with the certificates to trust; empty: the usual ones")
    from_address: Address = Field(description="address of the sender")
    to: tuple[Address, ...] = Field(min_length=1, description="addresses of the recipients")
    picture: bool = Field(True, description="whether the picture is attached")

    def build_sender(self, context: SinkContext) -> EmailSender:
        """See `NotifierSpec.build_sender`."""
        return EmailSender(self)


class EmailSender:
    """Sends each notification as one message, over a connection of its own.

    `Message-ID` is the notification's id, the same at every attempt. Notifications of one event refer to one another,
    so that mail programs show them together.

    Args:
        spec: The settings.

    Raises:
        OutputError: The credentials or the certificates cannot be read.
    """

    def __init__(self, spec: EmailSinkSpec) -> None:
        self._spec = spec
        self._port = spec.port or _PORTS[spec.security]
        self._credentials = spec.credentials()
        try:
            self._tls = ssl.create_default_context(cafile=None if spec.ca_file is None else str(spec.ca_file))
        except OSError as error:
            raise OutputError(f"sink {spec.label}: cannot read {spec.ca_file}: {error.strerror}") from error

    def open(self) -> None:
        """Do nothing: each message has a connection of its own."""

    def send(self, notification: Notification) -> None:
        """See `Sender.send`."""
        spec, where = self._spec, f"{self._spec.host}:{self._port}"
        message = self.message(notification)
        try:
            with self._connected() as server:
                refused = server.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            raise OutputError(f"{where} refused all recipients") from error
        except smtplib.SMTPResponseException as error:
            text = (
                error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
            )
            raise OutputError(f"{where} answered {error.smtp_code} {' '.join(redact(text).split())}"[:300]) from error
        except smtplib.SMTPNotSupportedError as error:
            raise OutputError(f"{where}: {error}", hint="check `security`, and whether it asks for a user") from error
        except OSError as error:
            if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
                raise OutputError(f"{where} did not answer within {spec.timeout_seconds:g} s") from error
            raise OutputError(f"{where}: {error.strerror or error}") from error
        if refused:
            raise OutputError(f"{where} refused {len(refused)} of {len(spec.to)} recipients")

    def message(self, notification: Notification) -> EmailMessage:
        """Create the message."""
        spec = self._spec
        domain = spec.from_address.rpartition("@")[2]
        message = EmailMessage()
        message["Subject"] = notification.subject
        message["From"] = spec.from_address
        message["To"] = ", ".join(spec.to)
        message["Date"] = format_datetime(notification.created_at)
        message["Message-ID"] = f"<{notification.id}@{domain}>"
        if notification.event is not None:
            message["References"] = f"<{notification.event.id}@{domain}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no absence notes in reply
        message.set_content(notification.text + "\n")
        picture = read_picture(notification.picture) if spec.picture else None
        if picture is not None:
            message.add_attachment(picture, maintype="image", subtype="jpeg", filename="picture.jpg")
        return message

    def close(self) -> None:
        """Do nothing: no connection is open."""

    def _connected(self) -> smtplib.SMTP:
        spec, timeout = self._spec, self._spec.timeout_seconds
        server: smtplib.SMTP
        if spec.security == "tls":
            server = smtplib.SMTP_SSL(spec.host, self._port, timeout=timeout, context=self._tls)
        else:
            server = smtplib.SMTP(spec.host, self._port, timeout=timeout)
        try:
            if spec.security == "starttls":
                server.starttls(context=self._tls)
            if self._credentials is not None:
                server.login(*self._credentials)
        except BaseException:
            server.close()
            raise
        return server
