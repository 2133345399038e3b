# %% [markdown]
# # Learn a camera
#
# A raw score means nothing on its own: is 0.7 high? This notebook learns one camera's normal video, which gives the score a
# scale and a threshold, watches new video of the same camera, and compares the alerts with the truth.
#
# Run it as a program (`python examples/learn_a_camera.py`), or cell by cell in an editor that knows the percent format.
# Files go to `runs/examples`, or to the folder given as the first argument.

# %%
import sys
from pathlib import Path

import numpy as np

import streamad
from streamad.evaluation import match_events
from streamad.synthetic_scene import load_truth, render_scene

folder = Path(sys.argv[1] if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "runs/examples")

# %% [markdown]
# ## Normal video, and video to watch

# %%
scene = folder / "scene"
if (scene / "truth.json").exists():
    truth = load_truth(scene)
else:
    truth = render_scene(
        scene, seed=3, size=(384, 216), fps=10, training_seconds=60, training_videos=2, testing_seconds=48,
        anomalies=("cyclist", "cart"), processes=1,
    )  # fmt: skip
normal = [truth.file(video) for video in truth.training]

# %% [markdown]
# ## Learn
#
# `fit` fits the motion detector, which needs no torch, and calibrates it: the threshold is set so that normal video gives
# the number of false alerts a day that you accept. A minute of video is little for that, and the calibration says so.

# %%
model = streamad.fit("motion", normal, name="walkway", alerts_per_day=50)
calibration = model.calibration
assert calibration is not None  # `fit` always calibrates
print(
    f"threshold {calibration.threshold:.2f}, a calibrated score of {calibration.calibrated(calibration.threshold):.1f}"
)
for warning in calibration.warnings:
    print("note:", warning)

# %% [markdown]
# ## Watch
#
# A session takes the frames of one camera, one at a time, and answers with their scores. `streamad run` has one for each of
# its cameras. `on_event` is called when an event opens, changes or closes.

# %%
events = {}


def remember(change: streamad.EventChange) -> None:
    events[change.event.id] = change.event
    print(f"{change.event.updated_pts_seconds:5.1f} s  {change.kind}: {change.event.explanation}")


watched = streamad.parse_source(str(truth.file(truth.testing[0])))
with (
    streamad.open_source(watched, camera="walkway") as source,
    model.session(camera="walkway", on_event=remember) as session,
):
    highest = max(
        (result for frame in source for result in session.push(frame)), key=lambda r: np.nan_to_num(r.score.score)
    )
print(f"highest score at {highest.score.pts_seconds:.1f} s")

# %% [markdown]
# ## Were the alerts right?
#
# `match_events` pairs alerts with true events. An alert that belongs to none is false.

# %%
alerts = [(event.raised_pts_seconds, event.updated_pts_seconds) for event in events.values()]
true_events = [(event.start_seconds, event.end_seconds, event.kind) for event in truth.events]
report = match_events(alerts, true_events, duration_seconds=truth.testing[0].frames / truth.fps)
print(f"{report.found} of {len(truth.events)} anomalies found, {report.wrong} false alerts")
if report.mean_delay_seconds is not None:
    print(f"mean delay {report.mean_delay_seconds:.1f} s")

# %% [markdown]
# ## Keep the model
#
# The saved folder is a bundle: `streamad run`, `score` and `evaluate` take it by its path.

# %%
if not (folder / "walkway").exists():
    print(model.save(folder / "walkway"))
model.close()
