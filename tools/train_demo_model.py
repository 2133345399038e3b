"""Train the bundle that `streamad demo` ships: ADACL on the normal parts of rendered scenes of many seeds.

    python tools/train_demo_model.py --out models/adacl-motion-demo

The demo watches other seeds; none of the seeds here is ever a demo's (they start at 100 000), and no rendered anomaly is used.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from streamad.frame import Frame
from streamad.scene import render_scene
from streamad.sources import FileSpec, open_source
from streamad.training.build import TrainingPlan, train_bundle

FIRST_SEED = 100_000


def opener(path: Path, camera: str) -> Callable[[], Iterator[Frame]]:
    def frames() -> Iterator[Frame]:
        with open_source(FileSpec(path=path), camera=camera) as source:
            yield from source

    return frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--keep", type=Path, help="keep (and reuse) the rendered scenes here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = options.keep or Path(temporary)
        clips, fps = [], 12.5
        for seed in range(FIRST_SEED, FIRST_SEED + options.scenes):
            folder = root / str(seed)
            if not folder.exists():
                render_scene(
                    folder, seed=seed, training_seconds=options.seconds, testing_seconds=4.0,
                    training_videos=1, anomalies=(), processes=1,
                )  # fmt: skip
            clips.append(opener(folder / "training" / "videos" / "01.mp4", camera=str(seed)))
            print(f"scene {seed}", flush=True)
        plan = TrainingPlan(
            name=options.out.name,
            data=f"normal parts of {options.scenes} rendered scenes (streamad.scene), seeds {FIRST_SEED} on",
            licence="Apache-2.0, rendered by this project",
            fps=fps,
            standing=True,
            epochs=options.epochs,
        )
        train_bundle(plan, clips, options.out, progress=lambda report: print(report, flush=True))


if __name__ == "__main__":
    main()
