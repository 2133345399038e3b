"""Who makes a request: sessions of users, tokens, users that a proxy names, and those without a login.

Sessions are random numbers in cookies, known to this process alone, so all end when it does.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import math
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fastapi import Request

from streamad.accounts import Accounts, AccountsFile, Role, User, hash_password, password_fits
from streamad.alerts.audit import note_token_use
from streamad.errors import ConfigError
from streamad.observability.endpoints import ProxySpec, WebSpec, is_loopback
from streamad.web.access import Identity
from streamad.web.answers import Refusal
from streamad.web.attempts import Attempts, network_of

COOKIE = "streamad_session"
CSRF_HEADER = "X-CSRF-Token"

ATTEMPT_SECONDS = 300.0
ATTEMPTS_PER_ADDRESS = 10
ATTEMPTS_PER_NAME = 30
"""Failed logins in `ATTEMPT_SECONDS`. More are allowed for a name than for an address, so that it takes several
addresses to keep somebody from logging in."""
MAX_SESSIONS = 1000
TOKEN_NOTE_SECONDS = 60.0
"""How often the last use of a token is stored."""
HASH_WAIT_SECONDS = 2.0
"""How long a login waits for others: one password at a time is checked, which takes the cores from scoring."""
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Session:
    user: str
    password: str | None
    created: float
    seen: float


class Logins:
    """Recognizes who makes a request, and logs users in and out. Thread-safe.

    Args:
        spec: The configuration.
        events: The file of the event store, in which the last use of tokens is noted; None: nowhere.
        clock: Returns monotonic seconds, by which sessions expire whatever happens to the wall clock.
        utc: Returns the time, by which tokens expire.
    """

    def __init__(
        self,
        spec: WebSpec,
        *,
        events: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        utc: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._spec = spec
        self._events = events
        self._clock, self._utc = clock, utc
        self._accounts = None if spec.users is None else AccountsFile(spec.users)
        self._proxies = [ipaddress.ip_network(text) for text in spec.proxy.addresses] if spec.proxy else []
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._noted: dict[str, float] = {}
        self._lock, self._hash_lock = threading.Lock(), threading.Lock()
        self._key = secrets.token_bytes(32)
        # Names that do not exist are checked against this, so that they take as long as others.
        self._no_password = hash_password(secrets.token_hex()) if self._accounts is not None else ""
        self._by_address = Attempts(ATTEMPTS_PER_ADDRESS, ATTEMPT_SECONDS, clock)
        self._by_name = Attempts(ATTEMPTS_PER_NAME, ATTEMPT_SECONDS, clock)

    @property
    def has_passwords(self) -> bool:
        """Whether users can log in with a password."""
        return self._accounts is not None

    @property
    def session_seconds(self) -> float:
        """How long a session lasts at most."""
        return self._spec.session_hours * 3600

    def check(self) -> None:
        """Read the users file, so that a mistake is reported at the start.

        Raises:
            ConfigError: It is missing, damaged, or accessible to others.
        """
        if self._accounts is not None:
            self._accounts.current()

    def authenticate(self, request: Request) -> Identity | None:
        """The identity behind a request; None without a valid one.

        Raises:
            Refusal: The users file cannot be read, or a browser was made to send the request by another site.
        """
        address = self._client(request)
        authorization = request.headers.getlist("authorization")
        bearer = [value for value in authorization if value.partition(" ")[0].lower() == "bearer"]
        if bearer:
            return self._by_token(bearer[0][7:].strip(), address) if len(authorization) == 1 else None
        found = self._by_session(request, address) or self._by_proxy(request, address)
        if found is None:
            return self._anonymous(request, address)
        self._check_origin(request, found)
        return found

    def log_in(self, request: Request, name: str, password: str) -> tuple[str, Identity]:
        """Check a password; returns the session's cookie and whose it is.

        Raises:
            Refusal: Name or password is wrong, there were too many attempts, or the users file cannot be read.
        """
        accounts, address = self._accounts, self._client(request)
        if accounts is None:
            raise Refusal(404, "nobody can log in here", "set web.users (docs/how-to/secure.md)")
        if not is_same_origin(request, is_proxy=self._is_proxy(_peer(request))):
            raise Refusal(403, "the request comes from a page of another site")
        keys = ((self._by_address, network_of(address)), (self._by_name, name))
        for number, (attempts, key) in enumerate(keys):
            if wait := attempts.wait(key):
                for earlier, of in keys[:number]:
                    earlier.forgive(of)
                _log.warning("login of %r from %s refused: too many attempts", name, address)
                seconds = math.ceil(wait)
                raise Refusal(429, "too many failed logins", f"wait {seconds} s", {"Retry-After": str(seconds)})
        user = self._current_user(name)
        hashed = user.password if user is not None else None
        if not self._hash_lock.acquire(timeout=HASH_WAIT_SECONDS):
            for attempts, key in keys:
                attempts.forgive(key)
            raise Refusal(503, "too many logins at once", "try again")
        try:
            fits = password_fits(hashed or self._no_password, password)
        finally:
            self._hash_lock.release()
        if user is None or hashed is None or not fits:
            _log.warning("login of %r from %s failed", name, address)
            raise Refusal(401, "name or password is wrong")
        for attempts, key in keys:
            attempts.forgive(key)
        cookie, now = secrets.token_urlsafe(32), self._clock()
        with self._lock:
            self._sessions[_digest(cookie)] = _Session(user.name, hashed, now, now)
            while len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
        return cookie, Identity(user.name, user.role, "session", address, self._csrf(cookie))

    def log_out(self, request: Request) -> None:
        """End the session of a request."""
        with self._lock:
            self._sessions.pop(_digest(request.cookies.get(COOKIE, "")), None)

    def is_secure(self, request: Request) -> bool:
        """Whether the client speaks HTTPS, with this server or with a proxy."""
        if self._is_proxy(_peer(request)):
            return request.headers.get("x-forwarded-proto", "").strip().lower() == "https"
        return request.url.scheme == "https"

    def _by_token(self, text: str, address: str) -> Identity | None:
        if self._accounts is None:
            return None
        token = self._read().token(text, self._utc())
        if token is None:
            return None
        now = self._clock()
        if self._events is not None and now - self._noted.get(token.id, -math.inf) >= TOKEN_NOTE_SECONDS:
            self._noted[token.id] = now
            note_token_use(self._events, token.id, self._utc())
        return Identity(f"token:{token.name}", token.scope, "token", address)

    def _by_session(self, request: Request, address: str) -> Identity | None:
        cookie = request.cookies.get(COOKIE)
        if cookie is None or self._accounts is None:
            return None
        key, now = _digest(cookie), self._clock()
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                return None
            idle = self._spec.session_idle_minutes * 60
            if now - session.created >= self.session_seconds or now - session.seen >= idle:
                del self._sessions[key]
                return None
        user = self._current_user(session.user)
        with self._lock:
            if user is None or user.password != session.password:  # removed, or with a new password
                self._sessions.pop(key, None)
                return None
            session.seen = now
        return Identity(user.name, user.role, "session", address, self._csrf(cookie))

    def _by_proxy(self, request: Request, address: str) -> Identity | None:
        spec: ProxySpec | None = self._spec.proxy
        if spec is None or not self._is_proxy(_peer(request)):
            return None
        names = request.headers.getlist(spec.user_header)
        if len(names) != 1 or not names[0].strip():
            return None
        name = names[0].strip()[:64]
        user = self._current_user(name) if self._accounts is not None else None
        role = Role(user.role if user is not None else spec.role)
        return Identity(name, role, "proxy", address, self._csrf(f"proxy:{name}"))

    def _anonymous(self, request: Request, address: str) -> Identity | None:
        if self._spec.anonymous == "nowhere":
            return None
        if self._spec.anonymous == "loopback":
            if not is_loopback(_peer(request)):
                return None
            # Where people log in, a proxy on this machine must not make everybody local.
            is_forwarded = any(name in request.headers for name in _FORWARDED) or self._is_proxy(_peer(request))
            if self._spec.has_logins and (is_forwarded or not is_loopback(request.url.hostname or "")):
                return None
        return Identity(None, Role.VIEWER, "none", address)

    def _check_origin(self, request: Request, identity: Identity) -> None:
        if request.method in _SAFE_METHODS or identity.csrf_token is None:
            return
        given = request.headers.get(CSRF_HEADER, "")
        is_ours = hmac.compare_digest(given.encode(), identity.csrf_token.encode())
        if not is_ours or not is_same_origin(request, is_proxy=self._is_proxy(_peer(request))):
            raise Refusal(
                403, f"the header {CSRF_HEADER} is missing or wrong", "send `csrf_token` of /api/v1/me, or use a token"
            )

    def _current_user(self, name: str) -> User | None:
        return self._read().user(name)

    def _read(self) -> Accounts:
        assert self._accounts is not None
        try:
            return self._accounts.current()
        except ConfigError as error:
            _log.error("nobody can log in: %s; %s", error, error.hint)
            raise Refusal(503, "nobody can log in: the users file cannot be read", "see the log") from error

    def _csrf(self, secret: str) -> str:
        return hmac.new(self._key, secret.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()

    def _client(self, request: Request) -> str:
        """The client's address: the last one in X-Forwarded-For that is not a proxy's, if the peer is a proxy."""
        address = _peer(request)
        for hop in reversed(request.headers.get("x-forwarded-for", "").split(",")):
            if not self._is_proxy(address):
                break
            try:
                address = str(ipaddress.ip_address(hop.strip()))
            except ValueError:
                break
        return address

    def _is_proxy(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        plain = getattr(parsed, "ipv4_mapped", None) or parsed
        return any(plain in network for network in self._proxies)


def is_same_origin(request: Request, *, is_proxy: bool) -> bool:
    """Whether a browser sent the request for a page of this server, or no browser did.

    Args:
        request: The request.
        is_proxy: Whether a proxy passed it on, whose `X-Forwarded-Host` counts.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    if origin is None:
        return True
    host = request.headers.get("host", "")
    if is_proxy:
        host = request.headers.get("x-forwarded-host", host)
    return origin.partition("://")[2].lower() == host.strip().lower()


def _peer(request: Request) -> str:
    return request.client.host if request.client else ""


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "surrogateescape")).hexdigest()
