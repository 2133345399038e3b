"""Recording normal video from a camera or files: good frames alone, in clips, resumable."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from streamad.errors import UsageError
from streamad.frame import Frame, UInt8Image
from streamad.pipeline.learning.clip_writer import ClipWriter
from streamad.pipeline.learning.recordings import Recordings, Role, Session
from streamad.pipeline.learning.survey import Survey
from streamad.sources import ReconnectSpec, SourceSpec, SupervisedSource
from streamad.sources.quality.gate import QualityGate
from streamad.sources.quality.spec import QualitySpec

CLIPS = 12
LONGEST_CLIP_SECONDS, SHORTEST_CLIP_SECONDS = 60.0, 5.0
"""A recording is cut into twelve clips or more, of a minute at most, so that every fourth can be held out; clips that a
fault or a gap cut shorter than 5 s are thrown away."""

PATIENCE = 3.0
"""A camera that gives no good video for so many times the minutes asked for is given up."""

DEFAULT_FPS = 25.0
POLL_SECONDS = 0.2

Progress = Callable[[float, float, str], None]
"""Told the seconds of good video, the seconds wanted, and what is wrong now ("" where nothing is)."""


@dataclass(frozen=True)
class Capture:
    """What a recording gave.

    Attributes:
        session: its entry in the index.
        survey: what was seen.
        seconds: good video in clips, of this recording.
        reconnects: times that the camera was lost.
        place: (h, w) uint8 picture of the place; None where it never became known.
        problem: why it ended early, in words; None where it did not.
    """

    session: Session
    survey: Survey
    seconds: float
    reconnects: int
    place: UInt8Image | None
    problem: str | None


def capture(
    sources: Sequence[SourceSpec],
    recordings: Recordings,
    *,
    seconds: float,
    profile: str,
    words: str,
    quality: QualitySpec | None = None,
    max_bytes: int,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> Capture:
    """Record so much good video, or as much as there is.

    Frames that the frame-quality gate holds back are left out, and a clip ends at them. An interrupted recording from a
    camera is gone on with by the next call.

    Args:
        sources: one camera, or files in order.
        recordings: where clips go.
        seconds: good video wanted.
        profile: what it is of.
        words: the source in words, without credentials.
        quality: the gate's configuration.
        max_bytes: bound of all recordings on the disk.
        progress: told how far it is.
        stop: asked between frames; True ends the recording as an interrupt does.
        clock: `time.monotonic`.

    Raises:
        SourceError: nothing could be read.
        UsageError: the picture's size differs from that of earlier recordings.
        OutputError: the disk is full.
        KeyboardInterrupt: by the user; what was recorded stays.
    """
    live = any(source.live for source in sources)
    session = recordings.begin(profile=profile, source=words, wanted_seconds=seconds, resume=live)
    job = _Job(recordings, session, seconds, QualityGate(quality or QualitySpec()), max_bytes, progress)
    reconnects, problem = 0, None
    deadline = clock() + PATIENCE * seconds if live else None
    try:
        for spec in sources:
            with SupervisedSource(
                "learn", spec, ReconnectSpec(max_seconds=10.0), drop=None if live else False
            ) as source:
                while not job.full and not stop():
                    frame = source.poll(POLL_SECONDS)
                    if frame is not None:
                        job.take(frame, source.status.info.fps if source.status.info else None)
                    elif source.over:
                        break
                    else:
                        job.tell(source.status.message or "")
                    if deadline is not None and clock() > deadline:
                        problem = f"no more good video within {PATIENCE:g} times the time asked for"
                        break
                status = source.status
                reconnects += sum(status.reconnects.values())
                job.cut()
                failure = status.error() if status.state == "failed" else None
                if failure is not None and not recordings.of_session(session.number):
                    raise failure
                problem = status.message if status.state == "failed" else problem
            if job.full or stop():
                break
    finally:
        job.cut()
        session = replace(session, survey=job.survey.to_json())
        recordings.update(session)
    if not job.full and problem is None and not stop():
        problem = f"the video is over after {job.recorded:.0f} s"
    return Capture(session, job.survey, job.recorded, reconnects, job.gate.reference, problem)


class _Job:
    """One recording under way."""

    def __init__(
        self,
        recordings: Recordings,
        session: Session,
        wanted: float,
        gate: QualityGate,
        max_bytes: int,
        progress: Progress | None,
    ) -> None:
        self._recordings = recordings
        self._session = session
        self._wanted = wanted
        self.gate = gate
        self._max_bytes = max_bytes
        self._progress = progress
        self.survey = Survey.from_json(session.survey)
        self._clip_seconds = min(LONGEST_CLIP_SECONDS, max(SHORTEST_CLIP_SECONDS, wanted / CLIPS))
        self._writer: ClipWriter | None = None
        self._role: Role = "train"
        self._kept = sum(clip.seconds for clip in recordings.of_session(session.number))
        self._last: Frame | None = None

    @property
    def recorded(self) -> float:
        """Seconds of good video."""
        return self._kept + (0.0 if self._writer is None else self._writer.seconds)

    @property
    def full(self) -> bool:
        """Whether there is enough, or no room for more."""
        if self._recordings.size_bytes >= self._max_bytes:
            return True
        # The last clip goes on until it is long enough to be kept.
        short = self._writer is not None and self._writer.seconds < SHORTEST_CLIP_SECONDS
        return self.recorded >= self._wanted and not short

    def take(self, frame: Frame, fps: float | None) -> None:
        """The next frame of the source."""
        reason = self.gate.check(frame).reason
        last, self._last = self._last, frame
        if reason is not None:
            self.survey.hold(reason)
            self.cut()
            self.tell(f"held back: {reason}")
            return
        if last is not None and (frame.is_discontinuity or frame.shape != last.shape):
            self.cut()
        self._check_size(frame)
        self.survey.add(frame)
        if self._writer is None:
            path, self._role = self._recordings.next_file(self._session)
            self._writer = ClipWriter(path, fps=fps or DEFAULT_FPS)
        self._writer.write(frame)
        if self._writer.seconds >= self._clip_seconds:
            self.cut()
        self.tell("")

    def cut(self) -> None:
        """End the clip."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        if writer.seconds < SHORTEST_CLIP_SECONDS:
            writer.discard()
            return
        writer.close()
        self._kept += writer.seconds
        self._recordings.add(self._session, writer.path, self._role, writer.seconds)
        self._recordings.update(replace(self._session, survey=self.survey.to_json()))

    def tell(self, problem: str) -> None:
        """Say how far it is."""
        if self._progress is not None:
            self._progress(self.recorded, self._wanted, problem)

    def _check_size(self, frame: Frame) -> None:
        sizes = [s.survey.get("shape") for s in self._recordings.sessions if s.survey.get("shape")]
        known = sizes[0] if sizes else None
        if known is not None and tuple(known) != frame.shape:
            raise UsageError(
                f"the picture is {frame.shape[1]}×{frame.shape[0]}, earlier recordings are {known[1]}×{known[0]}; a "
                "model belongs to one camera at one size",
                hint="give another --out, or --fresh to begin anew",
            )
