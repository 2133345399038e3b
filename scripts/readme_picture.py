"""Create the README's picture: three alerts of the demo above its score plot.

streamad demo --seed 1 && python scripts/readme_picture.py runs/demo docs/images/demo.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import av
import cv2
import numpy as np

from streamad.alerts.store import EventStore

WIDTH = 1500
GAP = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="output folder of `streamad demo`")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    with EventStore(options.demo / "events.sqlite") as store:
        # In the middle of an alert its cause is in full view; at the peak it may be at the edge of the picture.
        middles = sorted((event.started_index + event.updated_index) // 2 for event in store.events())
    if not middles:
        raise SystemExit(f"{options.demo} contains no alert to show")
    wanted = {middles[k] for k in np.linspace(0, len(middles) - 1, min(3, len(middles))).round().astype(int)}
    with av.open(str(options.demo / "watch.mp4")) as video:
        frames = [f.to_ndarray(format="bgr24") for n, f in enumerate(video.decode(video=0)) if n in wanted]
    each = (WIDTH - GAP * (len(frames) - 1)) // len(frames)
    gap = np.full((round(each * frames[0].shape[0] / frames[0].shape[1]), GAP, 3), 255, np.uint8)
    small = [cv2.resize(f, (each, gap.shape[0]), interpolation=cv2.INTER_AREA) for f in frames]
    top = small[0]
    for image in small[1:]:
        top = np.hstack([top, gap, image])
    plot = cv2.imread(str(options.demo / "watch.png"))
    plot = cv2.resize(
        plot, (top.shape[1], round(plot.shape[0] * top.shape[1] / plot.shape[1])), interpolation=cv2.INTER_AREA
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(options.out), np.vstack([top, plot]))


if __name__ == "__main__":
    main()
