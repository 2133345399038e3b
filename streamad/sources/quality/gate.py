"""QualityGate: decides causally, frame by frame, whether a camera's picture can be scored."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from streamad.frame import Frame, FrameFlags, UInt8Image
from streamad.sources.quality import QualityReason, QualitySpec
from streamad.sources.quality.freeze import FreezeDetector
from streamad.sources.quality.measures import (
    FrameMeasures,
    Pixels,
    Plane,
    RollingQuantiles,
    agreement,
    area_average,
    correlation,
    measure,
)
from streamad.sources.quality.reference_view import Placement, ReferenceView

MIN_SIDE = 48
"""Minimum length of a frame's shorter side, pixels. Smaller frames are not checked: their view cannot be recognized."""
MAX_ASPECT = 20
"""Maximum aspect ratio. Frames beyond it are not checked: the downscaled picture would have only a few rows."""

CORRUPT, KEY = int(FrameFlags.CORRUPT), int(FrameFlags.KEY)

CHECK_SECONDS, SLACK_SECONDS = 0.2, 1e-6
LEVEL_CHANGE = 0.03
"""While all is well, a frame is checked this often, and as soon as its mean gray level changes by more than 3 %. Every
frame is compared with the previous one to detect frozen pictures. Chosen without measurement."""

SAMPLE_SECONDS = 0.5
USUAL_SAMPLES = 600
"""Number of samples that define the usual state: five minutes, long for a cloud and short for a sunset."""
MIN_SAMPLES = 6
"""Number of samples from which statistics are used: three seconds."""

MAX_STEP_SECONDS = 1.0
"""Longer steps of the clock, and backward ones, are gaps. They count as one frame at 25 frames per second."""

MIN_CONTRAST = 2.0
"""Contrast below which a picture shows nothing, gray levels: the level of sensor noise. Needs no history."""
SOFT_SHARPNESS, FLAT_SHARPNESS = 0.4, 0.3
"""Sharpness, as shares of the camera's low usual sharpness, below which a picture is out of focus and without
structure. Crowds, cars and light keep it above 0.8 on all available video."""
BLACK_LEVEL, WHITE_LEVEL = 16, 250
"""Gray levels up to which pixels look black, and from which they look white."""
MIN_SHARE_RISE = 0.3
MIN_SHARE = 0.6
"""Minimum share of black or white pixels, and minimum increase over the usual share."""
MIN_VIEW_CORRELATION = 0.6
"""Correlation of gray levels from which an unsharp picture still shows the usual view."""
ADAPT_SECONDS = 60.0
"""After this time, a picture that still shows the view becomes the new normal although it is much darker or lighter
than usual, or part of it looks different (a parked truck)."""

LIGHT_BLOCKS = (8, 6)
LIGHT_OFFSET = 8.0
"""Gray levels added before the logarithm, so that noise in dark blocks does not count as a change of light."""
LIGHT_SETTLED = 0.5
MAX_LIGHT_SECONDS = 10.0
MIN_EDGE_AGREEMENT = 0.5
"""A change of light preserves the edges; a truck that fills the view does not."""

BLUR_SECONDS = 2.0
RELEASE_SECONDS, SETTLE_SECONDS = 0.5, 1.0
"""A picture that was empty or displaced counts as good after this time without the fault."""
STEADY_PIXELS = 1.5
"""If the shift of a displaced picture varies by less than this, the camera has moved; if it varies more, it shakes."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's decision on a frame.

    Attributes:
        reason: Why the frame is rejected; None if it is good.
        shift: Shift (across, down) of a displaced picture, as shares of its width and height; None if not displaced.
    """

    reason: QualityReason | None = None
    shift: tuple[float, float] | None = None


GOOD = Verdict()


class QualityGate:
    """The quality gate of one camera.

    Except for the contrast of an empty picture, all thresholds are relative to the camera's own good frames of the last
    minutes. A faulty frame is rejected immediately; frozen and moved pictures, which only time distinguishes from still
    and busy scenes, after their configured durations. The thresholds were chosen by hand so that no normal frame of
    Ped2, Avenue and three fixed-camera videos is rejected; see docs/concepts/frame-quality.md.

    Args:
        spec: Which faults to detect.
        reference: (h, w) uint8 picture of the view from an earlier run (see `reference`); None if there is none.
    """

    def __init__(self, spec: QualitySpec | None = None, *, reference: UInt8Image | None = None) -> None:
        self.spec = spec or QualitySpec()
        self._remembered = reference
        self._shape: tuple[int, int] | None = None
        self._unchecked = 0.0
        self._last_pts: float | None = None
        self._reset()

    @property
    def reference(self) -> UInt8Image | None:
        """(h, w) uint8 picture of the usual view, about 160 pixels wide; None until it is known."""
        return self._reference_view.picture

    @property
    def is_other_view(self) -> bool:
        """Whether the picture of an earlier run was not recognized and therefore not used."""
        return self._reference_view.is_other_view

    def check(self, frame: Frame) -> Verdict:
        """Check the next frame of the camera."""
        if not self.spec.enabled:
            return GOOD
        shorter, longer = sorted(frame.shape)
        if shorter < MIN_SIDE or longer > MAX_ASPECT * shorter:
            is_corrupt = int(frame.flags) & CORRUPT and "corrupt" not in self.spec.ignore
            return Verdict("corrupt") if is_corrupt else GOOD
        if frame.shape != self._shape:
            if self._shape is not None:
                self._reset()
            self._shape = frame.shape
        elapsed = self._advance(frame)
        flags = int(frame.flags)  # a plain int: operators on flags take ten times as long
        if flags & CORRUPT and "corrupt" not in self.spec.ignore:
            self._freeze.reset()
            return Verdict("corrupt")
        pixels = Pixels(frame.pixels)
        frozen = self._freeze.update(pixels, self._now, is_key=bool(flags & KEY))
        level = float(cv2.mean(pixels.few)[0])
        self._unchecked += elapsed
        if not frozen and self._is_calm(level):
            return GOOD
        elapsed, self._unchecked, self._level = self._unchecked, 0.0, level
        measures = measure(pixels.sample)
        placement = self._reference_view.locate(measures)
        empty = self._emptiness(measures, elapsed)
        if empty is not None:
            placement = Placement(placement.agreement)  # an empty picture has no position
        found: tuple[QualityReason | None, ...] = (
            empty,
            "frozen" if frozen else None,
            self._light(measures),
            self._displacement(placement),
            self._softness(measures),
        )
        reason = next((r for r in found if r is not None and r not in self.spec.ignore), None)
        suspect = self._is_suspect(placement, elapsed)
        self._calm = reason is None and not suspect
        if self._calm:
            self._learn(measures, placement, elapsed)
        if reason is None:
            return GOOD
        return Verdict(reason, self._relative(placement, measures) if reason in ("moved", "shaken") else None)

    def _is_calm(self, level: float) -> bool:
        """Whether the checks can be skipped: the last frame was good, recent, and as light as this one."""
        return (
            self._calm
            and self._unchecked < CHECK_SECONDS - SLACK_SECONDS
            and abs(level - self._level) <= max(2.0, LEVEL_CHANGE * self._level)
        )

    def _reset(self) -> None:
        """Forget everything learned, because the picture size has changed."""
        self._now = 0.0
        self._freeze = FreezeDetector(self.spec.freeze_seconds)
        self._reference_view = ReferenceView(USUAL_SAMPLES, MIN_SAMPLES)
        if self._remembered is not None:
            self._reference_view.remember(self._remembered)
            self._remembered = None
        self._usual = {
            name: RollingQuantiles(USUAL_SAMPLES, MIN_SAMPLES)
            for name in ("contrast", "sharpness", "dark", "light", "change")
        }
        self._sampled_at = -math.inf
        self._calm, self._level = False, 0.0
        self._empty_until = -math.inf
        self._adapting = 0.0
        self._handle_gap()

    def _handle_gap(self) -> None:
        """Handle a gap in the stream: reset comparisons of neighboring frames, keep what is known of the camera."""
        self._freeze.reset()
        self._past: deque[tuple[float, npt.NDArray[np.float32], Plane]] = deque()
        self._light_since: float | None = None
        self._light_until = -math.inf
        self._change = 0.0
        self._soft_since: float | None = None
        self._unusual_seconds = 0.0
        self._calm = False
        self._seen: deque[tuple[float, Placement]] = deque()
        self._displaced_since: float | None = None
        self._displaced_at = -math.inf

    def _advance(self, frame: Frame) -> float:
        """Advance the gate's own clock, which stands still across gaps; return the seconds since the last frame."""
        before, self._last_pts = self._last_pts, frame.pts_seconds
        step = 0.04 if before is None else frame.pts_seconds - before
        if frame.is_discontinuity or not 0 < step <= MAX_STEP_SECONDS:
            if before is not None and (frame.is_discontinuity or step <= 0):
                self._handle_gap()
            step = 0.04
        self._now += step
        return step

    def _emptiness(self, measures: FrameMeasures, elapsed: float) -> QualityReason | None:
        """Detect dark, washed-out and covered pictures, which show nothing, or nothing of the usual view."""
        usual = self._usual
        if measures.contrast < MIN_CONTRAST:
            self._adapting = 0.0
            return self._empty(measures)
        if not usual["sharpness"].is_ready:
            return None
        slack = 1.25 if self._now < self._empty_until else 1.0
        dark, light = _shares(measures.thumb)
        is_dark = dark >= max(MIN_SHARE, usual["dark"].quantile(0.95) + MIN_SHARE_RISE) / slack
        is_light = light >= max(MIN_SHARE, usual["light"].quantile(0.95) + MIN_SHARE_RISE) / slack
        limit = FLAT_SHARPNESS * slack * usual["sharpness"].quantile(0.05)
        is_flat = measures.sharpness < limit and not self._shows_view(measures)
        if not (is_dark or is_light or is_flat):
            self._adapting = 0.0
            return None
        if not is_flat and self._shows_view(measures):
            # The view is still visible in different light, so adapt to it in time.
            self._adapting += elapsed
            if self._adapting > ADAPT_SECONDS:
                for known in usual.values():
                    known.clear()
                self._adapting = 0.0
                return None
        return self._empty(measures)

    def _empty(self, measures: FrameMeasures) -> QualityReason:
        self._empty_until = self._now + RELEASE_SECONDS
        dark, light = _shares(measures.thumb)
        if dark >= MIN_SHARE or measures.mean < 2 * BLACK_LEVEL:
            return "dark"
        return "washed_out" if light >= MIN_SHARE or measures.mean > 255 - 2 * BLACK_LEVEL else "covered"

    def _shows_view(self, measures: FrameMeasures) -> bool:
        """Whether the gray levels match the usual view, however soft or dim they are."""
        mean = self._reference_view.mean
        return (
            mean is not None
            and mean.shape == measures.thumb.shape
            and correlation(measures.thumb, mean) >= MIN_VIEW_CORRELATION
        )

    def _softness(self, measures: FrameMeasures) -> QualityReason | None:
        """Detect blur: the gray levels match the view, but the edges are gone."""
        usual = self._usual["sharpness"]
        is_soft = (
            usual.is_ready
            and measures.sharpness < SOFT_SHARPNESS * usual.quantile(0.05)
            and measures.contrast >= 0.5 * self._usual["contrast"].quantile(0.05)
            and self._shows_view(measures)
        )
        if not is_soft:
            self._soft_since = None
            return None
        self._soft_since = self._now if self._soft_since is None else self._soft_since
        return "blurred" if self._now - self._soft_since >= BLUR_SECONDS else None

    def _light(self, measures: FrameMeasures) -> QualityReason | None:
        """Detect a sudden change of light everywhere, relative to the picture a second ago."""
        blocks = np.log(area_average(measures.thumb.astype(np.float32), LIGHT_BLOCKS) + np.float32(LIGHT_OFFSET))
        while len(self._past) > 1 and self._past[1][0] <= self._now - 1.0:
            self._past.popleft()
        change, same = 0.0, False
        if self._past:
            ordered = np.sort((blocks - self._past[0][1]).ravel())
            change = float(max(ordered[ordered.size // 4], -ordered[-1 - ordered.size // 4], 0.0))
            limit = math.log1p(self.spec.light_change)
            if self._usual["change"].is_ready:
                limit = max(limit, 2 * self._usual["change"].quantile(0.95))
            if self._light_since is not None:
                limit *= LIGHT_SETTLED
            if change >= limit:
                same = agreement(measures.edges, self._past[0][2]) >= MIN_EDGE_AGREEMENT
        if not self._past or self._now - self._past[-1][0] >= 0.25:
            self._past.append((self._now, blocks.astype(np.float32), measures.edges))
        self._change = change
        if same:
            self._light_since = self._now if self._light_since is None else self._light_since
            if self._now - self._light_since > MAX_LIGHT_SECONDS:
                return None
            self._light_until = self._now + RELEASE_SECONDS
        elif self._now >= self._light_until:
            self._light_since = None
        return "light" if self._now < self._light_until else None

    def _displacement(self, placement: Placement) -> QualityReason | None:
        """Detect shaking and moved cameras: the view is displaced, or not in the picture at all."""
        now, span = self._now, self.spec.moved_seconds
        self._seen.append((now, placement))
        while self._seen[0][0] < now - span:
            self._seen.popleft()
        if placement.shift is not None or placement.is_lost:
            self._displaced_at = now
            self._displaced_since = now if self._displaced_since is None else self._displaced_since
        elif now - self._displaced_at >= (span if placement.is_unusual else SETTLE_SECONDS):
            self._displaced_since = None
        if self._displaced_since is None:
            return None
        shifts = [(at, seen.shift) for at, seen in self._seen if seen.shift is not None]
        if now - self._displaced_since >= span:
            spread = np.quantile([shift for _, shift in shifts], (0.1, 0.9), axis=0) if shifts else np.zeros((2, 2))
            steady = 2 * len(shifts) >= len(self._seen) and np.ptp(spread, axis=0).max() <= STEADY_PIXELS
            if steady or 2 * sum(seen.is_lost for _, seen in self._seen) >= len(self._seen):
                return "moved"
        return "shaken" if shifts and now - shifts[-1][0] < SETTLE_SECONDS else None

    def _is_suspect(self, placement: Placement, elapsed: float) -> bool:
        """Whether a frame that is not rejected may still prove faulty, so that nothing should be learned from it."""
        if placement.shift is not None or placement.is_lost or self._soft_since is not None:
            return True
        self._unusual_seconds = self._unusual_seconds + elapsed if placement.is_unusual else 0.0
        return 0 < self._unusual_seconds <= ADAPT_SECONDS

    def _relative(self, placement: Placement, measures: FrameMeasures) -> tuple[float, float] | None:
        if placement.shift is None:
            return None
        height, width = measures.thumb.shape
        return placement.shift[0] / width, placement.shift[1] / height

    def _learn(self, measures: FrameMeasures, placement: Placement, elapsed: float) -> None:
        self._reference_view.learn(measures, elapsed)
        if self._now - self._sampled_at < SAMPLE_SECONDS:
            return
        self._sampled_at = self._now
        dark, light = _shares(measures.thumb)
        taken = {"contrast": measures.contrast, "sharpness": measures.sharpness, "change": self._change}
        taken |= {"dark": dark, "light": light}
        for name, value in taken.items():
            self._usual[name].add(value)
        self._reference_view.sample(measures, placement)


def _shares(thumb: UInt8Image) -> tuple[float, float]:
    """Shares of black and white pixels."""
    size = thumb.size
    dark = size - cv2.countNonZero(cv2.threshold(thumb, BLACK_LEVEL, 255, cv2.THRESH_BINARY)[1])
    light = cv2.countNonZero(cv2.threshold(thumb, WHITE_LEVEL - 1, 255, cv2.THRESH_BINARY)[1])
    return dark / size, light / size
