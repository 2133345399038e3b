"""Recalibrate on the recent scores of a running monitor; no video is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from streamad.alerts.tracker import EventChange
from streamad.bundle import Bundle, combined_sha256
from streamad.calibration import AlertPolicySpec, Calibration, calibrate_bundle
from streamad.calibration.false_alarms import FalseAlarm
from streamad.calibration.score_history import HistoryBlock, HistorySpec, RecentScores, ScoreHistory, read_history
from streamad.errors import CalibrationError, UsageError
from streamad.live.camera import CameraWatch
from streamad.scoring import FrameScore
from streamad.writing import BackgroundWriter, Outcome
from streamad.zones import ZoneSpec, zones_sha256

LEAST_SECONDS = 1800.0
"""Minimum scored time to calibrate on: half an hour contains a few of the peaks that thresholds are derived from."""

MUCH_ALERT = 0.01
"""If alerts take up a larger share of the time, a note warns that limiting their scores may hide a change."""


def scores_sha256(bundle: Bundle, calibration: Calibration | None, zones: Sequence[ZoneSpec] = ()) -> str:
    """Identify the source of scores: the model, the per-location statistics that they are relative to, the zones."""
    parts = [combined_sha256(bundle)]
    if calibration is not None and calibration.local is not None:
        parts.append(calibration.local.sha256)
    if zones:
        parts.append(f"zones:{zones_sha256(zones)}")
    return "+".join(parts)


class ScoreHistoryRecorder:
    """Keeps the recent scores of all cameras of a monitor.

    Args:
        spec: Folder of the histories, and how many hours to keep.
        wall_clock: Returns the current time as an aware datetime.
        on_outcome: See `BackgroundWriter`.
    """

    def __init__(
        self,
        spec: HistorySpec,
        wall_clock: Callable[[], datetime],
        *,
        on_outcome: Callable[[Outcome, int, str], None] | None = None,
    ) -> None:
        self._spec = spec
        self._wall_clock = wall_clock
        self.writer = BackgroundWriter[HistoryBlock]("history", _write, on_outcome=on_outcome)
        self._histories: dict[str, ScoreHistory] = {}
        self._sources: dict[str, tuple[Bundle, tuple[ZoneSpec, ...], str | None]] = {}

    def on_score(self, camera: CameraWatch, score: FrameScore) -> None:
        """Record a frame's score. Call after the frame's events were reported."""
        if self._spec.hours <= 0:
            return
        name = camera.spec.id
        bundle, zones, profile = camera.model.bundle, camera.session.zones, camera.profile
        known = self._sources.get(name)
        if known is None or known[0] is not bundle or known[1:] != (zones, profile):
            if name in self._histories:
                self._histories[name].close()  # its scores belong to another model, to other zones or hours
            self._sources[name] = bundle, zones, profile
            owner = scores_sha256(bundle, camera.policy.calibration, zones)
            if profile is not None:
                owner += f"+profile:{profile}"
            self._histories[name] = ScoreHistory(
                self._spec.folder, name, owner, hours=self._spec.hours, wall_clock=self._wall_clock, put=self.writer.put
            )
        self._histories[name].set_threshold(camera.policy.threshold)
        self._histories[name].add(
            score.index, score.pts_seconds, score.score,
            alert=camera.open_event is not None, skipped=score.skipped_reason is not None or not camera.is_active,
        )  # fmt: skip

    def on_event(self, change: EventChange) -> None:
        """Mark the frames of an opened or reopened event as alert frames, from the start of its rise."""
        history = self._histories.get(change.event.camera)
        if history is not None and (change.kind == "opened" or change.event.reason == "reopened"):
            history.mark_alert(change.event.started_index)

    def forget(self, camera: str) -> None:
        """A camera is no longer watched: write its waiting scores."""
        self._sources.pop(camera, None)
        if (history := self._histories.pop(camera, None)) is not None:
            history.close()

    def close(self) -> None:
        """Write the waiting scores if possible."""
        for history in self._histories.values():
            history.close()
        self.writer.close()


def _write(blocks: Sequence[HistoryBlock]) -> None:
    for block in blocks:
        block.write()


def seconds_of(text: str) -> float:
    """Convert a duration such as 90m, 24h or 3d to seconds.

    Raises:
        UsageError: The text is not a valid duration.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*", text)
    value = float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[found[2]] if found else 0.0
    if value <= 0:
        raise UsageError(f"{text!r} is not a valid duration", hint="use 90m, 24h or 3d")
    return value


def only_camera(folder: Path) -> str:
    """Return the id of the only camera in a history folder.

    Raises:
        CalibrationError: The folder holds the scores of no camera, or of several.
    """
    names = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    if len(names) == 1:
        return names[0]
    raise CalibrationError(
        f"{folder} holds the recent scores of {', '.join(names) if names else 'no camera'}",
        hint="name one with --camera" if names else "`streamad run` keeps them; give --history",
    )


def calibrate_on_recent(
    bundle: Bundle,
    old: Calibration | None,
    *,
    folder: Path,
    camera: str,
    now: datetime,
    recent_seconds: float,
    least_seconds: float = LEAST_SECONDS,
    keep_alerts: bool = False,
    false_alarms: Sequence[FalseAlarm] = (),
    alerts_per_day: float | None = None,
    rules: AlertPolicySpec | None = None,
    zones: Sequence[ZoneSpec] = (),
) -> tuple[Calibration, RecentScores]:
    """Calibrate on a camera's recent scores.

    Args:
        bundle: The model.
        old: The calibration that was active when the scores were recorded; None if there was none.
        folder: Folder of the score histories.
        camera: The camera's id.
        now: Current time, an aware datetime.
        recent_seconds: How far back to use scores, seconds.
        least_seconds: Minimum scored time, seconds.
        keep_alerts: Use the scores of alerts in full, as normal ones. Default: they count only up to the threshold that
            was active.
        false_alarms: Alerts whose scores are used in full.
        alerts_per_day: Budget of false alerts. Default: the old calibration's, or 1.
        rules: The alert policy that will run. Default: the old calibration's.
        zones: The camera's zones; scores that were made with others are left out.

    Returns:
        The calibration, and the scores that it is based on.

    Raises:
        CalibrationError: There are no matching scores, or too few.
    """
    try:
        since = now - timedelta(seconds=recent_seconds)
    except OverflowError:  # before year 1: use all scores
        since = datetime.min.replace(tzinfo=UTC)
    recent = read_history(
        folder,
        camera,
        scores_sha256(bundle, old, zones),
        since=since,
        keep_alerts=keep_alerts,
        false_alarms=false_alarms,
    )
    seconds = recent.frames / recent.fps
    if seconds < least_seconds:
        raise CalibrationError(
            f"{seconds / 60:.1f} minutes of scores are too little to calibrate on, at least {least_seconds / 60:.0f} "
            f"are wanted (left out: {recent.alert_frames} frames of alerts, {recent.skipped_frames} without a score)",
            hint="let `streamad run` watch on, reach further back with --recent, or lower --at-least",
        )

    calibration = calibrate_bundle(
        bundle,
        recent.clips,
        fps=recent.fps,
        source=f"camera {camera}, {seconds / 3600:.2g} h of its scores since "
        f"{recent.since.isoformat(timespec='minutes') if recent.since else '?'}",
        alerts_per_day=alerts_per_day or (1.0 if old is None else old.alerts_per_day),
        rules=rules or (None if old is None else old.rules),
        created=now,
        local=None if old is None else old.local,
        ceilings=recent.ceilings,
        zones=zones,
    )
    return calibration, recent


def notes_on(recent: RecentScores) -> list[str]:
    """Return notes for the operator about the scores that were limited or ignored."""
    notes = []
    if recent.false_alarm_frames:
        notes.append(
            f"{recent.false_alarm_frames / recent.fps:.1f} s of alerts that are marked as false alarms count in full"
        )
    total = recent.frames + recent.alert_frames
    if recent.alert_frames > MUCH_ALERT * total:
        notes.append(
            f"{recent.alert_frames / total:.1%} of the time was under an alert, whose height is left out; if those "
            "alerts were false, they are part of the new normal: mark them (`streamad events mark`), or calibrate with "
            "--keep-alerts"
        )
    if recent.other_models:
        notes.append(f"{recent.other_models} files hold scores of another model or calibration and were left out")
    return notes


def keep_previous(path: Path) -> Path | None:
    """Copy the calibration at `path` to NAME.previous.json in the same folder, and return that path.

    Returns None if there is no calibration at `path`.

    Raises:
        OutputError: The copy cannot be written.
    """
    if not path.exists():
        return None
    backup = path.with_name(f"{path.stem}.previous{path.suffix}")
    Calibration.load(path).save(backup)
    return backup
