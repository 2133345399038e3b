"""Training: what all detectors share, from clips of normal video to a bundle. A detector's own part is in its folder.

Without torch: `plan` (what to train, and the clips), the samplers, `working_size`, `card` and `closed_form` (writing a
model that was fitted in closed form). With torch, from the `train` extra: `loop`, `compute` and `muon`, the recipes for
patches and for whole frames, `budget`, `build` and `image_benchmark`.
"""
