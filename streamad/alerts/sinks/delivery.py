"""Delivery: everything between a change of an event and one receiver that may be slow, faulty or away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Literal

from streamad.alerts.sinks.base import Change
from streamad.alerts.sinks.notification import Notification
from streamad.alerts.sinks.outbox import Outbox, Waiting
from streamad.alerts.sinks.routing import Router, Routing
from streamad.alerts.sinks.settings import NotifierSpec, OutboxSpec, Sender, SinkContext
from streamad.formatting import counted
from streamad.redaction import redact
from streamad.sources.backoff import Backoff
from streamad.sources.failures import FailureReason
from streamad.sources.spec import ReconnectSpec
from streamad.writing import BackgroundWriter, Outcome, OutputStatus, reason_of, words

POLL_SECONDS = 1.0
"""How often an idle delivery looks for expired notifications, summaries that are due, and a disk that works again."""
PATIENCE = 3
"""After this many failures in a row, a notification of another event is tried. If that is accepted, the first one is at
fault, not the receiver."""
MAX_OVERTAKEN = 3
"""A notification is dropped as rejected when it has failed `PATIENCE` times this often while others were delivered."""
PICTURE_SECONDS = 3.0
"""How long the notification of a new event waits for its picture, which is written at the same time."""

NotificationOutcome = Outcome | Literal["suppressed"]

_log = logging.getLogger(__name__)


class Delivery:
    """Routes the changes of events, keeps them in an outbox, and sends them on a thread of its own.

    Each event's notifications are sent in order, at least once each. A failed attempt is repeated with exponential
    backoff. It has the methods of `BackgroundWriter` that `SinkFanout` uses.

    Args:
        spec: The sink's settings.
        sender: Sends to the receiver.
        outbox_spec: Where the outbox is, and its limits.
        context: See `SinkContext`.
        clock: Monotonic seconds.
        wall_clock: Returns timezone-aware datetimes.
        rng: For the jitter of the backoff.

    Raises:
        OutputError: The outbox cannot be opened.
    """

    def __init__(
        self,
        spec: NotifierSpec,
        sender: Sender,
        outbox_spec: OutboxSpec,
        context: SinkContext,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        rng: Random | None = None,
    ) -> None:
        self.name = spec.label
        self._spec = spec
        self._sender = sender
        self._context = context
        self._on_outcome: Callable[[NotificationOutcome, int, str], None] | None = None
        self._clock = clock
        self._wall_clock = wall_clock
        self._rng = rng or Random()
        self._router = Router(
            spec,
            on_suppressed=lambda why: self._count("suppressed", 1, why.replace(" ", "_")),
            clock=clock,
            wall_clock=wall_clock,
        )
        self._outbox = Outbox(
            outbox_spec.folder / f"{self.name}.sqlite",
            max_waiting=outbox_spec.max_waiting,
            max_age=timedelta(hours=outbox_spec.max_age_hours),
            on_dropped=lambda amount, reason: self._count("dropped", amount, reason),
        )
        self._accepting = BackgroundWriter[Change](self.name, self._accept, batch=100, on_outcome=self._accepted)
        self._wake = threading.Condition()
        self._is_new = self._is_closing = self._is_over = False
        self._thread: threading.Thread | None = None
        self._backoff = self._fresh_backoff()
        self._due = float("-inf")
        self._error: OSError | None = None
        self._failing_since = 0.0
        self._busy_since: float | None = None
        self._dropped = 0

    def follow(self, routing: Routing, cameras: Sequence[str]) -> None:
        """Route by other settings from now on, and tell a sender that keeps something for each camera of all cameras.

        Args:
            routing: The settings.
            cameras: Ids of all cameras.
        """
        self._router.use(routing)
        if (follow := getattr(self._sender, "follow", None)) is not None:
            follow([name for name in cameras if not routing.cameras or name in routing.cameras])

    @property
    def error(self) -> OSError | None:
        """Why nothing can be sent or kept at present; None if it can."""
        since = self._busy_since
        if self._error is None and since is not None and self._clock() - since > self._spec.timeout_seconds + 5:
            return TimeoutError(f"hangs: no answer for {self._clock() - since:.0f} s")
        return self._error or self._outbox.error or self._accepting.error

    @property
    def dropped(self) -> int:
        """Notifications that were accepted and never sent."""
        return self._dropped

    @property
    def is_over(self) -> bool:
        """Whether it is closed and the sender does not hang."""
        return self._thread is None or self._is_over

    def status(self) -> OutputStatus:
        """This output in `/status`."""
        error = self.error
        return OutputStatus(
            name=self.name,
            error=None if error is None else redact(words(error)),
            waiting=len(self._outbox) + len(self._accepting.waiting()),
            dropped=self.dropped,
        )

    def start(self, on_outcome: Callable[[NotificationOutcome, int, str], None] | None = None) -> None:
        """Start to send, beginning with what an earlier process left in the outbox.

        Args:
            on_outcome: Called with (outcome, number of notifications, reason) for metrics.
        """
        self._on_outcome = on_outcome
        if len(self._outbox):
            _log.info("sink %s: %s of an earlier run will be sent", self.name, _notifications(len(self._outbox)))
        self._thread = threading.Thread(target=self._run, name=f"streamad-send-{self.name}", daemon=True)
        self._thread.start()

    def put(self, change: Change) -> None:
        """Take a change of an event and return at once."""
        self._accepting.put(change)

    def waiting(self) -> int:
        """Number of notifications that wait in the outbox."""
        return len(self._outbox)

    def step(self) -> float:
        """Make an attempt if one is due. The thread calls this; tests call it with a clock of their own.

        Returns:
            Seconds until the next call.
        """
        now, wall = self._clock(), self._wall_clock()
        self._outbox.expire(wall)
        summary = self._router.summary()
        if summary is not None:
            self._outbox.add(summary)
        if not self._outbox.is_saved:
            self._outbox.save()
        if now < self._due:
            return min(self._due - now, POLL_SECONDS)
        item = self._next()
        if item is None:
            return POLL_SECONDS
        notification = self._with_picture(item.notification)
        if self._waits_for_picture(notification, wall):
            return POLL_SECONDS / 4
        self._busy_since = now
        try:
            self._sender.send(notification)
        except OSError as error:
            self._failed(item, error)
            return min(max(self._due - self._clock(), 0.0), POLL_SECONDS)
        except Exception:  # noqa: BLE001 - a bug must not stop the delivery for good
            _log.exception("sink %s: cannot send a notification", self.name)
            self._outbox.remove(item)
            self._count("dropped", 1, "bug")
        else:
            self._succeeded(item)
        finally:
            self._busy_since = None
        return 0.0

    def end(self) -> None:
        """Accept nothing more, and end the thread once the outbox is empty or an attempt fails."""
        self._accepting.close(0.5)
        while (rest := self._router.summary(at_end=True)) is not None:
            self._outbox.add(rest)
        with self._wake:
            self._is_closing = True
            self._wake.notify_all()

    def close(self, seconds: float) -> None:
        """End, and wait for the thread. What was not sent stays in the outbox, for the next start.

        Args:
            seconds: Longest wait. A hanging attempt is abandoned: the thread is a daemon.
        """
        if not self._is_closing:
            self.end()
        if self._thread is None:
            self._release()
            return
        self._thread.join(seconds)
        if rest := len(self._outbox):
            _log.warning(
                "sink %s: %s unsent; the next start sends what is in the outbox", self.name, _notifications(rest)
            )

    def _run(self) -> None:
        try:
            self._sender.open()
        except Exception:  # noqa: BLE001 - every attempt to send reports it
            _log.exception("sink %s: cannot be opened", self.name)
        while True:
            with self._wake:
                self._is_new = False
            try:
                wait = self.step()
            except Exception:  # noqa: BLE001 - a bug must not end the thread
                _log.exception("sink %s: cannot go on; will retry", self.name)
                wait = POLL_SECONDS
            with self._wake:
                if self._is_closing and (self._error is not None or not len(self._outbox)):
                    break
                if wait > 0:
                    self._wake.wait_for(lambda: self._is_new or self._is_closing, wait)
        self._release()
        self._is_over = True

    def _release(self) -> None:
        try:
            self._sender.close()
        except Exception:  # noqa: BLE001 - the end must be reached
            _log.exception("sink %s: cannot be closed", self.name)
        self._outbox.close()

    def _accept(self, changes: Sequence[Change]) -> None:
        for event, kind in changes:
            notification = self._router.route(event, kind)
            if notification is not None:
                self._outbox.add(notification)
        with self._wake:
            self._is_new = True
            self._wake.notify_all()

    def _accepted(self, outcome: Outcome, amount: int, reason: str) -> None:
        if outcome == "dropped":
            self._count("dropped", amount, reason)

    def _next(self) -> Waiting | None:
        heads = self._outbox.heads()
        patient = [item for item in heads if item.attempts < PATIENCE]
        return patient[0] if patient else min(heads, key=lambda item: item.attempts, default=None)

    def _with_picture(self, notification: Notification) -> Notification:
        find = self._context.picture_of
        if find is None or notification.event is None:
            return notification
        try:
            return notification.with_picture(find(notification.event))
        except Exception:  # noqa: BLE001 - a notification without a picture is better than none
            _log.exception("sink %s: cannot find the picture of event %s", self.name, notification.event.id)
            return notification

    def _waits_for_picture(self, notification: Notification, now: datetime) -> bool:
        if self._context.picture_of is None or notification.kind != "opened" or notification.picture is not None:
            return False
        age = (now - notification.created_at).total_seconds()
        return notification.type == "anomaly" and 0 <= age < PICTURE_SECONDS and not self._is_closing

    def _failed(self, item: Waiting, error: OSError) -> None:
        item.attempts += 1
        is_new = self._error is None or str(self._error) != str(error)
        if self._error is None:
            self._failing_since = self._clock()
        self._error = error
        wait = self._backoff.fail(FailureReason.NETWORK)
        assert wait is not None  # there is no largest number of attempts
        self._due = self._clock() + wait
        self._count("failed", 1, reason_of(error))
        if is_new:
            hint = getattr(error, "hint", None)
            _log.error(
                "sink %s: %s; %s in the outbox, will retry%s",
                *(self.name, redact(words(error)), _notifications(len(self._outbox)), f" ({hint})" if hint else ""),
            )

    def _succeeded(self, item: Waiting) -> None:
        self._outbox.remove(item)
        self._count("written", 1, "")
        if self._error is not None:
            _log.warning("sink %s recovered after %.0f s", self.name, self._clock() - self._failing_since)
        self._error = None
        self._backoff, self._due = self._fresh_backoff(), float("-inf")
        for other in self._outbox.heads():
            if other.attempts >= PATIENCE:
                other.overtaken += 1
            other.attempts = 0
            if other.overtaken >= MAX_OVERTAKEN:
                self._outbox.remove(other)
                self._count("dropped", 1, "rejected")
                _log.error(
                    "sink %s: dropped a notification of %s that fails while others are accepted",
                    *(self.name, other.notification.camera or "no camera"),
                )

    def _fresh_backoff(self) -> Backoff:
        return Backoff(ReconnectSpec(initial_seconds=1.0, max_seconds=self._spec.retry_max_seconds), self._rng)

    def _count(self, outcome: NotificationOutcome, amount: int, reason: str) -> None:
        if outcome == "dropped":
            self._dropped += amount
        if self._on_outcome is not None:
            self._on_outcome(outcome, amount, reason)


def _notifications(amount: int) -> str:
    return counted(amount, "notification")
