# %% [markdown]
# # Evaluate a method
#
# The same scores give different figures under different protocols, so a figure without its protocol means little. This
# notebook evaluates two models on a small data set and shows what each protocol assumes.
#
# Run it as a program (`python examples/evaluate_a_method.py`), or cell by cell in an editor that knows the percent format.
# Files go to `runs/examples`, or to the folder given as the first argument.

# %%
import sys
from pathlib import Path

import numpy as np

import streamad
from streamad.evaluation import load_dataset
from streamad.synthetic_scene import render_scene

folder = Path(sys.argv[1] if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "runs/examples")

# %% [markdown]
# ## A data set
#
# Any folder with `training/` and `testing/` is a data set. This one is rendered: five test clips of 20 s, two of
# them without an anomaly.

# %%
data = folder / "data-set"
if not (data / "truth.json").exists():
    render_scene(
        data, seed=5, size=(320, 180), fps=8, training_seconds=40, training_videos=2, testing_seconds=100,
        testing_videos=5, anomalies=("cyclist", "cart", "runner"), processes=1,
    )  # fmt: skip
dataset = load_dataset(data)
for clip in dataset.testing:
    print(f"clip {clip.name}: {clip.frames} frames, {int(clip.labels.sum())} abnormal")

# %% [markdown]
# ## Evaluate two models
#
# The motion detector is fitted to the training clips and calibrated on them. `adacl-ped2` was trained and calibrated on
# another camera, UCSD Ped2. What is normal there says nothing about this place, so it gets no `calibrated` row.

# %%
motion = streamad.fit("motion", [data / "training" / "videos"], name="motion", alerts_per_day=100)
results = {
    "motion": streamad.evaluate(motion, dataset, out=folder / "results" / "motion", workers=1),
    "adacl": streamad.evaluate(
        "adacl-ped2",
        dataset,
        out=folder / "results" / "adacl",
        normalization=("raw", "running", "per_video"),
        workers=1,
    ),
}
for name, result in results.items():
    for protocol in result.protocols:
        print(
            f"{name:7s} {protocol.normalization:11s} micro AUC {protocol.auc_micro:.3f}  EER {protocol.eer:.3f}  "
            f"over {protocol.frames} frames, {protocol.unscored_frames} without a score"
        )

# %% [markdown]
# - `calibrated` uses the normal video that a camera has: the figure to quote.
# - `raw` ranks frames by the detector's own number. A calibration is a rising curve, so the AUC hardly changes.
# - `running` scales by the clip's past.
# - `per_video` scales each clip by its own minimum and maximum, which a live system cannot know. It also gives a clip
#   without an anomaly a 1.
#
# ## What `per_video` does to noise
#
# Below, a "method" scores every normal frame by noise whose level differs from clip to clip, as light and crowds make it
# differ. `raw` shows the difficulty; `per_video` hides it, by looking at the whole clip.

# %%
rng = np.random.default_rng(1)
labels = [np.asarray(clip.labels) for clip in dataset.testing]
made_up = [rng.normal(0, 0.3, len(truth)) + truth + level for truth, level in zip(labels, (0, 2, 1, 3, 4), strict=True)]
for normalization in ("raw", "running", "per_video"):
    figures = streamad.evaluate_scores(made_up, labels, normalization=normalization)
    print(f"made-up scores, {normalization:9s} micro AUC {figures.auc_micro:.3f}  macro AUC {figures.auc_macro:.3f}")

# %% [markdown]
# ## Write the report
#
# One self-contained page: curves, score plots, the worst false alarms and misses.

# %%
for path in results["motion"].report(folder / "results" / "motion-report"):
    print(path)
motion.close()
