"""A rendered surveillance scene with ground truth: the demo's camera and the tests' fixture.

`render_scene` writes training and testing videos with frame labels, pixel masks and `truth.json`;
`iterate_frames` yields the same pictures without encoding. Every seed is a different place.
"""

from streamad.synthetic_scene.anomalies import ANOMALY_KINDS, AnomalyKind
from streamad.synthetic_scene.render import render_scene
from streamad.synthetic_scene.stage import SceneFrame, iterate_frames
from streamad.synthetic_scene.truth import (
    SceneEvent,
    SceneTruth,
    SceneVideo,
    load_frame_labels,
    load_pixel_masks,
    load_truth,
)

__all__ = [
    "ANOMALY_KINDS",
    "AnomalyKind",
    "SceneEvent",
    "SceneFrame",
    "SceneTruth",
    "SceneVideo",
    "iterate_frames",
    "load_frame_labels",
    "load_pixel_masks",
    "load_truth",
    "render_scene",
]
