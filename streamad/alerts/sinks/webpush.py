"""Web push: notifications of a browser, on the devices whose users asked for them on the page."""

from __future__ import annotations

import json
import logging
import ssl
import time
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Field, StringConstraints

from streamad.alerts.health import HealthEvent
from streamad.alerts.sinks.notification import Notification
from streamad.alerts.sinks.routing import CHANGES, Changes
from streamad.alerts.sinks.settings import NotifierSpec, SinkContext
from streamad.alerts.sinks.subscriptions import Subscription, Subscriptions
from streamad.errors import OutputError, install_hint

if TYPE_CHECKING:
    import httpx

SERVICES = (
    "fcm.googleapis.com",             # Chrome, Edge on Android, Brave, Opera, Samsung Internet
    "jmt17.google.com",               # Chrome's early channels
    "*.push.services.mozilla.com",    # Firefox
    "*.push.apple.com",               # Safari
    "*.notify.windows.com",           # Edge
)  # fmt: skip
TTL_SECONDS = 86_400
"""How long a push service keeps a message for a device that is off."""
JWT_SECONDS = 12 * 3600
"""How long the proof of the server's identity is valid; push services allow 24 h, and clocks differ."""
PARTLY_SECONDS = 300.0
"""How long a message is repeated for some devices after others accepted it: until then, later messages of its event
wait for them."""
MAX_TITLE, MAX_BODY = 120, 600
"""Characters. An encrypted message has at most 4096 bytes."""
_REMEMBERED = 1000
_AGAIN = (408, 425, 429)
_GONE = (404, 410)

_log = logging.getLogger(__name__)


class WebPushSinkSpec(NotifierSpec):
    """Notifications of the browser, on the devices whose users turned them on, on the page."""

    type: Literal["webpush"] = Field("webpush", description="notifications of browsers (extra `webpush`)")
    changes: Changes = Field("opened", description=CHANGES)
    retry_max_seconds: float = Field(
        30.0,
        ge=1,
        le=86_400,
        description="longest wait between two attempts, seconds; the first is 1 s, then doubled. While one push "
        "service fails, messages to devices of others may wait as long",
    )
    contact: Annotated[
        str, StringConstraints(pattern=r"^[^@\s<>\",;:]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$", max_length=254)
    ] = Field(description="mail address at which the push services can reach you; they require one")
    path: Path = Field(
        Path("runs/push.json"), description="file with the server's key and the devices, readable by its owner alone"
    )
    services: tuple[Annotated[str, StringConstraints(pattern=r"^(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$")], ...] = (
        Field(
            SERVICES,
            min_length=1,
            max_length=100,
            description="host names of push services that browsers may name, *.example.org: all names below one; the "
            "server sends nowhere else",
        )
    )
    ca_file: Path | None = Field(None, description="PEM file with the certificates to trust; empty: the usual ones")

    def subscriptions(self, users: Path | None) -> Subscriptions:
        """The devices.

        Args:
            users: The users file; None: a proxy alone names users.
        """
        return Subscriptions(self.path, self.services, users)

    def build_sender(self, context: SinkContext) -> WebPushSender:
        """See `NotifierSpec.build_sender`."""
        return WebPushSender(self, context)


class WebPushSender:
    """Sends every device the notification, encrypted for it (RFC 8291), with the server's signature (RFC 8292).

    Devices whose service has accepted it get it once, however often it is repeated for others. A push service that
    does not answer is asked once in an attempt, not once for each of its devices.

    Args:
        spec: The settings.
        context: What to know of the program.
        clock: Monotonic seconds.

    Raises:
        OutputError: A package is not installed, or the certificates cannot be read.
    """

    def __init__(
        self, spec: WebPushSinkSpec, context: SinkContext, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        import httpx

        try:
            import http_ece  # noqa: F401
            import py_vapid  # noqa: F401
        except ImportError as error:
            raise OutputError(f"the package {error.name} is not installed", hint=install_hint("webpush")) from error
        # At levels below, they show paths of addresses, which are secrets, and keys.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            verify = True if spec.ca_file is None else ssl.create_default_context(cafile=str(spec.ca_file))
        except OSError as error:
            raise OutputError(f"sink {spec.label}: cannot read {spec.ca_file}: {error.strerror}") from error
        self._spec, self._context, self._clock = spec, context, clock
        self._subscriptions = spec.subscriptions(context.users)
        self._client = httpx.Client(timeout=spec.timeout_seconds, verify=verify, follow_redirects=False)
        self._accepted: OrderedDict[str, dict[str, float]] = OrderedDict()

    def open(self) -> None:
        """Do nothing: connections are opened when they are needed."""

    def send(self, notification: Notification) -> None:
        """See `Sender.send`."""
        devices = self._subscriptions.current()
        if not devices and self._context.is_test:
            raise OutputError("no device is told yet", hint="log in to the page and turn it on under your name")
        accepted = self._accepted.setdefault(notification.id, {})  # endpoint: when
        while len(self._accepted) > _REMEMBERED:
            self._accepted.popitem(last=False)
        message, failed, refused = _message(notification), dict[str, str](), dict[str, str]()
        away, gone = set[str](), set[str]()
        for device in devices:
            if device.endpoint in accepted or device.service in away:
                continue
            try:
                status = self._post(device, notification, message)
            except OutputError as error:
                failed[device.service] = str(error)
                away.add(device.service)
                continue
            if 200 <= status < 300:
                accepted[device.endpoint] = self._clock()
            elif status in _GONE:
                gone.add(device.endpoint)
            else:
                answers = failed if status in _AGAIN or status >= 500 else refused
                answers[device.service] = f"{device.service} answered {status}"
        if gone:
            removed = self._subscriptions.remove(lambda device: device.endpoint in gone)
            _log.info("sink %s: %d devices ended their subscription", self._spec.label, removed)
        self._judge(accepted, failed, refused)
        self._accepted.pop(notification.id, None)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _judge(self, accepted: dict[str, float], failed: dict[str, str], refused: dict[str, str]) -> None:
        """Raise what is to be repeated; log what is not.

        Raises:
            OutputError: Devices were not reached.
        """
        faults = "; ".join({**refused, **failed}.values())
        is_lasting = bool(accepted) and self._clock() - min(accepted.values()) > PARTLY_SECONDS
        if faults and (not accepted or self._context.is_test or (failed and not is_lasting)):
            raise OutputError(faults)
        if faults:
            _log.warning("sink %s: some devices were not reached: %s", self._spec.label, faults)

    def _post(self, device: Subscription, notification: Notification, message: bytes) -> int:
        import httpx

        try:
            request = self._request(device, notification, message)
            response = self._client.send(request, stream=True)  # the answer's body is not read: it may be endless
            response.close()
        except httpx.TimeoutException as error:
            raise OutputError(f"{device.service} did not answer within {self._spec.timeout_seconds:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OutputError(f"{device.service} cannot be reached: {type(error).__name__}") from error
        return response.status_code

    def _request(self, device: Subscription, notification: Notification, message: bytes) -> httpx.Request:
        from py_vapid import Vapid

        claims = {
            "aud": f"https://{device.service}",
            "exp": int(time.time()) + JWT_SECONDS,
            "sub": f"mailto:{self._spec.contact}",
        }
        headers = {
            **Vapid.from_pem(self._subscriptions.private_key().encode()).sign(claims),
            "Content-Type": "application/octet-stream",
            "Content-Encoding": "aes128gcm",
            "TTL": str(TTL_SECONDS),
            "Urgency": "normal" if isinstance(notification.event, HealthEvent) else "high",
            "Topic": urlsafe_b64encode(sha256(notification.thread.encode()).digest()).decode()[:32],
            "User-Agent": "streamad",
        }
        return self._client.build_request("POST", device.endpoint, content=device.encrypt(message), headers=headers)


def _message(notification: Notification) -> bytes:
    """What the service worker of the page shows (streamad/web/static/worker.js)."""
    event = notification.event
    at = notification.created_at if event is None else event.started_at
    document: dict[str, Any] = {
        "title": notification.subject[:MAX_TITLE],
        "body": notification.text.removeprefix(notification.subject).removeprefix(" – ").strip()[:MAX_BODY],
        "tag": notification.thread,
        "at": round(at.timestamp() * 1000),
        "again": notification.kind != "closed",
        "open": _place(notification),
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _place(notification: Notification) -> str:
    """Where on the page a click leads."""
    event = notification.event
    if event is None:
        return "#/review"
    if isinstance(event, HealthEvent):
        return f"#/setup?camera={quote(event.camera, safe='')}"
    return f"#/review?event={quote(event.id, safe='')}"
