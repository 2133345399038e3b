"""QualityGate: decides, frame by frame and causally, whether a camera's picture can be scored."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from streamad.frame import Frame, FrameFlags, UInt8Image
from streamad.sources.quality.freeze import FreezeDetector
from streamad.sources.quality.measures import Look, Pixels, Plane, Usual, agreement, averaged, correlation, look_at
from streamad.sources.quality.reference_view import Placement, ReferenceView
from streamad.sources.quality.spec import QualityReason, QualitySpec

SMALLEST = 48
"""Frames with a shorter side are not judged: there is no place to recognize in them."""
SLENDEREST = 20
"""Nor are those whose sides differ by more than this factor: the small picture would have a few rows."""

CORRUPT, KEY = int(FrameFlags.CORRUPT), int(FrameFlags.KEY)

CHECK_SECONDS, SLACK_SECONDS = 0.2, 1e-6
LEVEL_CHANGE = 0.03
"""While all is well a frame is looked at this often, and as soon as its mean gray level changes by more than 3 %; every
frame is held against the one before, for frozen pictures. Source: our choice."""

SAMPLE_SECONDS = 0.5
USUAL_SAMPLES = 600
"""Five minutes of samples are what is usual: long for a cloud, short for a sunset."""
KNOWN_SAMPLES = 6
"""Something is known of a camera after three seconds."""

LONGEST_STEP_SECONDS = 1.0
"""Longer steps of the clock, and those back, are gaps: they count as one frame at 25 frames a second."""

NOTHING = 2.0
"""Contrast under which a picture shows nothing, gray levels: that is the noise of a sensor. Known without a past."""
SOFT, FLAT = 0.4, 0.3
"""Sharpness under this share of the camera's low usual one: out of focus, and without structure. Crowds, cars and light
keep it over 0.8 on all video at hand."""
DIM, GLARING = 16, 250
"""Gray levels that are black, and white, for whoever looks at them."""
SHARE_RISE = 0.3
LEAST_SHARE = 0.6
"""Black or white on this share of the picture, and on so much more of it than usual."""
SAME = 0.6
"""Correlation of gray levels from which an unsharp picture still shows its place."""
ADAPT_SECONDS = 60.0
"""A picture that is much darker or lighter than usual with the place in it, or in which part of the place looks another
way (a parked lorry), is the new usual after this."""

LIGHT_BLOCKS = (8, 6)
LIGHT_OFFSET = 8.0
"""Gray levels added before the logarithm, so that noise of dark blocks is no change of light."""
LIGHT_SETTLED = 0.5
LONGEST_LIGHT_SECONDS = 10.0
SAME_EDGES = 0.5
"""A change of light leaves the edges; a lorry that fills the view does not."""

BLUR_SECONDS = 2.0
RELEASE_SECONDS, SETTLE_SECONDS = 0.5, 1.0
"""A picture that was empty, or displaced, is good after so long without."""
STEADY_PIXELS = 1.5
"""A displaced picture whose shift stays within this is one that has moved; one whose shift wanders is shaken."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says of a frame.

    Attributes:
        reason: why it is held back; None where it is good.
        shift: (across, down) of a displaced picture, shares of its width and height; None where it is in place.
    """

    reason: QualityReason | None = None
    shift: tuple[float, float] | None = None


GOOD = Verdict()


class QualityGate:
    """The gate of one camera.

    All thresholds but that of an empty picture are relative to what the camera itself showed in the last minutes, in
    frames that were good. A frame at fault is held back at once; frozen and moved pictures, which only time tells from
    still and busy ones, after their span. Source: our choice; the parts are named where they stand.

    Args:
        spec: what is looked for.
        reference: (h, w) uint8 picture of the place from an earlier run (`reference`), None where there is none.
    """

    def __init__(self, spec: QualitySpec | None = None, *, reference: UInt8Image | None = None) -> None:
        self.spec = spec or QualitySpec()
        self._remembered = reference
        self._shape: tuple[int, int] | None = None
        self._unchecked = 0.0
        self._last_pts: float | None = None
        self._begin_anew()

    @property
    def reference(self) -> UInt8Image | None:
        """(h, w) uint8: the place as it usually looks, about 160 pixels across; None before it is known."""
        return self._place.picture

    @property
    def is_other_place(self) -> bool:
        """Whether the picture of an earlier run was not recognized, and left aside."""
        return self._place.is_other_place

    def check(self, frame: Frame) -> Verdict:
        """Judge the next frame of the camera."""
        if not self.spec.enabled:
            return GOOD
        shorter, longer = sorted(frame.shape)
        if shorter < SMALLEST or longer > SLENDEREST * shorter:
            is_corrupt = int(frame.flags) & CORRUPT and "corrupt" not in self.spec.ignore
            return Verdict("corrupt") if is_corrupt else GOOD
        if frame.shape != self._shape:
            if self._shape is not None:
                self._begin_anew()
            self._shape = frame.shape
        elapsed = self._advance(frame)
        flags = int(frame.flags)  # a plain number: operators of flags take ten times as long
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
        look = look_at(pixels.sample)
        placement = self._place.locate(look)
        empty = self._emptiness(look, elapsed)
        if empty is not None:
            placement = Placement(placement.agreement)  # nothing is seen, so nothing of where
        found: tuple[QualityReason | None, ...] = (
            empty,
            "frozen" if frozen else None,
            self._light(look),
            self._displacement(placement),
            self._softness(look),
        )
        reason = next((r for r in found if r is not None and r not in self.spec.ignore), None)
        suspect = self._is_suspect(placement, elapsed)
        self._calm = reason is None and not suspect
        if self._calm:
            self._learn(look, placement, elapsed)
        if reason is None:
            return GOOD
        return Verdict(reason, self._relative(placement, look) if reason in ("moved", "shaken") else None)

    def _is_calm(self, level: float) -> bool:
        """Whether the frame need not be looked at: the last one was good, a moment ago, and as light as this one."""
        return (
            self._calm
            and self._unchecked < CHECK_SECONDS - SLACK_SECONDS
            and abs(level - self._level) <= max(2.0, LEVEL_CHANGE * self._level)
        )

    def _begin_anew(self) -> None:
        """Another picture size: nothing that was learned holds."""
        self._now = 0.0
        self._freeze = FreezeDetector(self.spec.freeze_seconds)
        self._place = ReferenceView(USUAL_SAMPLES, KNOWN_SAMPLES)
        if self._remembered is not None:
            self._place.remember(self._remembered)
            self._remembered = None
        self._usual = {
            name: Usual(USUAL_SAMPLES, KNOWN_SAMPLES) for name in ("contrast", "sharpness", "dark", "light", "change")
        }
        self._sampled_at = -math.inf
        self._calm, self._level = False, 0.0
        self._empty_until = -math.inf
        self._adapting = 0.0
        self._break_off()

    def _break_off(self) -> None:
        """The stream broke off: what compares neighboring frames starts anew, what is known of the camera stays."""
        self._freeze.reset()
        self._past: deque[tuple[float, npt.NDArray[np.float32], Plane]] = deque()
        self._light_since: float | None = None
        self._light_until = -math.inf
        self._change = 0.0
        self._soft_since: float | None = None
        self._odd = 0.0
        self._calm = False
        self._seen: deque[tuple[float, Placement]] = deque()
        self._displaced_since: float | None = None
        self._displaced_at = -math.inf

    def _advance(self, frame: Frame) -> float:
        """Move the gate's own clock, which stands still across gaps; seconds since the frame before."""
        before, self._last_pts = self._last_pts, frame.pts_seconds
        step = 0.04 if before is None else frame.pts_seconds - before
        if frame.is_discontinuity or not 0 < step <= LONGEST_STEP_SECONDS:
            if before is not None and (frame.is_discontinuity or step <= 0):
                self._break_off()
            step = 0.04
        self._now += step
        return step

    def _emptiness(self, look: Look, elapsed: float) -> QualityReason | None:
        """Dark, washed out, covered: the picture shows nothing, or nothing of what it usually shows."""
        usual = self._usual
        if look.contrast < NOTHING:
            self._adapting = 0.0
            return self._empty(look)
        if not usual["sharpness"].is_known:
            return None
        slack = 1.25 if self._now < self._empty_until else 1.0
        dark, light = _shares(look.thumb)
        is_dark = dark >= max(LEAST_SHARE, usual["dark"].quantile(0.95) + SHARE_RISE) / slack
        is_light = light >= max(LEAST_SHARE, usual["light"].quantile(0.95) + SHARE_RISE) / slack
        is_flat = look.sharpness < FLAT * slack * usual["sharpness"].quantile(0.05) and not self._shows_place(look)
        if not (is_dark or is_light or is_flat):
            self._adapting = 0.0
            return None
        if not is_flat and self._shows_place(look):
            # The place is still seen, in another light: that is no fault for ever.
            self._adapting += elapsed
            if self._adapting > ADAPT_SECONDS:
                for known in usual.values():
                    known.clear()
                self._adapting = 0.0
                return None
        return self._empty(look)

    def _empty(self, look: Look) -> QualityReason:
        self._empty_until = self._now + RELEASE_SECONDS
        dark, light = _shares(look.thumb)
        if dark >= LEAST_SHARE or look.mean < 2 * DIM:
            return "dark"
        return "washed_out" if light >= LEAST_SHARE or look.mean > 255 - 2 * DIM else "covered"

    def _shows_place(self, look: Look) -> bool:
        """Whether the gray levels, however soft or dim, are those of the place."""
        mean = self._place.mean
        return mean is not None and mean.shape == look.thumb.shape and correlation(look.thumb, mean) >= SAME

    def _softness(self, look: Look) -> QualityReason | None:
        """Blurred: the gray levels are those of the place, and the edges are gone."""
        usual = self._usual["sharpness"]
        is_soft = (
            usual.is_known
            and look.sharpness < SOFT * usual.quantile(0.05)
            and look.contrast >= 0.5 * self._usual["contrast"].quantile(0.05)
            and self._shows_place(look)
        )
        if not is_soft:
            self._soft_since = None
            return None
        self._soft_since = self._now if self._soft_since is None else self._soft_since
        return "blurred" if self._now - self._soft_since >= BLUR_SECONDS else None

    def _light(self, look: Look) -> QualityReason | None:
        """A sudden change of light everywhere, against the picture a second ago."""
        blocks = np.log(averaged(look.thumb.astype(np.float32), LIGHT_BLOCKS) + np.float32(LIGHT_OFFSET))
        while len(self._past) > 1 and self._past[1][0] <= self._now - 1.0:
            self._past.popleft()
        change, same = 0.0, False
        if self._past:
            ordered = np.sort((blocks - self._past[0][1]).ravel())
            change = float(max(ordered[ordered.size // 4], -ordered[-1 - ordered.size // 4], 0.0))
            limit = math.log1p(self.spec.light_change)
            if self._usual["change"].is_known:
                limit = max(limit, 2 * self._usual["change"].quantile(0.95))
            if self._light_since is not None:
                limit *= LIGHT_SETTLED
            if change >= limit:
                same = agreement(look.edges, self._past[0][2]) >= SAME_EDGES
        if not self._past or self._now - self._past[-1][0] >= 0.25:
            self._past.append((self._now, blocks.astype(np.float32), look.edges))
        self._change = change
        if same:
            self._light_since = self._now if self._light_since is None else self._light_since
            if self._now - self._light_since > LONGEST_LIGHT_SECONDS:
                return None
            self._light_until = self._now + RELEASE_SECONDS
        elif self._now >= self._light_until:
            self._light_since = None
        return "light" if self._now < self._light_until else None

    def _displacement(self, placement: Placement) -> QualityReason | None:
        """Shaken or moved: the place is elsewhere in the picture, or not in it."""
        now, span = self._now, self.spec.moved_seconds
        self._seen.append((now, placement))
        while self._seen[0][0] < now - span:
            self._seen.popleft()
        if placement.shift is not None or placement.is_lost:
            self._displaced_at = now
            self._displaced_since = now if self._displaced_since is None else self._displaced_since
        elif now - self._displaced_at >= (span if placement.is_odd else SETTLE_SECONDS):
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
        """Whether nothing is to be learned from a frame that is not held back, since it may yet prove at fault."""
        if placement.shift is not None or placement.is_lost or self._soft_since is not None:
            return True
        self._odd = self._odd + elapsed if placement.is_odd else 0.0
        return 0 < self._odd <= ADAPT_SECONDS

    def _relative(self, placement: Placement, look: Look) -> tuple[float, float] | None:
        if placement.shift is None:
            return None
        height, width = look.thumb.shape
        return placement.shift[0] / width, placement.shift[1] / height

    def _learn(self, look: Look, placement: Placement, elapsed: float) -> None:
        self._place.learn(look, elapsed)
        if self._now - self._sampled_at < SAMPLE_SECONDS:
            return
        self._sampled_at = self._now
        dark, light = _shares(look.thumb)
        taken = {"contrast": look.contrast, "sharpness": look.sharpness, "change": self._change}
        taken |= {"dark": dark, "light": light}
        for name, value in taken.items():
            self._usual[name].add(value)
        self._place.sample(look, placement)


def _shares(thumb: UInt8Image) -> tuple[float, float]:
    """Shares of black and of white pixels."""
    size = thumb.size
    dark = size - cv2.countNonZero(cv2.threshold(thumb, DIM, 255, cv2.THRESH_BINARY)[1])
    light = cv2.countNonZero(cv2.threshold(thumb, GLARING - 1, 255, cv2.THRESH_BINARY)[1])
    return dark / size, light / size
