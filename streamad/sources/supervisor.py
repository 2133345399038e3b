"""SupervisedSource: a camera whose decoder runs in its own process, monitored and restarted.

The main process survives any failure of a camera: FFmpeg calls that hang, crashes in a codec, streams that end without
notice. This module holds all policy; `DecoderProcess` is the mechanism.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from random import Random
from typing import Any, Self

from streamad.frame import Frame, FrameFlags
from streamad.sources import wire
from streamad.sources.backoff import Backoff
from streamad.sources.base import MAX_PROBLEMS, SourceInfo
from streamad.sources.failures import FailureReason
from streamad.sources.process import DecoderProcess
from streamad.sources.shared_ring import RingError, RingFrame
from streamad.sources.spec import ImagesSpec, ReconnectSpec, RtspSpec, SourceSpec
from streamad.sources.status import SourceState, SourceStatus

_log = logging.getLogger(__name__)

_BOOT_SECONDS = 20.0
"""Time limit for a process to start and import its libraries; 0.5 s on an idle machine. Chosen without measurement."""
_OPEN_SLACK = 2.0
"""Slack beyond the decoder's own open timeout, for calls that ignore it."""
_LOOK_SECONDS = 0.9
"""Shortest time between two color pictures."""
_STOP_GRACE_SECONDS = 1.0
"""Time to close the camera's session (TEARDOWN)."""


class SupervisedSource:
    """A source that is decoded in its own process.

    `poll` does all the work: it handles messages, returns frames, monitors the decoder and restarts it. Call it
    regularly, from one thread. `status` may be read from any thread.

    Frames own their pixels. `index` continues across reconnections (a gap means dropped frames), and so does
    `pts_seconds`, by the time that passed. The first frame after a reconnection carries DISCONTINUITY, even if the
    decoder's first frame was dropped.

    Cameras and realtime replays drop the oldest unread frame if frames are not read in time; for files and folders the
    decoder waits. Cameras are reconnected after every failure; a file's failure is final.

    Args:
        camera: The configured camera id.
        spec: The source.
        reconnect: The reconnection delays.
        clock: Clock, seconds. Must be `time.monotonic` outside tests, because decoder processes stamp frames with it.
        slots: Number of frames that may be in the ring, at least 3.
        drop: Override for whether unread frames are dropped.
        recording: What decoder processes keep for clips. Default: nothing. Image folders have no packets.
        decode: False, for RTSP only: frames of a single pixel, without decoding the stream; it is kept for clips alone.
    """

    def __init__(
        self,
        camera: str,
        spec: SourceSpec,
        reconnect: ReconnectSpec | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        slots: int = 6,
        drop: bool | None = None,
        recording: wire.RecordingSpec | None = None,
        decode: bool = True,
    ) -> None:
        self.camera = camera
        self.spec = spec
        if isinstance(spec, ImagesSpec):
            recording = None
        self._job = wire.Job(camera, spec, slots, spec.drops if drop is None else drop, recording, decode)
        self._clock = clock
        self._backoff = Backoff(reconnect or ReconnectSpec(), Random())
        self._process: DecoderProcess | None = None
        self._lingering: tuple[DecoderProcess, float, float] | None = None  # with its base and when it is over
        self._clips: dict[str, tuple[DecoderProcess, float]] = {}
        self._clip_messages: list[dict[str, Any]] = []
        self._state: SourceState = "stopped"
        self._deadline = 0.0
        self._stale_at: float | None = None
        self._up_since: float | None = None
        self._end: dict[str, Any] | None = None
        self._failure: tuple[FailureReason, str, str | None] | None = None
        self._reconnects: dict[FailureReason, int] = {}
        self._decoded = 0
        self._dropped = 0
        self._last_frame: Frame | None = None
        self._first_received_at: float | None = None
        self._index_base = 0
        self._pts_base: float | None = 0.0
        self._info: SourceInfo | None = None
        self._problems: list[str] = []
        self._is_looked_at = False
        self._looked_at = -math.inf
        self._color: tuple[int, bytes] | None = None

    def start(self) -> None:
        """Start the decoder process and return immediately. May be called more than once."""
        if self._process is None and self._state == "stopped":
            exposed = self.spec.exposed_secret() if isinstance(self.spec, RtspSpec) else None
            if exposed is not None:
                _log.warning("%s: %s", self.camera, exposed)
            self._connect()

    def stop(self) -> None:
        """Stop the decoder and free its memory. Waits for about a second at most."""
        stop_all([self])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def poll(self, timeout: float = 0.0) -> Frame | None:
        """Return the next frame, or None if none arrives within `timeout` seconds or the source is over.

        `status` tells the two apart. A call with nothing to do costs a few microseconds.
        """
        end = self._clock() + timeout
        while True:
            frame = self._advance()
            if frame is not None or self.over:
                return frame
            left = end - self._clock()
            if left <= 0:
                return None
            wait_any([self], left)

    def record(self, clip: str, path: Path, since: float, until: float | None) -> bool:
        """Begin a clip of the stream's own packets, or change its end.

        A clip is of one connection. Where the stream was interrupted after `since`, it begins with the connection.

        Args:
            clip: Its id.
            path: Its path, without a suffix.
            since: Where it starts, `Frame.pts_seconds`.
            until: Where it ends; None if that is not known yet.

        Returns:
            Whether the decoder was asked. `clips` returns its answer, unless it dies first.
        """
        return self._ask(clip, path, since=since, until=until)

    def picture(self, picture: str, path: Path, at: float) -> bool:
        """Write the picture at a time, in color, to a JPEG file.

        Args:
            picture: Its id, other than those of clips.
            path: The file.
            at: `Frame.pts_seconds`.

        Returns:
            As `record`.
        """
        return self._ask(picture, path, at=at)

    def _ask(self, id: str, path: Path, **times: float | None) -> bool:
        known = self._clips.get(id)
        if known is None:
            if self._job.recording is None:
                return False
            if self._process is not None and self._up_since is not None:
                known = self._process, self._pts_base or 0.0
            elif self._lingering is not None:
                known = self._lingering[:2]
            else:
                return False
        process, base = known
        shifted = {name: None if value is None else value - base for name, value in times.items()}
        if not process.record({"id": id, "path": str(path), **shifted}):
            self._clips.pop(id, None)
            return False
        self._clips[id] = known
        return True

    def clips(self) -> list[dict[str, Any]]:
        """Return the messages about clips that were written or failed; see `ClipRecorder`. Times are `pts_seconds`.

        The decoder of an ended stream answers too, for some seconds. What a decoder that died was writing is returned
        with the reason "decoder_died"; its file may be incomplete.
        """
        if self._lingering is not None:
            process, _, over_at = self._lingering
            self._take_messages(process)
            if process.ended or self._clock() >= over_at:
                self._end_lingering()
        messages, self._clip_messages = self._clip_messages, []
        return messages

    def look(self) -> None:
        """Ask for a color picture of a coming frame, which `color` returns. May be called from any thread.

        There is one picture a second at most, however often somebody looks; folders of images have none.
        """
        self._is_looked_at = True

    def color(self, index: int) -> bytes | None:
        """Return the color picture that `look` asked for, as JPEG, once; None if it shows a frame after `index`."""
        if self._color is None or self._color[0] > index:
            return None
        color, self._color = self._color[1], None
        return color

    def newest(self, frame: Frame) -> Frame:
        """Return the newest waiting frame, or `frame` if none waits. The frames in between count as dropped.

        Args:
            frame: The last frame taken from this source.
        """
        flags = frame.flags
        while (newer := self._advance()) is not None:
            self._dropped += 1
            frame, flags = newer, flags | newer.flags
        return replace(frame, flags=flags)

    @property
    def over(self) -> bool:
        """Whether no more frames will come: ended, failed or stopped."""
        return self._state in ("ended", "failed", "stopped")

    @property
    def status(self) -> SourceStatus:
        """A snapshot of the source's state."""
        process, failure = self._process, self._failure
        try:
            decoded, dropped = (process.frames, process.dropped) if process is not None else (0, 0)
        except (ValueError, IndexError):  # read from another thread while the process is being replaced
            decoded, dropped = 0, 0
        dropped += self._dropped
        return SourceStatus(
            state=self._state,
            reason=failure[0] if failure else None,
            message=failure[1] if failure else None,
            hint=failure[2] if failure else None,
            attempts=self._backoff.failures,
            reconnects=dict(self._reconnects),
            frames_decoded=self._decoded + decoded,
            dropped={"queue_full": dropped} if dropped else {},
            last_frame_at=self._last_frame.received_at if self._last_frame else None,
            info=self._info,
            problems=tuple(self._problems),
        )

    @property
    def connection(self) -> Any:
        """An object for `multiprocessing.connection.wait`; None while there is no decoder process.

        It wakes neither for a frame that is already waiting nor for the watchdog; `wait_any` handles both.
        """
        return self._process.link if self._process is not None and not self._process.ended else None

    @property
    def next_deadline(self) -> float | None:
        """Time on the clock when `poll` must be called even if nothing arrives (watchdog, reconnection), or None."""
        if self.over:
            return None
        return self._deadline if self._stale_at is None else min(self._deadline, self._stale_at)

    @property
    def ready(self) -> bool:
        """Whether `poll` has work to do now."""
        if self.over:
            return False
        process, deadline = self._process, self.next_deadline
        if process is not None and (process.ready or process.ended):
            return True
        return deadline is not None and self._clock() >= deadline

    def _connect(self) -> None:
        self._state = "starting"
        self._end = None
        self._up_since = None
        self._stale_at = None
        self._deadline = self._clock() + _BOOT_SECONDS
        try:
            self._process = DecoderProcess(self._job)
        except OSError as error:
            # Out of memory, processes or descriptors. Other cameras and later attempts may still work.
            self._fail(FailureReason.CRASHED, f"cannot start a decoder process: {error.strerror}", None)

    def _advance(self) -> Frame | None:
        if self.over:
            return None
        now = self._clock()
        if self._process is None:
            if now >= self._deadline:
                self._connect()
            return None
        try:
            for message in self._process.messages():
                self._handle_message(message, now)
            if self._is_looked_at and self._state == "up" and now - self._looked_at >= _LOOK_SECONDS:
                self._is_looked_at, self._looked_at = False, now
                self._process.look()
            crossed = self._process.read()
        except RingError as error:
            self._fail(FailureReason.CRASHED, str(error), error.hint)
            return None
        if crossed is not None:
            return self._deliver(crossed, now)
        if self._end is not None:
            self._finish(self._end)
        elif self._process.ended:
            self._handle_death()
        else:
            self._watch(now)
        return None

    def _handle_message(self, message: dict[str, Any], now: float) -> None:
        kind = message["type"]
        if kind == "hello":
            self._deadline = now + 2 * self.spec.open_timeout_seconds + _OPEN_SLACK
        elif kind == "info":
            self._info = SourceInfo(**message["info"])
            self._progress(now)
        elif kind == "problem":
            _log.warning("%s: %s", self.camera, message["text"])
            if len(self._problems) < MAX_PROBLEMS:
                self._problems.append(message["text"])
        elif kind == "clip":
            self._take_clip(message)
        elif kind == "picture":
            self._color = self._index_base + message["index"], message["jpeg"]
        elif kind == "end":
            self._end = message

    def _take_clip(self, message: dict[str, Any]) -> None:
        _, base = self._clips.pop(message["id"], (None, 0.0))
        self._clip_messages.append({**message, "since": message["since"] + base, "until": message["until"] + base})

    def _take_messages(self, process: DecoderProcess) -> None:
        with suppress(RingError):
            for message in process.messages():
                if message["type"] == "clip":
                    self._take_clip(message)

    def _kill(self, process: DecoderProcess, grace_seconds: float) -> int | None:
        """End a process, and report the clips that it completed and those that it did not."""
        process.wait(grace_seconds)
        self._take_messages(process)
        status = process.kill()
        for clip in [clip for clip, (owner, _) in self._clips.items() if owner is process]:
            del self._clips[clip]
            self._clip_messages.append({"type": "clip", "id": clip, "path": None, "reason": "decoder_died"})
        return status

    def _end_lingering(self, *, grace_seconds: float = 0.0) -> None:
        if self._lingering is not None:
            process = self._lingering[0]
            self._lingering = None
            self._kill(process, grace_seconds)

    def _progress(self, now: float) -> None:
        limit = self.spec.stall_timeout_seconds
        self._deadline, self._stale_at = now + limit, now + limit / 2

    def _deliver(self, crossed: RingFrame, now: float) -> Frame:
        self._progress(now)
        flags = crossed.flags
        if self._up_since is None:
            self._up_since = now
            flags |= FrameFlags.DISCONTINUITY
            _log.info("%s: up", self.camera)
        if self._first_received_at is None:
            self._first_received_at = crossed.received_at - crossed.pts_seconds
        self._state, self._failure = "up", None
        last = self._last_frame
        if self._pts_base is None:
            self._pts_base = crossed.received_at - self._first_received_at - crossed.pts_seconds
        pts_seconds = self._pts_base + crossed.pts_seconds
        if last is not None and pts_seconds <= last.pts_seconds:
            # The camera's clock runs fast and was ahead of wall time when it failed.
            step = 1.0 / (self._info.fps if self._info and self._info.fps else 25.0)
            self._pts_base += last.pts_seconds + step - pts_seconds
            pts_seconds = last.pts_seconds + step
        frame = Frame(
            self.camera,
            self._index_base + crossed.index,
            pts_seconds,
            crossed.received_at,
            crossed.pixels,
            flags,
        )
        self._last_frame = frame
        return frame

    def _watch(self, now: float) -> None:
        assert self._process is not None
        if now < (self.next_deadline or 0.0):
            return
        # A decoder that paces a replay or waits for space signals its life through shared memory.
        beat = self._process.heartbeat
        if not self.spec.live and beat + self.spec.stall_timeout_seconds / 2 > now:
            self._progress(beat)
            return
        if now < self._deadline:
            self._state, self._stale_at = "stale", None
            _log.warning("%s: stale, no frame for %g s", self.camera, self.spec.stall_timeout_seconds / 2)
        elif self._stale_at is None and self._info is not None and self._state in ("up", "stale"):
            self._fail(FailureReason.STALLED, f"no frame for {self.spec.stall_timeout_seconds:g} s", None)
        else:
            self._fail(FailureReason.TIMEOUT, "the source did not open within its timeout; decoder killed", None)

    def _finish(self, end: dict[str, Any]) -> None:
        if end["reason"] is None:
            self._release_process(is_at_end=True)  # the decoder closes everything before it reports its end
            self._state = "ended"
        else:
            self._fail(FailureReason(end["reason"]), end["message"], end["hint"], is_at_end=True)

    def _handle_death(self) -> None:
        status = self._release_process(grace_seconds=0.2)
        how = f"by signal {-status}" if status is not None and status < 0 else f"with status {status}"
        self._fail(FailureReason.CRASHED, f"the decoder process died {how}", None)

    def _fail(self, reason: FailureReason, message: str, hint: str | None, *, is_at_end: bool = False) -> None:
        now = self._clock()
        self._release_process(is_at_end=is_at_end)
        self._failure = (reason, message, hint)
        healthy = 0.0 if self._up_since is None or self._last_frame is None else now - self._up_since
        delay = self._backoff.fail(reason, healthy_seconds=healthy)
        if delay is None or not self.spec.live:
            self._state = "failed"
            _log.error("%s: failed: %s: %s", self.camera, reason, message)
            return
        self._state, self._deadline, self._stale_at = "backoff", now + delay, None
        self._reconnects[reason] = self._reconnects.get(reason, 0) + 1
        _log.warning("%s: %s: %s; next attempt in %.1f s", self.camera, reason, message, delay)

    def _release_process(self, *, grace_seconds: float = 0.0, is_at_end: bool = False) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        status = None
        # Both ways add up the counters of the rings while they close them.
        if is_at_end and self._job.recording is not None and not process.ended:
            self._end_lingering()
            process.release_rings()
            self._lingering = process, self._pts_base or 0.0, self._clock() + wire.LINGER_SECONDS
        else:
            status = self._kill(process, grace_seconds)
        self._decoded += process.frames
        self._dropped += process.dropped
        # Do not reuse the numbers of frames that were decoded but never read.
        last = self._last_frame.index + 1 if self._last_frame is not None else 0
        self._index_base = max(last, self._index_base + process.frames)
        self._pts_base = None if self._last_frame is not None else 0.0
        return status


def wait_any(sources: Sequence[SupervisedSource], timeout: float) -> list[SupervisedSource]:
    """Wait at most `timeout` seconds until a source needs polling; return the sources that do.

    Watchdogs and reconnections are included, so a main loop needs only `for s in wait_any(sources, 1): s.poll()`.
    """
    ready = [source for source in sources if source.ready]
    if ready:
        return ready
    links = {source.connection: source for source in sources if source.connection is not None}
    for source in sources:
        deadline = source.next_deadline
        if deadline is not None:
            timeout = min(timeout, deadline - source._clock())
    if links:
        for link in wait(list(links), max(0.0, timeout)):
            ready.append(links[link])
    elif timeout > 0:
        time.sleep(timeout)
    woken = {id(source) for source in ready}
    return [source for source in sources if id(source) in woken or source.ready]


def stop_all(sources: Sequence[SupervisedSource]) -> None:
    """Stop all sources concurrently: ask all of them first, then wait."""
    for source in sources:
        if source._process is not None:
            source._process.ask_to_stop()
        if source._lingering is not None:
            source._lingering[0].ask_to_stop()
    deadline = time.monotonic() + _STOP_GRACE_SECONDS
    for source in sources:
        source._release_process(grace_seconds=max(0.0, deadline - time.monotonic()))
        source._end_lingering(grace_seconds=max(0.0, deadline - time.monotonic()))
        if not source.over:
            source._state = "stopped"
