# %% [markdown]
# # Score a file
#
# A model gives every frame of a video a score: the higher, the less normal. This notebook renders a short video in which
# somebody cycles and a cart passes among people who walk, scores it with a model of that place, and plots the score next to
# the truth.
#
# Run it as a program (`python examples/score_a_file.py`), or cell by cell in an editor that knows the percent format.
# Files go to `runs/examples`, or to the folder given as the first argument.

# %%
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import streamad
from streamad.evaluation import roc_auc
from streamad.synthetic_scene import load_truth, render_scene

folder = Path(sys.argv[1] if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "runs/examples")

# %% [markdown]
# ## A video whose truth is known
#
# `render_scene` writes normal videos for training and videos with anomalies for testing. The seed is the place: walkway,
# light, walkers.

# %%
scene = folder / "scene"
if (scene / "truth.json").exists():
    truth = load_truth(scene)
else:
    truth = render_scene(
        scene, seed=3, size=(384, 216), fps=10, training_seconds=60, training_videos=2, testing_seconds=48,
        anomalies=("cyclist", "cart"), processes=1,
    )  # fmt: skip
video = truth.file(truth.testing[0])
labels = truth.labels_of(truth.testing[0])
for event in truth.events:
    print(f"{event.kind} from {event.start_seconds:.1f} to {event.end_seconds:.1f} s")

# %% [markdown]
# ## Score it
#
# `fit` learns the normal videos of this place. `streamad.load` would open a saved or shipped model instead, but a model's
# scores mean something only on the camera it was fitted to. `score` yields one `FrameScore` a frame. A frame without a score
# has `nan`, and `skipped_reason` says why: movement can be measured only from the third frame on.

# %%
with streamad.fit("motion", [truth.file(video) for video in truth.training]) as model:
    frames = list(model.score(video))

seconds = np.array([frame.pts_seconds for frame in frames])
scores = np.array([frame.score for frame in frames])
scored = np.isfinite(scores)
skipped = {frame.skipped_reason for frame in frames if frame.skipped_reason}
print(f"{scored.sum()} of {len(frames)} frames scored; the others: {', '.join(sorted(skipped))}")

# %% [markdown]
# ## How well does the score separate?
#
# The AUC is the chance that an abnormal frame scores higher than a normal one. 0.5 is guessing.

# %%
auc = roc_auc(scores[scored], labels[scored])
print(f"frame AUC {auc:.3f}")

# %% [markdown]
# ## Plot it

# %%
figure, axes = plt.subplots(figsize=(9, 2.6), layout="constrained")
axes.plot(seconds, scores, color="tab:blue", linewidth=1)
for event in truth.events:
    axes.axvspan(event.start_seconds, event.end_seconds, color="tab:red", alpha=0.15)
    axes.text(event.start_seconds, axes.get_ylim()[1], event.kind, va="top", fontsize=9)
axes.set(xlabel="seconds", ylabel="anomaly score", title=f"motion, frame AUC {auc:.2f}")
axes.margins(x=0)
figure.savefig(folder / "score_a_file.png", dpi=120)
print(folder / "score_a_file.png")
