"""Feed: what happens now, as server-sent events. One snapshot a second is made for all viewers, and none for nobody."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from streamad.accounts import Role
from streamad.alerts.tracker import EventChange
from streamad.observability.status import finite
from streamad.web.access import identify
from streamad.web.answers import NO_STORE, Refusal, content, problems
from streamad.web.guard import max_connections

SNAPSHOT_SECONDS = 1.0
LIFETIME_SECONDS = 300.0
"""A stream ends after this time, and the browser opens another: a login that has ended is noticed then."""
KEPT_MESSAGES = 256
"""A viewer that falls further behind loses the oldest; the next snapshot has everything but changes of events."""
_RECENT = 50
"""A camera without a score among so many newest frames counts as not scored."""
_RETRY = b"retry: 2000\n\n"

_log = logging.getLogger(__name__)


class Feed:
    """Messages for everybody who looks: the status once a second, changes of events, and marks.

    Messages are made once, however many read them; without readers nothing is made. `publish` may be called from any
    thread.

    Args:
        status: Returns the `StatusDocument`.
    """

    def __init__(self, status: Callable[[], Mapping[str, Any]]) -> None:
        self._status = status
        self._pending: deque[tuple[str, Mapping[str, Any]]] = deque(maxlen=KEPT_MESSAGES)
        self._messages: deque[tuple[int, bytes]] = deque(maxlen=KEPT_MESSAGES)
        self._number = 0
        self._viewers = 0
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self._is_closed = False

    @property
    def viewers(self) -> int:
        """Number of open streams."""
        return self._viewers

    def publish(self, kind: str, document: Mapping[str, Any]) -> None:
        """Tell all viewers; forgotten if there are none.

        Args:
            kind: "event" or "mark".
            document: A JSON document.
        """
        if self._viewers:
            self._pending.append((kind, document))

    def on_event(self, change: EventChange) -> None:
        """Tell all viewers of a change of an event."""
        if self._viewers:
            self._pending.append(("event", {"kind": change.kind, "event": change.event.to_dict()}))

    def close(self) -> None:
        """End all streams; may be called from any thread."""
        self._is_closed = True
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._news.set)

    async def messages(self) -> AsyncGenerator[bytes, None]:
        """The stream of one viewer, from a snapshot on."""
        self._loop = asyncio.get_running_loop()
        over_at = time.monotonic() + LIFETIME_SECONDS
        seen = self._number
        self._viewers += 1
        try:
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._make())
            yield _RETRY
            while not self._is_closed and time.monotonic() < over_at:
                news = self._news
                await news.wait()
                fresh = [data for number, data in self._messages if number > seen]
                seen = self._number
                if fresh:
                    yield b"".join(fresh)
        finally:
            self._viewers -= 1

    async def _make(self) -> None:
        while self._viewers and not self._is_closed:
            began = time.monotonic()
            try:
                fresh = await run_in_threadpool(self._collect)
            except Exception as error:  # noqa: BLE001 - a status that fails now may work a second later
                _log.warning("no snapshot for the page: %s", error)
                fresh = [_message("trouble", {"error": "the status cannot be read"})]
            for data in fresh:
                self._number += 1
                self._messages.append((self._number, data))
            news, self._news = self._news, asyncio.Event()
            news.set()
            await asyncio.sleep(max(0.1, SNAPSHOT_SECONDS - (time.monotonic() - began)))
        self._pending.clear()
        self._messages.clear()

    def _collect(self) -> list[bytes]:
        made = []
        while self._pending:
            made.append(_message(*self._pending.popleft()))
        made.append(_message("status", shortened(self._status())))
        return made


def shortened(status: Mapping[str, Any]) -> dict[str, Any]:
    """The status with `is_scored` of each camera in place of its recent scores."""
    cameras = []
    for camera in status.get("cameras", ()):
        recent = camera.get("recent", ())
        kept = {key: value for key, value in camera.items() if key != "recent"}
        cameras.append({**kept, "is_scored": any(point[1] is not None for point in recent[-_RECENT:])})
    return {**status, "cameras": cameras}


def feed_router(feed: Feed) -> APIRouter:
    """Create the route of the stream."""
    router = APIRouter(tags=["about"])

    @router.get(
        "/stream", response_class=StreamingResponse, responses=content("messages", "text/event-stream") | problems(503)
    )
    async def get_stream(request: Request) -> StreamingResponse:
        """Server-sent events: `status` about once a second, `event` at every change of an anomaly, `mark`.

        `status` is as `/api/v1/status`, with `is_scored` of each camera in place of `recent`; `event` has `kind`
        ("opened", "updated", "closed") and `event`; `mark` has `event`, the id, and `mark`. A stream ends after five
        minutes, and with the login that it was opened by; browsers open the next one themselves.
        """
        if feed.viewers >= max_connections() * 3 // 4:
            raise Refusal(503, "too many viewers", "ask /api/v1/status now and then")
        headers = NO_STORE | {"X-Accel-Buffering": "no"}  # nginx would hold the messages back
        return StreamingResponse(
            _while_allowed(feed.messages(), request), media_type="text/event-stream", headers=headers
        )

    return router


async def _while_allowed(messages: AsyncGenerator[bytes, None], request: Request) -> AsyncIterator[bytes]:
    """The messages until whoever asked for them may no longer read: logged out, removed, or with a revoked token."""
    async with aclosing(messages) as open_messages:
        async for data in open_messages:
            yield data
            if not await run_in_threadpool(_may_read, request):
                return


def _may_read(request: Request) -> bool:
    try:
        who = identify(request)
    except Refusal:
        return False
    return who is not None and who.may(Role.VIEWER)


def _message(kind: str, document: Mapping[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(finite(document), separators=(',', ':'))}\n\n".encode()
