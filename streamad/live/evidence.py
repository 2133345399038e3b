"""EvidenceRecorder: writes beside a running watch what a person needs to judge an event.

The main loop only keeps references and asks decoders for clips. A thread writes the files; decoder processes write the
clips. What fails costs evidence, never a score or an event.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import math
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from streamad import __version__
from streamad.alerts.event import Event
from streamad.alerts.evidence import (
    CLIP,
    FORMAT,
    RECORD,
    SNAPSHOT,
    TRACE,
    VERSION,
    EvidenceSpec,
    event_folder,
    event_folders,
    evidence_of,
    remove_old,
)
from streamad.alerts.store import interrupted
from streamad.alerts.tracker import EventChange
from streamad.calibration import AlertPolicy, Calibration
from streamad.errors import OutputError
from streamad.files import locked, read_bytes, read_json, write_atomic, write_json
from streamad.formatting import number
from streamad.frame import Frame
from streamad.live.camera import CameraWatch
from streamad.live.second_stream import SecondStream
from streamad.observability.status import EvidenceSourceStatus
from streamad.protocols import Closeable
from streamad.scoring import FrameScore
from streamad.sources import stop_all
from streamad.sources.wire import RecordingSpec
from streamad.visual.overlay import ALERT_RED, draw_overlay, with_footer
from streamad.writing import Appender, BackgroundWriter, Outcome

CAPACITY = 64
"""Files that wait for the disk, among them one picture for each event, of 2 MB at 1920×1080."""
SNAPSHOT_SECONDS = 2.0
"""Shortest time between two snapshots of an event whose peak rises."""
LOOK_SECONDS = 60.0
"""Evidence is checked for its age and size this often."""
STEADY_SECONDS = 3600.0
"""Evidence is removed by age only after the wall clock has run steadily for so long. A clock that was set wrong for a
moment must not remove what it makes look old."""
MAX_CLOCK_STEP_SECONDS = 60.0
MAX_CLIPS = 20
"""Clips of one event: a new one begins where the alert reopens after the clip was complete."""
_LAG_SECONDS = 3.0
"""An alert is known this much later than its last frame, for the length of the decoder's ring."""
_PATIENCE_SECONDS = 15.0
"""A record is completed this long after its post-roll, whatever has become of the camera."""
PICTURE = "peak"
"""Name of a picture on its way from the decoder to the snapshot."""
_NO_CLIP = ("no_packets", "uncompressed", "no_key_frame")
"""Why a source has no clips; none of it is a failure of the disk."""
_HEADER = b"index,pts_seconds,score,threshold,skipped\n"
_QUALITY = 85
_MAX_RECORD_BYTES = 1 << 20

_log = logging.getLogger(__name__)

_Row = tuple[int, float, float, float, str]


@dataclass(frozen=True, slots=True)
class _Peak:
    frame: Frame
    score: FrameScore


@dataclass(slots=True)
class _ClipState:
    """A clip of an event. `reason` says why there is none, or why it ends early."""

    name: str
    is_done: bool = False
    reason: str | None = None
    second: SecondStream | None = None  # that it is made of; None: the stream that is watched
    until: float | None = None
    is_begun: bool = False


@dataclass(slots=True, eq=False)
class _Active:
    """An event whose evidence is being collected."""

    event: Event
    policy: AlertPolicy
    clips: list[_ClipState] = field(default_factory=list)
    rows: list[_Row] = field(default_factory=list)  # not yet written
    last_index: int = -1  # of the newest row
    drawn: float = -math.inf  # raw score of the newest snapshot
    drawn_at: float = -math.inf
    snapshot: _Snapshot | None = None  # the newest, in gray
    closed_at: float | None = None  # by the monotonic clock
    is_traced: bool = False  # whether the trace has its post-roll


@dataclass(slots=True, eq=False)
class _Camera:
    watch: CameraWatch
    second: SecondStream | None = None
    recent: deque[_Row] = field(default_factory=deque)
    peak: _Peak | None = None  # of the run of frames over the threshold
    active: dict[str, _Active] = field(default_factory=dict)
    last: _Active | None = None  # the last complete one, which may be reopened

    @property
    def is_over(self) -> bool:
        """Whether no more clips will come."""
        return self.watch.source.over and (self.second is None or self.second.source.over)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    path: Path
    peak: _Peak
    event: Event
    policy: AlertPolicy
    score_kind: str
    color: Path | None = None  # the peak's picture as decoded in color, which is removed

    def write(self) -> None:
        pixels = None if self.color is None else _take_picture(self.color, self.peak.frame.shape)
        if self.color is not None and pixels is None:
            return  # the gray one stays
        write_atomic(
            self.path, draw_snapshot(self.peak.frame, self.peak.score, self.event, self.policy, self.score_kind, pixels)
        )


@dataclass(frozen=True, slots=True)
class _Rows:
    path: Path
    rows: tuple[_Row, ...]

    def write(self) -> None:
        with Appender(self.path, header=_HEADER) as file:
            file.append("".join(map(_line, self.rows)).encode())


@dataclass(frozen=True, slots=True)
class _Record:
    folder: Path
    event: Event
    policy: AlertPolicy
    clips: tuple[tuple[str, str | None], ...]  # name, and why there is none or why it ends early
    is_complete: bool

    def write(self) -> None:
        if self.is_complete:
            _complete_parts(self.folder)  # of a decoder that died
        files = [path.name for path in evidence_of(self.folder.parent.parent, self.event.camera, self.event.id).files]
        clips = {Path(name).stem: name for name in files}
        policy, calibration = self.policy, self.policy.calibration
        shown = {
            "threshold": policy.threshold,
            "fast_threshold": policy.fast_threshold,
            "critical_threshold": policy.critical_threshold,
            "release": policy.release,
        }
        write_json(
            self.folder / RECORD,
            {
                "format": FORMAT,
                "version": VERSION,
                "streamad": __version__,
                "is_complete": self.is_complete,
                "event": self.event.to_dict(),
                "thresholds": {
                    name: None if value is None else _finite(policy.display_score(value))
                    for name, value in shown.items()
                },
                "calibration_sha256": None if calibration is None else calibration_sha256(calibration),
                "clips": [
                    {"file": clips.get(name), "reason": reason or (None if name in clips else "removed")}
                    for name, reason in (self.clips if self.is_complete else ())
                ],
                "files": [name for name in files if name != RECORD],
            },
        )


@dataclass(frozen=True, slots=True)
class _Unused:
    """A picture of a peak that a higher one has followed."""

    path: Path

    def write(self) -> None:
        self.path.unlink(missing_ok=True)


_Task = _Snapshot | _Rows | _Record | _Unused


class EvidenceRecorder(Closeable):
    """Collects evidence of the events of a monitor's cameras.

    Call `on_event` and `on_score` from the main loop (events of a frame before its score), and `refresh` about twice a
    second. Each event has a folder (`streamad.alerts.evidence`):

    - `snapshot.jpg`: the frame with the highest score so far, with box and anomaly map; written when the alert opens
      and, while its peak rises, at most every two seconds. First in gray, as it was scored, and again in color when the
      decoder process has decoded it from its packets.
    - `trace.csv`: score and threshold of every frame from the pre-roll to the post-roll, appended every few seconds.
    - `clip.mp4`: the stream's own packets, written by the decoder process.
    - `event.json`: the event as stored, thresholds, hashes, and what is missing and why.

    What a killed process left is completed at the next start.

    Args:
        spec: What to keep.
        on_outcome: See `BackgroundWriter`; also called for clips, as "written", "failed" or "dropped".
        wall_clock: Aware datetimes, for the age of evidence.
        clock: Monotonic seconds.

    Raises:
        OutputError: The folder cannot be written to.
    """

    def __init__(
        self,
        spec: EvidenceSpec,
        wall_clock: Callable[[], datetime],
        *,
        on_outcome: Callable[[Outcome, int, str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec = spec
        self._on_outcome = on_outcome or (lambda *_: None)
        self._wall_clock = wall_clock
        self._clock = clock
        self._cameras: dict[str, _Camera] = {}
        self._detached: list[_Camera] = []
        self._look_at = -math.inf
        self._low_disk = False
        self._is_recovered = False
        self._sizes: dict[Path, tuple[int, int]] = {}
        self._steady_since = wall_clock(), clock()
        self._open_ids: frozenset[str] = frozenset()
        self._stack = ExitStack()
        self.writer = BackgroundWriter[_Task](
            "evidence", self._write, capacity=CAPACITY, on_outcome=on_outcome, on_poke=self._look_after
        )
        try:
            spec.folder.mkdir(parents=True, exist_ok=True)
            self._owns_folder = self._stack.enter_context(locked(spec.folder))
            self._low_disk = self._is_low()
        except OSError as error:
            raise OutputError(
                f"cannot write evidence to {spec.folder}: {error.strerror or error}",
                hint="set evidence.folder, or evidence.enabled: false",
            ) from error
        if not self._owns_folder:
            _log.warning(
                "evidence %s: another process uses this folder; only that one removes old evidence", spec.folder
            )

    def recording(self, policy: AlertPolicy) -> RecordingSpec:
        """What a camera's decoder keeps for clips."""
        return RecordingSpec(
            keep_seconds=self._spec.pre_roll_seconds + policy.min_duration_seconds + _LAG_SECONDS,
            max_clip_seconds=self._spec.max_clip_seconds,
            max_bytes=self._spec.max_packet_megabytes << 20,
        )

    def attach(self, cameras: Sequence[CameraWatch]) -> None:
        """Collect evidence of these cameras, too."""
        for watch in cameras:
            camera = self._cameras[watch.spec.id] = _Camera(watch)
            spec = watch.spec.evidence_source
            if spec is not None:
                camera.second = SecondStream(watch.spec.id, spec, self.recording(watch.policy), self._clock)

    def source_status(self, camera: str) -> EvidenceSourceStatus | None:
        """State of the stream that a camera's clips are kept of; None if it is the one that is watched. Thread-safe."""
        found = self._cameras.get(camera)
        return None if found is None or found.second is None else found.second.status()

    def detach(self, watch: CameraWatch) -> None:
        """Collect no more evidence of a camera; what is under way is completed when its source has stopped."""
        camera = self._cameras.pop(watch.spec.id)
        if camera.second is not None:  # which may take a second
            threading.Thread(target=camera.second.source.stop, name="stop second stream", daemon=True).start()
        self._detached.append(camera)

    def on_event(self, change: EventChange) -> None:
        """Take a change of an event, before the score of its frame."""
        camera, event = self._cameras[change.event.camera], change.event
        active = camera.active.get(event.id) or self._begin(camera, event)
        active.event = event
        if change.kind == "closed":
            active.closed_at = self._clock()
            self._draw(camera, active)
            self._end_clip(camera, active)
        else:
            active.closed_at, active.is_traced = None, False
            self._continue_clip(camera, active)
        self._put_record(active)
        self._put_rows(active)

    def on_score(self, watch: CameraWatch, frame: Frame, score: FrameScore) -> None:
        """Take a frame's score."""
        camera, policy = self._cameras[watch.spec.id], watch.policy
        if camera.second is not None:
            camera.second.follow(frame)
        row = (
            score.index,
            score.pts_seconds,
            policy.display_score(score.score),
            policy.display_score(policy.threshold),
            score.cause or "",
        )
        self._remember(camera, row)
        if watch.session.alert_state not in ("pending", "open"):
            camera.peak = None
        elif math.isfinite(score.score) and (camera.peak is None or score.score > camera.peak.score.score):
            camera.peak = _Peak(frame, score)
        for active in camera.active.values():
            if active.is_traced:
                continue
            active.rows.append(row)
            active.last_index = score.index
            if active.event.state == "open":
                self._draw(camera, active)
            elif score.pts_seconds >= (active.event.ended_pts_seconds or 0.0) + self._spec.post_roll_seconds:
                active.is_traced = True

    def refresh(self) -> None:
        """Take what decoders report of their clips, complete records, and look after old evidence now and then."""
        now = self._clock()
        for camera in [camera for camera in self._detached if camera.is_over]:
            self._detached.remove(camera)
            self._end(camera)
        for camera in self._cameras.values():
            if camera.second is not None:
                camera.second.refresh()
            self._take_clips(camera)
            for active in list(camera.active.values()):
                if active.closed_at is None:
                    continue
                # The clock of a camera that fell silent stands still.
                is_late = now - active.closed_at > self._spec.post_roll_seconds + _PATIENCE_SECONDS
                if is_late or (active.is_traced and all(clip.is_done for clip in active.clips)):
                    self._complete(camera, active)
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self.writer.poke()

    def close(self) -> None:
        """Write what waits, and complete the records. The sources have been stopped."""
        cameras = [*self._cameras.values(), *self._detached]
        stop_all([camera.second.source for camera in cameras if camera.second is not None])
        for camera in cameras:
            self._end(camera)
        self.writer.close()
        self._stack.close()

    def _end(self, camera: _Camera) -> None:
        """Complete the records of a camera whose source has stopped."""
        self._take_clips(camera)
        for active in list(camera.active.values()):
            self._complete(camera, active)

    def _begin(self, camera: _Camera, event: Event) -> _Active:
        if camera.last is not None and camera.last.event.id == event.id:
            active = camera.last  # reopened
        else:
            active = _Active(event, camera.watch.policy)
        begin = event.started_pts_seconds - self._spec.pre_roll_seconds
        active.rows = [row for row in camera.recent if row[1] >= begin and row[0] > active.last_index]
        camera.active[event.id] = active
        self._open_ids = self._open_ids | {event.id}
        return active

    def _remember(self, camera: _Camera, row: _Row) -> None:
        recent = camera.recent
        if recent and row[1] < recent[-1][1]:
            recent.clear()  # a new time base
        recent.append(row)
        begin = row[1] - self._spec.pre_roll_seconds - camera.watch.policy.min_duration_seconds - _LAG_SECONDS
        while recent[0][1] < begin:
            recent.popleft()

    def _draw(self, camera: _Camera, active: _Active) -> None:
        """Write a snapshot if the peak has risen."""
        peak, now = camera.peak, self._clock()
        if peak is None or peak.score.score <= active.drawn:
            return
        if now - active.drawn_at < SNAPSHOT_SECONDS and active.event.state == "open":
            return
        active.drawn, active.drawn_at = peak.score.score, now
        path = self._folder_of(active) / SNAPSHOT
        kind = camera.watch.model.bundle.manifest.score.kind
        active.snapshot = _Snapshot(path, peak, active.event, active.policy, kind)
        self.writer.put(active.snapshot, key=path)
        color = path.with_name(f".{PICTURE}-{peak.frame.index}.jpg")
        camera.watch.source.picture(f"{active.event.id}/{color.name}", color, peak.frame.pts_seconds)

    def _complete(self, camera: _Camera, active: _Active) -> None:
        del camera.active[active.event.id]
        camera.last = active
        for clip in active.clips:
            if not clip.is_done:
                clip.is_done, clip.reason = True, "unknown"
        self._put_rows(active)
        self._put_record(active, is_complete=True)
        self._open_ids = self._open_ids - {active.event.id}

    def _put_rows(self, active: _Active) -> None:
        if active.rows:
            rows, active.rows = tuple(active.rows), []
            self.writer.put(_Rows(self._folder_of(active) / TRACE, rows))

    def _put_record(self, active: _Active, *, is_complete: bool = False) -> None:
        folder = self._folder_of(active)
        clips = tuple((clip.name, clip.reason) for clip in active.clips)
        self.writer.put(_Record(folder, active.event, active.policy, clips, is_complete), key=folder / RECORD)

    def _folder_of(self, active: _Active) -> Path:
        return event_folder(self._spec.folder, active.event.camera, active.event.id)

    def _continue_clip(self, camera: _Camera, active: _Active) -> None:
        """Begin a clip of an open event, or continue the one whose end was known."""
        if active.clips and (not active.clips[-1].is_done or active.event.reason != "reopened"):
            if active.event.reason == "reopened":
                self._record(camera, active, active.clips[-1], None)
            return
        if len(active.clips) >= MAX_CLIPS:
            return
        clip = _ClipState(CLIP if not active.clips else f"{CLIP}-{len(active.clips) + 1}")
        active.clips.append(clip)
        self._record(camera, active, clip, None)

    def _end_clip(self, camera: _Camera, active: _Active) -> None:
        ended = active.event.ended_pts_seconds
        if active.clips and ended is not None and not active.clips[-1].is_done:
            self._record(camera, active, active.clips[-1], ended + self._spec.post_roll_seconds)

    def _record(self, camera: _Camera, active: _Active, clip: _ClipState, until: float | None) -> None:
        begin = active.event.started_pts_seconds if clip.name == CLIP else active.event.updated_pts_seconds
        since = begin - self._spec.pre_roll_seconds
        path, id = self._folder_of(active) / clip.name, f"{active.event.id}/{clip.name}"
        is_new, clip.is_begun, clip.until = not clip.is_begun, True, until
        if self._low_disk and until is None:
            clip.is_done, clip.reason = True, "low_disk_space"
        elif is_new and camera.second is not None and camera.second.record(id, path, since, until):
            clip.second = camera.second
            return
        elif clip.second is not None and clip.second.record(id, path, since, until):
            return
        elif not camera.watch.source.record(id, path, since, until):
            clip.is_done, clip.reason = True, clip.reason or "no_packets"
        else:
            return
        if clip.reason == "low_disk_space":
            self._on_outcome("dropped", 1, clip.reason)

    def _take_clips(self, camera: _Camera) -> None:
        second = camera.second
        for message in () if second is None else second.source.clips():
            self._take_clip(camera, message, second)
        for message in camera.watch.source.clips():
            self._take_clip(camera, message, None)

    def _take_color(self, active: _Active | None, message: dict[str, Any]) -> None:
        """Draw the snapshot again, in color, if it is still of this frame."""
        if message["path"] is None:
            return
        path = Path(message["path"])
        known = None if active is None else active.snapshot
        is_newest = known is not None and path.name == f".{PICTURE}-{known.peak.frame.index}.jpg"
        self.writer.put(replace(known, color=path) if known is not None and is_newest else _Unused(path), key=path)

    def _take_clip(self, camera: _Camera, message: dict[str, Any], second: SecondStream | None) -> None:
        event, _, name = message["id"].partition("/")
        reason = message["reason"]
        active = camera.active.get(event)
        if name.startswith(f".{PICTURE}"):
            self._take_color(active, message)
            return
        for clip in () if active is None else active.clips:
            if clip.name != name or clip.second is not second:
                continue
            if second is not None and message["path"] is None and active is not None:
                _log.warning(
                    "camera %s: clip of event %s is of the stream that is watched: %s", second.camera, event, reason
                )
                clip.second = None
                self._record(camera, active, clip, clip.until)
                return
            clip.is_done, clip.reason = True, reason
        if message["path"] is not None:
            self._on_outcome("written", 1, "")
        elif reason not in _NO_CLIP:
            self._on_outcome("failed", 1, str(reason))
            _log.error("camera %s: no clip of event %s: %s", camera.watch.spec.id, event, reason)

    # The methods below run on the writer's thread.

    def _write(self, tasks: Sequence[_Task]) -> None:
        for task in tasks:
            task.write()

    def _look_after(self) -> None:
        self._low_disk = self._is_low()
        if not self._owns_folder:
            return
        if not self._is_recovered:
            self._recover()
            self._is_recovered = True
        oldest = self._wall_clock() - timedelta(days=self._spec.keep_days) if self._is_steady() else None
        removed = remove_old(
            self._spec.folder,
            max_bytes=self._spec.max_gigabytes * 1e9,
            oldest=oldest,
            keep=self._open_ids,
            sizes=self._sizes,
        )
        if removed:
            _log.info("evidence %s: removed that of %d old events", self._spec.folder, len(removed))

    def _is_steady(self) -> bool:
        """Whether the wall clock has not been set for a while."""
        wall, since = self._steady_since
        now, clock = self._wall_clock(), self._clock()
        if abs((now - wall).total_seconds() - (clock - since)) > MAX_CLOCK_STEP_SECONDS:
            _log.warning("evidence %s: the clock was set; no evidence is removed by age for an hour", self._spec.folder)
            self._steady_since = now, clock
            return False
        return clock - since >= STEADY_SECONDS

    def _recover(self) -> None:
        """Complete what a process that died left."""
        for folder in event_folders(self._spec.folder):
            if folder.name in self._open_ids:
                continue
            for picture in folder.glob(f".{PICTURE}-*.jpg"):
                picture.unlink(missing_ok=True)
            is_cut = _complete_parts(folder)
            try:
                record = read_json(folder / RECORD, _MAX_RECORD_BYTES)
                if record["is_complete"]:
                    continue
                event = Event.from_json(json.dumps(record["event"]))
            except (OSError, ValueError, KeyError, TypeError):
                continue  # no record, or one of somebody else: what exists is evidence anyway
            files = [path.name for path in evidence_of(self._spec.folder, event.camera, event.id).files]
            clips = [
                {"file": name, "reason": "process_died" if name in is_cut else None}
                for name in files
                if name.startswith(CLIP)
            ]
            ended = interrupted(event) if event.state == "open" else event
            write_json(
                folder / RECORD,
                {
                    **record,
                    "is_complete": True,
                    "event": ended.to_dict(),
                    "clips": clips or [{"file": None, "reason": "process_died"}],
                    "files": [name for name in files if name != RECORD],
                },
            )

    def _is_low(self) -> bool:
        with suppress(FileNotFoundError):
            return shutil.disk_usage(self._spec.folder).free < self._spec.min_free_gigabytes * 1e9
        return False


def draw_snapshot(
    frame: Frame,
    score: FrameScore,
    event: Event,
    policy: AlertPolicy,
    score_kind: str,
    pixels: npt.NDArray[np.uint8] | None = None,
) -> bytes:
    """Draw a frame with its anomaly map, the box of its highest location, score and time; returns a JPEG.

    Args:
        frame: The frame at the peak.
        score: Its score.
        event: The event.
        policy: The alert policy.
        score_kind: How the model's score follows from its locations (`Manifest.score.kind`).
        pixels: (H, W, 3) uint8 RGB, the same frame in color. Default: the frame as it was scored, in gray.
    """
    low, high = map_scale(score, policy, score_kind)
    moment = event.started_at + timedelta(seconds=frame.pts_seconds - event.started_pts_seconds)
    picture = draw_overlay(
        frame.pixels if pixels is None else pixels,
        anomaly_map=score.anomaly_map if score.boxes is not None else None,
        boxes=score.boxes,
        scale=(low, high),
        alert=True,
        score_text=f"{number(policy.display_score(score.score))} / {number(policy.display_score(policy.threshold))}",
        score=score.score,
        threshold=policy.threshold,
        camera=score.camera,
    )
    if score.boxes is not None and score.peak is not None:
        x0, y0, x1, y1 = score.boxes.scaled(frame.shape).box(*score.peak)
        thickness = max(2, frame.shape[0] // 240)
        cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), ALERT_RED, thickness)
    picture = with_footer(picture, f"{moment:%Y-%m-%d %H:%M:%S} UTC")
    try:
        ok, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    except cv2.error as error:  # JPEG's sides end at 65,535 pixels
        raise OSError(errno.EFBIG, "the picture is too large for a JPEG") from error
    if not ok:
        raise OSError(errno.EIO, "the picture could not be encoded")
    return data.tobytes()


def _take_picture(path: Path, shape: tuple[int, int]) -> npt.NDArray[np.uint8] | None:
    """Read and remove a decoder's picture; None unless it is one of this size."""
    try:
        data = read_bytes(path)
    except (OSError, ValueError):
        return None
    path.unlink(missing_ok=True)
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if picture is None or picture.shape[:2] != shape:
        return None
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def calibration_sha256(calibration: Calibration) -> str:
    """SHA-256 of a calibration's content: its JSON document with sorted keys, and its per-location statistics."""
    document = json.dumps(calibration.to_json(), sort_keys=True, separators=(",", ":"))
    local = "" if calibration.local is None else calibration.local.sha256
    return hashlib.sha256((document + local).encode()).hexdigest()


def map_scale(score: FrameScore, policy: AlertPolicy, score_kind: str) -> tuple[float, float]:
    """Raw scores (low, high) between which locations are tinted, as in annotated videos."""
    if policy.per_location is not None or score_kind == "top_cells":
        low = policy.baseline
        return low, max(low + 1e-3, low + 1.5 * (policy.threshold - low))
    known = np.empty(0) if score.anomaly_map is None else score.anomaly_map[np.isfinite(score.anomaly_map)]
    low, high = (float(np.median(known)), float(known.max())) if known.size else (0.0, 1.0)
    return low, max(high, low + 1e-6)


def _complete_parts(folder: Path) -> set[str]:
    """Complete the clips that a dead process was writing; returns their names."""
    from streamad.sources.recording import PART, complete_part

    completed = (complete_part(part) for part in folder.glob(f"*{PART}"))
    return {path.name for path in completed if path is not None}


def _line(row: _Row) -> str:
    index, pts_seconds, score, threshold, skipped = row
    shown = f"{score:.6g}" if math.isfinite(score) else ""
    return f"{index},{pts_seconds:.6f},{shown},{threshold:.6g},{skipped}\n"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
