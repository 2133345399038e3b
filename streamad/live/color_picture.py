"""The picture of a camera for people: in color while somebody looks, with the anomaly map on demand."""

from __future__ import annotations

import cv2
import numpy as np

from streamad.live.camera import CameraWatch
from streamad.live.evidence import map_scale
from streamad.visual.overlay import draw_map

FRESH_SECONDS = 5.0
"""A color picture that is older is not shown as the newest."""
_QUALITY = 80


def picture_of_now(watch: CameraWatch, *, has_map: bool = False) -> bytes | None:
    """Return the newest picture as JPEG, and ask the decoder for the next one in color. Thread-safe.

    Args:
        watch: The camera.
        has_map: Whether the anomaly map of that frame is drawn over it.

    Returns:
        None if there is none, or none that JPEG can hold.
    """
    watch.source.look()
    shown, newest = watch.shown, watch.newest
    if newest is None:
        return None
    frame, score = newest
    pixels = None
    if shown is not None and frame.received_at - shown[1].received_at <= FRESH_SECONDS:
        if not has_map:
            return shown[0]
        pixels, score = cv2.imdecode(np.frombuffer(shown[0], np.uint8), cv2.IMREAD_COLOR), shown[1]
    try:
        if pixels is None:
            pixels = cv2.cvtColor(frame.pixels, cv2.COLOR_GRAY2BGR)
        if has_map and score.anomaly_map is not None and score.boxes is not None:
            scale = map_scale(score, watch.policy, watch.model.bundle.manifest.score.kind)
            picture = np.ascontiguousarray(pixels[..., ::-1], dtype=np.uint8)
            draw_map(picture, score.anomaly_map, score.boxes, scale)
            pixels = picture[..., ::-1]
        ok, data = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    except cv2.error:  # JPEG's sides end at 65,535 pixels
        return None
    return data.tobytes() if ok else None
