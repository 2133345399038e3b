"""Train the two bundles that `streamad demo` ships. Only normal video is used, and none that a demo shows.

    python scripts/train_demo_model.py walkway --out models/adacl-demo-walkway
    python scripts/train_demo_model.py generic --out models/adacl-demo-generic

walkway: trained on the camera of seed 1, as users train on their own camera, with different walkers: videos 4 and up of
that scene, whereas the demo calibrates on videos 1 to 3.
generic: trained on many other cameras (seeds from 100 000 on), for the demo's other seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from streamad.detectors import trained_detector
from streamad.sources import FileSpec
from streamad.synthetic_scene import render_scene
from streamad.training.plan import OpenClip, TrainingPlan, clip_opener

FPS = 12.5
DEMO_VIDEOS = 3
"""Number of normal videos of a demo's scene that its calibration uses."""


def walkway(root: Path, videos: int) -> tuple[list[OpenClip], str]:
    scene = root / "walkway"
    total = DEMO_VIDEOS + videos
    if not scene.exists():
        render_scene(
            scene, seed=1, training_seconds=25.0 * total, training_videos=total, testing_seconds=4.0, anomalies=()
        )
    paths = sorted((scene / "training" / "videos").glob("*.mp4"))[DEMO_VIDEOS:]
    return [
        clip_opener(FileSpec(path=path), "walkway") for path in paths
    ], f"normal videos of the rendered scene 1 (streamad.synthetic_scene), {videos} of 25 s"


def generic(root: Path, scenes: int) -> tuple[list[OpenClip], str]:
    clips = []
    for seed in range(100_000, 100_000 + scenes):
        if not (root / str(seed)).exists():
            render_scene(
                root / str(seed), seed=seed, training_seconds=60.0, training_videos=1, testing_seconds=4.0,
                anomalies=(), processes=1,
            )  # fmt: skip
        clips.append(clip_opener(FileSpec(path=root / str(seed) / "training" / "videos" / "01.mp4"), str(seed)))
    return clips, f"normal videos of {scenes} rendered scenes (streamad.synthetic_scene), seeds 100000 on, 60 s each"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=("walkway", "generic"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=12, help="number of walkway videos, or of scenes")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--max-cells", type=int, default=20_000)
    parser.add_argument("--keep", type=Path, help="folder for keeping and reusing rendered scenes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = options.keep or Path(temporary)
        clips, data = (walkway if options.which == "walkway" else generic)(root, options.count)
        plan = TrainingPlan(
            name=options.out.name,
            data=data,
            license="Apache-2.0, rendered by this project",
            fps=FPS,
            detector="adacl",
            epochs=options.epochs,
            max_cells=options.max_cells,
        )
        trained_detector(plan.detector).train(
            plan, clips, options.out, on_epoch=lambda report: print(report, flush=True)
        )


if __name__ == "__main__":
    main()
