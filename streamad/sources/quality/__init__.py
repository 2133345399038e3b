"""Frame quality: is what the camera shows a picture of its place, or is the picture itself at fault?

`gate.QualityGate` joins the checks; `spec.QualitySpec` is their part of the configuration. Frames that the gate holds
back reach no detector: they yield no score, and no background model learns from them.
"""
