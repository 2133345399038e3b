"""Learned noise: an autoencoder over windows that learns to undo the noise that a second network learns to add.

README.md in this folder lists what is the paper's and what is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamad.bundle import Manifest
from streamad.detectors.base import CameraScorer, TrainedDetector

if TYPE_CHECKING:
    from streamad.evaluation.image_table import Published


class LearnedNoiseStreaming:
    """The form that takes one frame at a time; see `streaming.py` and docs/concepts/streaming-network.md."""

    def network(self, network: Any, manifest: Manifest) -> Any:
        """See `StreamingForm.network`."""
        from streamad.detectors.learned_noise.streaming import StreamingNetwork

        return StreamingNetwork(network, manifest.input.height, manifest.input.width)

    def export(self, network: Any, manifest: Manifest, path: Path, *, half_weights: bool) -> None:
        """See `StreamingForm.export`."""
        from streamad.detectors.learned_noise.streaming_graph import export_streaming

        export_streaming(network, manifest, path, half_weights)

    def export_quantizable(self, network: Any, manifest: Manifest, path: Path) -> None:
        """See `StreamingForm.export_quantizable`."""
        from streamad.detectors.learned_noise.subpixel_graph import export_quantizable

        export_quantizable(network, manifest, path)


class LearnedNoise(TrainedDetector):
    """A 3-D autoencoder over windows of 16 frames, trained to remove learned noise."""

    name = "learned_noise"
    summary = "learning to generate pseudo anomalies: a 3-D autoencoder over windows of 16 frames"
    paper = "Learning to Generate Pseudo Anomalies"
    window = 16
    per_location = True
    streaming = LearnedNoiseStreaming()

    def scorer(self, manifest: Manifest, camera: str, *, streaming: bool = False) -> CameraScorer:
        """See `Detector.scorer`."""
        from streamad.detectors.learned_noise.scorer import LearnedNoiseScorer

        return LearnedNoiseScorer(manifest, streaming=streaming)

    def paper_network(self, manifest: Manifest) -> Any:
        """Return the network that decodes whole windows, as the paper does."""
        from streamad.detectors.learned_noise.network import build_whole

        return build_whole(manifest)

    def published(self) -> Mapping[str, Published]:
        """See `Detector.published`."""
        from streamad.evaluation.image_table import Published

        note = "the paper holds out a tenth of the training split, and takes the best epoch on it"
        return {"cifar10": Published(62.47, f"{self.paper}, table 2", note=note)}


DETECTOR = LearnedNoise()
