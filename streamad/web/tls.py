"""TLS: the server's certificate, which is loaded again when its file changes."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path

from streamad.errors import ConfigError
from streamad.observability.endpoints import WebSpec

_log = logging.getLogger(__name__)


class Certificate:
    """A certificate with its key, in a context that new connections use.

    Args:
        certificate: The chain, PEM.
        key: The private key, PEM, without a passphrase.

    Raises:
        ConfigError: They cannot be read or do not belong together.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._paths = certificate, key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._seen = self._files()
        self._load()

    def renew(self) -> None:
        """Load the files again if they have changed. While they do not fit, the previous ones stay in use."""
        seen = self._files()
        if seen != self._seen:
            self._seen = seen
            try:
                # A context that failed to load is left without a key, so the files are tried in another one first.
                Certificate(*self._paths)
                self._load()
                _log.info("the TLS certificate was loaded again")
            except ConfigError as error:
                _log.error("%s; the previous certificate stays in use", error)

    def _load(self) -> None:
        certificate, key = self._paths
        try:
            # Without the function, OpenSSL would ask for a passphrase on the terminal.
            self.context.load_cert_chain(certificate, key, password=lambda: "")
        except FileNotFoundError as error:
            missing = certificate if not certificate.exists() else key
            raise ConfigError(
                f"TLS: {missing} does not exist", hint="set web.tls_certificate and web.tls_key"
            ) from error
        except OSError as error:  # ssl.SSLError is one
            reason = getattr(error, "reason", None) or error.strerror or str(error)
            raise ConfigError(
                f"TLS: cannot use {certificate} with {key}: {reason}",
                hint="both must be PEM files that this user can read, and the key must be the certificate's",
            ) from error

    def _files(self) -> list[tuple[int, int, int] | None]:
        found: list[tuple[int, int, int] | None] = []
        for path in self._paths:
            try:
                status = os.stat(path)
                found.append((status.st_ino, status.st_size, status.st_mtime_ns))
            except OSError:
                found.append(None)
        return found


def certificate_of(spec: WebSpec) -> Certificate | None:
    """The certificate of a configuration; None without one.

    Raises:
        ConfigError: It cannot be used.
    """
    if spec.tls_certificate is None or spec.tls_key is None:
        return None
    return Certificate(spec.tls_certificate, spec.tls_key)
