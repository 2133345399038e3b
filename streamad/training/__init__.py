"""Training: feeding, the loop that all detectors share, and the making of a bundle. Needs the `train` extra."""
