"""The alert policy of a camera: from its calibration, or from a threshold that the user gives."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from streamad.bundle import CALIBRATION, Bundle, combined_sha256
from streamad.calibration import AlertPolicy, AlertPolicySpec, Calibration
from streamad.errors import CalibrationError
from streamad.zones import ZoneSpec, newly_watched

PREVIOUS = f"{Path(CALIBRATION).stem}.previous.json"
"""The calibration that `calibrate` replaced, kept beside the new one; see `keep_previous`."""

PUBLIC_DATA = re.compile(r"\b(ucsd|ped[12]|avenue|shanghaitech)\b", re.IGNORECASE)
"""Public data sets that shipped models were trained on, which are never the user's camera."""

_log = logging.getLogger(__name__)


def resolve_policy(
    bundle: Bundle,
    rules: AlertPolicySpec,
    *,
    camera: str,
    calibration: Path | Calibration | None = None,
    alerts_per_day: float | None = None,
    threshold: float | None = None,
    zones: Sequence[ZoneSpec] = (),
) -> AlertPolicy:
    """Resolve a camera's alert policy from its calibration or a given threshold.

    Args:
        bundle: The model that scores it.
        rules: Durations, cooldown and hysteresis.
        camera: The camera's id, for messages.
        calibration: The camera's calibration. Default: the one shipped with the bundle.
        alerts_per_day: Budget of false alerts. Default: the calibration's.
        threshold: Raw score to use instead of a calibration.
        zones: The camera's zones, which the calibration should have been made with.

    Raises:
        CalibrationError: There is no calibration, or it belongs to another model.
    """
    is_whole_frame = bundle.manifest.fusion is None and bundle.manifest.tiling.kind == "clips"
    if is_whole_frame and (sized := [zone.name for zone in zones if zone.min_size]):
        _log.warning(
            "camera %s: zone %s: min_size has no effect: %s scores whole frames, not moving things",
            camera, ", ".join(sized), bundle.manifest.detector,
        )  # fmt: skip
    if threshold is not None:
        return rules.at(threshold, baseline=min(bundle.manifest.score.still, threshold))
    found = calibration or bundle.calibration_path
    if found is None:
        raise CalibrationError(
            f"camera {camera!r}: the model {bundle.name} has no calibration",
            hint=f"streamad calibrate {bundle.name} --data NORMAL_VIDEO, or give a threshold",
        )
    known = found if isinstance(found, Calibration) else Calibration.load(found)
    known.require_model(combined_sha256(bundle))
    if alerts_per_day is not None:
        known = known.with_budget(alerts_per_day)
    names = ("min_duration_seconds", "fast_duration_seconds", "cooldown_seconds")
    for name in names if known.fast_margin is not None else (names[0], names[2]):
        assumed, given = getattr(known, name), getattr(rules, name)
        if assumed > given:
            _log.warning(
                "camera %s: the calibration assumed %s = %g, the rules say %g: expect more alerts than the budget",
                *(camera, name, assumed, given),
            )
    unseen = newly_watched(known.zones, zones)
    # The mean over other parts of a whole frame may be higher.
    if unseen or (is_whole_frame and known.local is None and known.zones != tuple(zones)):
        what = f"{unseen:.0%} of the picture counts that did not" if unseen else "other parts of the picture count than"
        _log.warning(
            "camera %s: %s when its calibration was made, so its budget does not hold: calibrate with these zones",
            camera, what,
        )  # fmt: skip
    foreign = _foreign(known, bundle if calibration is None else None, camera)
    return rules.of_calibration(known, foreign=foreign)


def _foreign(calibration: Calibration, shipped_with: Bundle | None, camera: str) -> str | None:
    """Return why a calibration may be that of another camera; None if nothing suggests it.

    Args:
        calibration: The camera's calibration.
        shipped_with: The bundle that it came with; None if the configuration names it.
        camera: The configured id.
    """
    made_for = re.match(r"camera (\S+),", calibration.source)
    if made_for and made_for[1] != camera:
        return f"the calibration was made on camera {made_for[1]}; calibrate on this one: streamad calibrate"
    if shipped_with is None or shipped_with.path.joinpath(PREVIOUS).exists():  # replaced on this machine
        return None
    data = shipped_with.manifest.training.data
    if not PUBLIC_DATA.search(data):
        return None
    return (
        f"the threshold comes from the calibration that the model was shipped with ({data}), so not from this camera: "
        f"calibrate it (streamad calibrate {shipped_with.name} --data NORMAL_VIDEO), or learn a model of its own"
    )
