"""What a configuration keeps on disk, and its names in a backup.

Names follow from the configuration alone, so that a backup can be restored to other paths: whatever a configuration
calls its events file, it is `events.sqlite` in the archive.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from streamad.calibration.calibration import local_paths
from streamad.config import Config
from streamad.model_folders import model_folders
from streamad.versions import CURRENT, root_of

CONFIG, EVENTS, SCORES, EVIDENCE, MODELS = "config.yaml", "events.sqlite", "scores", "evidence", "models"
USERS = "users"
"""Names in the archive."""


@dataclass(frozen=True, slots=True)
class Place:
    """A file or folder that a configuration names.

    Attributes:
        name: Its name in a backup, with "/" between folders.
        path: Its path as configured, relative to the working directory.
        kind: "database": an SQLite file; "file"; or "tree", a folder with everything in it.
    """

    name: str
    path: Path
    kind: Literal["database", "file", "tree"] = "file"


def places_of(config: Config, config_path: Path) -> list[Place]:
    """The places of a configuration that a backup may hold, whether or not they exist."""
    places = [
        Place(EVENTS, config.events.path, "database"),
        Place(SCORES, config.history.folder, "tree"),
        Place(EVIDENCE, config.evidence.folder, "tree"),
        *_models(config),
    ]
    for camera in config.cameras:
        for calibration in (camera.calibration, *(profile.calibration for profile in camera.profiles)):
            if calibration is not None:
                own = (calibration, *local_paths(calibration))
                places += [Place(f"calibrations/{camera.id}/{path.name}", path) for path in own]
    views = {"common": config.quality} | {f"cameras/{c.id}": c.quality for c in config.cameras if c.quality is not None}
    for name, quality in views.items():
        if quality.reference is not None:
            places.append(Place(f"references/{name}/{quality.reference.name}", quality.reference))
    if config.web.users is not None:
        places.append(Place(USERS, config.web.users))
    # The last one: a restored configuration says that everything else is there.
    return [*places, Place(CONFIG, config_path)]


def _models(config: Config) -> Iterator[Place]:
    """The bundles with all their versions. Those in the installed package come back with it."""
    names: set[str] = set()
    for reference in dict.fromkeys(model for model in (config.model, *(c.model for c in config.cameras)) if model):
        root = _root_of(reference)
        if root.name in names or root.parent.resolve() == Path(__file__).resolve().parents[1] / "_models":
            continue
        names.add(root.name)
        yield Place(f"{MODELS}/{root.name}", root, "tree")


def _root_of(reference: str) -> Path:
    """A bundle's own folder, given by path or name. A name that is not found belongs in the first folder of models."""
    path = Path(reference)
    if not path.exists() and path.name == reference:
        own = Path(os.environ.get("STREAMAD_MODELS") or MODELS)
        path = next(
            (folder / reference for folder in model_folders() if (folder / reference).is_dir()), own / reference
        )
    return path.parent if path.name == CURRENT else root_of(path)
