"""The streaming form of a small learned-noise network for tests, and the output of the whole 3-D network for a video.

Needs torch; tests import it after `pytest.importorskip("torch")`.
"""

from __future__ import annotations

import numpy as np
import torch
from bundle_support import randomize_norms

from streamad.detectors.learned_noise.network import ClipError, clip_reconstructor

HEIGHT, WIDTH, CONTEXT = 64, 48, 15
TOLERANCE = 1e-5


def clip_network(width: float = 0.08, seed: int = 3) -> ClipError:
    """Create an untrained network with nontrivial BatchNorm statistics."""
    torch.manual_seed(seed)
    reconstructor = clip_reconstructor(width)
    randomize_norms(reconstructor)
    return ClipError(reconstructor.eval())


def drifting_video(count: int = 70, seed: int = 0) -> np.ndarray:
    """Create a smooth drifting picture with noise, (count, 1, height, width)."""
    rng = np.random.default_rng(seed)
    picture = np.cumsum(np.cumsum(rng.normal(size=(HEIGHT, WIDTH + count)), 0), 1)
    picture /= np.abs(picture).max()
    frames = np.stack([picture[:, k : k + WIDTH] for k in range(count)])[:, None]
    return np.clip(frames + rng.normal(0, 0.1, frames.shape), -1, 1).astype(np.float32)


def on_windows(network: ClipError, video: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Run the whole 3-D network on every window; return the errors and the 9th frame."""
    windows = torch.from_numpy(np.stack([video[k : k + 16, 0] for k in range(len(video) - 15)]))
    with torch.inference_mode():
        frames = network.reconstructor(windows[:, None])[:, :, 8]
        squared = (frames - windows[:, 8:9]) ** 2
        cells = torch.nn.functional.avg_pool2d(squared, 8).flatten(1)
    return torch.cat([squared.mean(dim=(1, 2, 3))[:, None], cells], 1).numpy(), frames.numpy()
