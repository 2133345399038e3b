"""Apprise: the hundred services that the library of this name knows."""

from __future__ import annotations

import logging
from typing import Literal

from pydantic import Field, SecretStr

from streamad.alerts.sinks.notification import Notification
from streamad.alerts.sinks.routing import CHANGES, Changes
from streamad.alerts.sinks.settings import NotifierSpec, SinkContext
from streamad.errors import OutputError, install_hint


class AppriseSinkSpec(NotifierSpec):
    """Services that the library Apprise knows, such as Telegram, ntfy, Pushover, Slack and Matrix."""

    type: Literal["apprise"] = Field("apprise", description="the library Apprise (extra `apprise`)")
    changes: Changes = Field("opened", description=CHANGES)
    url: SecretStr = Field(description="the service's address in Apprise's notation; a secret, never shown")
    picture: bool = Field(True, description="whether the picture is attached, where the service can take it")

    def build_sender(self, context: SinkContext) -> AppriseSender:
        """See `NotifierSpec.build_sender`."""
        return AppriseSender(self)


class AppriseSender:
    """Sends through Apprise, which reports no more than whether the service accepted.

    Args:
        spec: The settings.

    Raises:
        OutputError: Apprise is not installed, or does not know the address.
    """

    def __init__(self, spec: AppriseSinkSpec) -> None:
        try:
            import apprise
        except ImportError as error:
            raise OutputError("the package apprise is not installed", hint=install_hint("apprise")) from error
        # They log addresses in which tokens are part of the path.
        for name in ("apprise", "urllib3", "requests"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        self._spec = spec
        self._apprise = apprise.Apprise()
        address = spec.url.get_secret_value()
        scheme = address.partition("://")[0]
        self._service = scheme if scheme.isalnum() and len(scheme) < 20 else "the service"
        if not self._apprise.add(address):
            raise OutputError(
                "Apprise does not know this address", hint="the notation: https://github.com/caronc/apprise/wiki"
            )

    def open(self) -> None:
        """Do nothing."""

    def send(self, notification: Notification) -> None:
        """See `Sender.send`."""
        import apprise

        kind = apprise.NotifyType.FAILURE if notification.severity == "critical" else apprise.NotifyType.WARNING
        picture = notification.picture if self._spec.picture else None
        accepted = self._apprise.notify(
            title=notification.subject,
            body=notification.text,
            notify_type=apprise.NotifyType.INFO if notification.kind in ("closed", "test") else kind,
            attach=str(picture) if picture is not None and picture.is_file() else None,
        )
        if not accepted:
            raise OutputError(f"{self._service}: not accepted, for a reason that Apprise does not report")

    def close(self) -> None:
        """Do nothing."""
