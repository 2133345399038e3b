"""Recording: good frames of a camera or of files, in clips, resumable."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from streamad.errors import UsageError
from streamad.formatting import span
from streamad.frame import Frame, UInt8Image
from streamad.protocols import Progress, no_progress
from streamad.sources import (
    FailureReason,
    FileSpec,
    ImagesSpec,
    LeftOut,
    ReconnectSpec,
    SourceError,
    SourceSpec,
    SourceStatus,
    SupervisedSource,
)
from streamad.sources.quality import QualitySpec
from streamad.sources.quality.gate import QualityGate
from streamad.workflows.learn.clip_writer import ClipWriter
from streamad.workflows.learn.recording_stats import RecordingStats
from streamad.workflows.learn.recording_store import GoodVideo, RecordingStore, Role, Session, origin_of

CLIPS = 12
LONGEST_CLIP_SECONDS, SHORTEST_CLIP_SECONDS = 60.0, 5.0
"""A recording is cut into at least twelve clips of at most a minute, so that every fourth can be held out. Clips of a
camera that a fault or a gap cut to less than 5 s are discarded."""

SHORTEST_GIVEN_SECONDS = 1.0
"""The same for files, which may be short on purpose: a window of 16 frames needs more than this."""

USUAL_SECONDS = 600.0
"""Assumed length of the video, seconds, if it is not known; clips are cut accordingly."""

PATIENCE = 3.0
"""A camera without good video for this many times the requested length is given up."""

START_SECONDS = 20.0
"""A camera that fails without ever giving a frame is given up after this many seconds, since somebody is waiting for
it. One that gave frames is reconnected to again and again."""

NEVER = frozenset({FailureReason.AUTH, FailureReason.NOT_FOUND, FailureReason.CODEC, FailureReason.TLS})
"""Failures before the first frame that waiting does not cure: they end the recording at once."""

RATE_FRAMES = 64
"""Steps between frames from which the frame rate is measured."""

DEFAULT_FPS = 25.0
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Capture:
    """Result of a recording.

    Attributes:
        session: Its entry in the index.
        survey: Statistics of what was seen.
        seconds: Good video of this recording: in clips for a camera, in all for files.
        reconnects: Number of times that the camera was lost.
        place: (h, w) uint8 picture of the place. None: it never became known.
        problem: Why the recording ended early, as a sentence. None: it did not.
        left_out: Files that could not be read, or not completely.
    """

    session: Session
    survey: RecordingStats
    seconds: float
    reconnects: int
    place: UInt8Image | None
    problem: str | None
    left_out: tuple[LeftOut, ...] = ()


def capture(
    sources: Sequence[SourceSpec],
    recordings: RecordingStore,
    *,
    seconds: float | None,
    profile: str,
    words: str,
    quality: QualitySpec | None = None,
    max_bytes: int,
    keep_seconds: float | None = None,
    given_seconds: float | None = None,
    check_rate: Callable[[float], None] = lambda fps: None,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> Capture:
    """Record good video of a camera, or go through files.

    Frames that the frame-quality gate rejects are left out, and end a clip. An interrupted recording of a camera is
    resumed by the next call. Files are learned from where they are (`RecordingStore.given`); a random sample of their
    clips is recorded for the next time.

    Args:
        sources: One camera, or files in order.
        recordings: Where clips are stored.
        seconds: Good video wanted. None: all of the files.
        profile: Name of what is recorded, such as "night".
        words: Description of the source, without credentials.
        quality: Configuration of the gate.
        max_bytes: Limit on the size of all recordings.
        keep_seconds: Limit on what is recorded from files. None: all.
        given_seconds: Length of the files, if known.
        check_rate: Called once with the frame rate, as soon as it is known; an exception ends the recording.
        progress: Called with "recording" or "reading", any current problem in brackets behind it, the seconds of good
            video, and the seconds wanted (None: all).
        stop: Called between frames; True ends the recording as an interrupt does.
        clock: `time.monotonic`.

    Raises:
        SourceError: Nothing could be read, or a camera fails and never gave a frame.
        UsageError: The picture's size differs from that of earlier recordings.
        OutputError: The disk is full.
        KeyboardInterrupt: Raised by the user; what was recorded is kept.
    """
    live = any(source.live for source in sources)
    camera = sources[0] if live else None
    session = recordings.begin(profile=profile, source=words, wanted_seconds=seconds or 0.0, camera=camera)
    recordings.given = []
    length = seconds or given_seconds or USUAL_SECONDS
    gate = QualityGate(quality or QualitySpec())
    job = _Job(
        recordings, session, seconds, gate, max_bytes, progress, check_rate,
        live=live, keep_seconds=keep_seconds, clip_seconds=length / CLIPS,
    )  # fmt: skip
    reconnects, problem = 0, None
    left_out: list[LeftOut] = []
    first_failure: SourceError | None = None
    began = clock()
    try:
        for spec in sources:
            job.begin(spec)
            status, problem = _take_all(spec, job, stop, clock, began, PATIENCE * seconds if live and seconds else None)
            reconnects += sum(status.reconnects.values())
            job.end(whole=status.state != "failed")
            failure = status.error() if status.state == "failed" else None
            if failure is not None:
                first_failure = first_failure or failure
                if isinstance(spec, FileSpec | ImagesSpec):
                    left_out.append(LeftOut(spec.path, failure.reason, str(failure)))
            if job.full or stop():
                break
        if first_failure is not None and not job.recorded:
            raise first_failure
    finally:
        job.cut()
        session = replace(session, survey=job.survey.to_json())
        recordings.update(session)
    recordings.replace_origins(session, {video.origin for video in recordings.given})
    if problem is None and seconds is not None and not stop():
        if job.has_no_room and job.recorded < seconds:
            problem = (
                f"the recordings have reached {max_bytes / 1e9:g} GB after {span(job.recorded)} of this one; "
                "--max-gigabytes allows more"
            )
        elif not job.full:
            problem = f"the video ended after {span(job.recorded)}"
    return Capture(session, job.survey, job.recorded, reconnects, gate.reference, problem, tuple(left_out))


def _take_all(
    spec: SourceSpec,
    job: _Job,
    stop: Callable[[], bool],
    clock: Callable[[], float],
    began: float,
    patience: float | None,
) -> tuple[SourceStatus, str | None]:
    """Feed one source to the job until it ends or there is enough; return its last status, and why it was given up."""
    problem, started = None, False
    with SupervisedSource("learn", spec, ReconnectSpec(max_seconds=10.0), drop=None if spec.live else False) as source:
        while not job.full and not stop():
            frame = source.poll(POLL_SECONDS)
            if frame is not None:
                started = True
                job.take(frame, source.status.info.fps if source.status.info else None)
            elif source.over:
                break
            else:
                status = source.status
                if spec.live and not started:
                    _give_up(status, clock() - began)
                job.tell(status.message or "")
            if patience is not None and clock() - began > patience:
                problem = f"the camera gave no more good video within {PATIENCE:g} times the requested time"
                break
        return source.status, problem


def _give_up(status: SourceStatus, waited: float) -> None:
    """Raise the failure of a camera that never gave a frame, if waiting longer does not help."""
    failure = status.error()
    if failure is not None and (failure.reason in NEVER or waited > START_SECONDS):
        raise failure


class _Job:
    """One recording in progress."""

    def __init__(
        self,
        recordings: RecordingStore,
        session: Session,
        wanted: float | None,
        gate: QualityGate,
        max_bytes: int,
        progress: Progress,
        check_rate: Callable[[float], None],
        *,
        live: bool,
        keep_seconds: float | None,
        clip_seconds: float,
    ) -> None:
        self._recordings = recordings
        self._session = session
        self._wanted = wanted
        self.gate = gate
        self._max_bytes = max_bytes
        self._progress = progress
        self._check_rate = check_rate
        self._live = live
        self.survey = RecordingStats.from_json(session.survey)
        self._clip_seconds = min(LONGEST_CLIP_SECONDS, max(SHORTEST_CLIP_SECONDS, clip_seconds))
        self._shortest = SHORTEST_CLIP_SECONDS if live else SHORTEST_GIVEN_SECONDS
        self._most_clips = None if live or keep_seconds is None else max(4, round(keep_seconds / self._clip_seconds))
        self._rng = np.random.default_rng(session.number)
        self._begun = 0
        self._writer: ClipWriter | _Unwritten | None = None
        self._role: Role = "train"
        self._kept = sum(clip.seconds for clip in recordings.of_session(session.number)) if live else 0.0
        self._last: Frame | None = None
        self._steps: list[float] = []
        self._spec: SourceSpec | None = None
        self._origin = ""
        self._runs: list[tuple[int, int]] = []
        self._given_before = 0.0

    @property
    def recorded(self) -> float:
        """Seconds of good video."""
        return self._kept + (0.0 if self._writer is None else self._writer.seconds)

    @property
    def has_no_room(self) -> bool:
        """Whether the recordings have reached their limit on the disk."""
        return self._recordings.size_bytes >= self._max_bytes

    @property
    def full(self) -> bool:
        """Whether there is enough, or no room for more of a camera."""
        if self._live and self.has_no_room:
            return True
        # The last clip continues until it is long enough to be kept.
        short = self._writer is not None and self._writer.seconds < self._shortest
        return self._wanted is not None and self.recorded >= self._wanted and not short

    def begin(self, spec: SourceSpec) -> None:
        """Start a source: the frames that follow belong to it."""
        self._spec, self._runs, self._last, self._given_before = spec, [], None, self._kept
        self._origin = "" if spec.live else origin_of(spec)
        self._steps = []

    def end(self, *, whole: bool) -> None:
        """End a source. A file that was read to its end, or as far as wanted, can be learned from directly."""
        self.cut()
        if self._live or not whole or not self._runs:
            return
        assert self._spec is not None
        self._recordings.given.append(
            GoodVideo(
                self._spec, self._origin, self._session.number, self._session.profile, tuple(self._runs),
                self._kept - self._given_before, self._rate() or DEFAULT_FPS,
            )
        )  # fmt: skip

    def take(self, frame: Frame, fps: float | None) -> None:
        """Add the next frame of the source."""
        reason = self.gate.check(frame).reason
        last, self._last = self._last, frame
        if reason is not None:
            self.survey.hold(reason)
            self.cut()
            self.tell(f"rejected: {reason}")
            return
        if last is not None:
            if frame.is_discontinuity or frame.shape != last.shape:
                self.cut()
            else:
                self._note_step(frame.pts_seconds - last.pts_seconds)
        self._check_size(frame)
        self.survey.add(frame)
        if self._writer is None:
            self._writer = self._next_writer(fps or DEFAULT_FPS)
        if self._runs and frame.index == self._runs[-1][1] + 1:
            self._runs[-1] = (self._runs[-1][0], frame.index)
        else:
            self._runs.append((frame.index, frame.index))
        self._writer.write(frame)
        if self._writer.seconds >= self._clip_seconds:
            self.cut()
        self.tell("")

    def cut(self) -> None:
        """End the clip."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        long_enough = writer.seconds >= self._shortest
        if long_enough or not self._live:
            self._kept += writer.seconds
        if isinstance(writer, _Unwritten):
            return
        if not long_enough:
            writer.discard()
            return
        writer.close()
        self._recordings.add(self._session, writer.path, self._role, writer.seconds, self._origin)
        self._recordings.update(replace(self._session, survey=self.survey.to_json()))

    def tell(self, problem: str) -> None:
        """Report the progress."""
        doing = "recording" if self._live else "reading"
        self._progress(f"{doing} ({problem})" if problem else doing, self.recorded, self._wanted)

    def _next_writer(self, fps: float) -> ClipWriter | _Unwritten:
        """Return a writer for the next clip; of files, a uniform sample of their clips is written."""
        self._begun += 1
        role: Role | None = None
        if not self._live:
            own = self._recordings.of_session(self._session.number)
            most = len(own) if self.has_no_room else self._most_clips
            if most is not None and len(own) >= most:
                if not own or self._rng.random() * self._begun >= most:
                    return _Unwritten(fps)
                replaced = own[int(self._rng.integers(len(own)))]
                role = replaced.role
                self._recordings.drop([replaced])
        path, self._role = self._recordings.next_file(self._session, role)
        return ClipWriter(path, fps=fps)

    def _note_step(self, seconds: float) -> None:
        if len(self._steps) < RATE_FRAMES:
            self._steps.append(seconds)
            if len(self._steps) == RATE_FRAMES:
                self._check_rate(self._rate() or DEFAULT_FPS)

    def _rate(self) -> float | None:
        """Frame rate by the median step between frames: the declared rates of cameras are often wrong."""
        return round(1.0 / max(float(np.median(self._steps)), 1e-3), 2) if self._steps else None

    def _check_size(self, frame: Frame) -> None:
        sizes = [tuple(s.survey["shape"]) for s in self._recordings.sessions if s.survey.get("shape")]
        known = sizes[0] if sizes else self.survey.shape
        if known is not None and known != frame.shape:
            raise UsageError(
                f"the picture is {frame.shape[1]}×{frame.shape[0]}, earlier recordings have {known[1]}×{known[0]}; a "
                "model belongs to one camera at one size",
                hint="give another --out, or --fresh to forget the earlier recordings",
            )


class _Unwritten:
    """Stands in for the writer of a clip that is not recorded."""

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._first: float | None = None
        self.seconds = 0.0

    def write(self, frame: Frame) -> None:
        """Count the frame."""
        self._first = frame.pts_seconds if self._first is None else self._first
        self.seconds = frame.pts_seconds - self._first + 1.0 / self._fps
