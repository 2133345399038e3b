"""Webhook: an HTTP POST of JSON, with the picture if there is one, signed with HMAC-SHA256."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from streamad.alerts.sinks.notification import Notification
from streamad.alerts.sinks.settings import NotifierSpec, SinkContext, read_picture, read_secret
from streamad.errors import OutputError
from streamad.redaction import ADDRESS, HOST_PORT, printable

if TYPE_CHECKING:
    import httpx

SIGNATURE_HEADER = "X-Streamad-Signature"
TIMESTAMP_HEADER = "X-Streamad-Timestamp"
ID_HEADER = "Idempotency-Key"


def _web_address(value: SecretStr) -> SecretStr:
    match = ADDRESS.fullmatch(value.get_secret_value().strip())
    host = "" if match is None else match["authority"].rpartition("@")[2]
    if match is None or match["scheme"].lower() not in ("http", "https") or not HOST_PORT.fullmatch(host):
        raise ValueError("expected http://host/path or https://host/path")
    return SecretStr(value.get_secret_value().strip())


class WebhookSinkSpec(NotifierSpec):
    """An HTTP POST of JSON for every notification, multipart with the picture if there is one."""

    type: Literal["webhook"] = Field("webhook", description="HTTP POST")
    url: Annotated[SecretStr, AfterValidator(_web_address)] = Field(
        description="address, http:// or https://; logs and errors show its host only"
    )
    secret_env: str | None = Field(
        None, min_length=1, description="environment variable with the secret that signs requests"
    )
    secret_file: Path | None = Field(None, description="file with that secret on one line")
    headers: dict[str, SecretStr] = Field({}, description="further headers, such as Authorization")
    ca_file: Path | None = Field(None, description="PEM file with the certificates to trust; empty: the usual ones")
    picture: bool = Field(True, description="whether the picture is sent")

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if self.secret_env is not None and self.secret_file is not None:
            raise ValueError("use either secret_env or secret_file")
        for name, value in self.headers.items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not value.get_secret_value().isprintable():
                raise ValueError("headers: expected names of letters, digits and dashes, and values on one line")
        return self

    def build_sender(self, context: SinkContext) -> WebhookSender:
        """See `NotifierSpec.build_sender`."""
        return WebhookSender(self)


class WebhookSender:
    """Sends notifications by HTTP POST.

    A request without a picture has the JSON document as its body. With a picture it is multipart/form-data, with the
    parts `notification` (the document) and `picture` (image/jpeg). Any 2xx answer accepts; redirects are not followed.

    Args:
        spec: The settings.
        clock: Unix time, for the signature.

    Raises:
        OutputError: The secret or the certificates cannot be read.
    """

    def __init__(self, spec: WebhookSinkSpec, *, clock: Callable[[], float] = time.time) -> None:
        import ssl

        import httpx

        # Their messages at levels below show paths of addresses, which may be secrets.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._spec = spec
        self._clock = clock
        self._host = printable(spec.url.get_secret_value())
        self._secret = read_secret(spec.secret_env, spec.secret_file)
        try:
            verify = True if spec.ca_file is None else ssl.create_default_context(cafile=str(spec.ca_file))
        except OSError as error:
            raise OutputError(f"sink {spec.label}: cannot read {spec.ca_file}: {error.strerror}") from error
        self._client = httpx.Client(timeout=spec.timeout_seconds, verify=verify, follow_redirects=False)

    def open(self) -> None:
        """Do nothing: connections are opened when they are needed."""

    def send(self, notification: Notification) -> None:
        """See `Sender.send`."""
        import httpx

        try:
            request = self._request(notification)
            # The answer's body is not read: it may be endless.
            response = self._client.send(request, stream=True)
            response.close()
        except httpx.InvalidURL as error:
            raise OutputError(f"{self._host}: not a valid address") from error
        except httpx.TimeoutException as error:
            raise OutputError(f"{self._host} did not answer within {self._spec.timeout_seconds:g} s") from error
        except httpx.HTTPError as error:
            raise OutputError(f"{self._host}: {_reason(error)}") from error
        if not response.is_success:
            raise OutputError(
                f"{self._host} answered {response.status_code} {response.reason_phrase}".rstrip(),
                hint="redirects are not followed; set the final address" if response.is_redirect else None,
            )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _request(self, notification: Notification) -> httpx.Request:
        document = notification.to_json().encode()
        headers = {name: value.get_secret_value() for name, value in self._spec.headers.items()}
        headers |= {ID_HEADER: notification.id, "User-Agent": "streamad"}
        picture = read_picture(notification.picture) if self._spec.picture else None
        url = self._spec.url.get_secret_value()
        if picture is None:
            headers["Content-Type"] = "application/json"
            request = self._client.build_request("POST", url, content=document, headers=headers)
        else:
            files = {
                "notification": ("notification.json", document, "application/json"),
                "picture": ("picture.jpg", picture, "image/jpeg"),
            }
            request = self._client.build_request("POST", url, files=files, headers=headers)
        if self._secret is not None:
            timestamp = str(int(self._clock()))
            request.headers[TIMESTAMP_HEADER] = timestamp
            request.headers[SIGNATURE_HEADER] = signature(self._secret.get_secret_value(), timestamp, request.read())
        return request


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a request: "sha256=" and the hexadecimal HMAC-SHA256 of `timestamp.body`.

    Args:
        secret: The shared secret.
        timestamp: The header X-Streamad-Timestamp: Unix time of the attempt, whole seconds.
        body: The raw body.
    """
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


def _reason(error: Exception) -> str:
    """The cause of a failed request, without the address."""
    cause: BaseException = error
    while cause.__cause__ is not None or cause.__context__ is not None:
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]  # the condition says so
    return (cause.strerror if isinstance(cause, OSError) else None) or str(cause) or type(error).__name__
