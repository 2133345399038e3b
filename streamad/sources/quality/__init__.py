"""Frame quality: whether a camera's picture shows its usual view, or the picture itself is faulty.

`gate.QualityGate` combines the checks; `spec.QualitySpec` is their configuration. Rejected frames reach no detector:
they yield no score, and background models do not learn from them.
"""
