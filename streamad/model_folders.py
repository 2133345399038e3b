"""Where model bundles are, and finding one by name. Imports nothing that takes time: shell completion uses it."""

from __future__ import annotations

import os
from pathlib import Path

from streamad.errors import BundleError, suggestion
from streamad.versions import MANIFEST, active_version

CHECKOUT_ONLY = ("learned-noise-baseline-ped2", "learned-noise-ped2")
"""Bundles of the repository's models/ that are too large for the wheel (pyproject.toml excludes them)."""


def model_folders() -> list[Path]:
    """The folders that are searched for bundles, in order: $STREAMAD_MODELS, ./models, those shipped with streamad."""
    here = Path(__file__).resolve().parent
    folders = [Path(os.environ["STREAMAD_MODELS"])] if os.environ.get("STREAMAD_MODELS") else []
    folders += [Path("models"), here.parent / "models", here / "_models"]
    unique: dict[Path, Path] = {}
    for folder in folders:
        if folder.is_dir():
            unique.setdefault(folder.resolve(), folder)
    return list(unique.values())


def list_bundles() -> list[Path]:
    """Paths of all bundles in the model folders. Of several with the same name, the first is used."""
    found: dict[str, Path] = {}
    for folder in model_folders():
        for path in sorted(folder.iterdir()):
            if not path.name.startswith(".") and (active_version(path) / MANIFEST).is_file():
                found.setdefault(path.name, path)
    return list(found.values())


def find_bundle(name: str | Path) -> Path:
    """The folder of a bundle, or of its active version if it has versions.

    Args:
        name: The bundle's folder, or its name in one of the model folders.

    Raises:
        BundleError: There is no such bundle; the hint names the most similar one.
    """
    path = Path(name)
    try:
        inside, is_folder = active_version(path), path.is_dir()
        has_manifest = (inside / MANIFEST).is_file()
    except (OSError, ValueError) as error:  # too long for a path, a NUL byte, or a folder without permission
        raise BundleError(
            f"cannot look for a model bundle at {str(name)[:100]!r}: {getattr(error, 'strerror', None) or error}",
            hint="give the path or the name of a bundle; `streamad models list` shows them",
        ) from error
    if has_manifest:
        return inside
    if is_folder:
        raise BundleError(
            f"{path} is not a model bundle: {MANIFEST} is missing", hint="`streamad models list` shows bundles"
        )
    names = {bundle.name: bundle for bundle in list_bundles()}
    if str(name) in names:
        return active_version(names[str(name)])
    if str(name) in CHECKOUT_ONLY:
        raise BundleError(
            f"the model {name} is too large for the installed package; it is in models/{name} of streamad's repository",
            hint="give the path of that folder in a checkout, or set STREAMAD_MODELS to the checkout's models/",
        )
    raise BundleError(
        f"unknown model {str(name)!r}; available: {', '.join(sorted(names)) or 'none'}",
        hint=suggestion(str(name), names)
        or "give the path of a bundle's folder or one of these names; `streamad train` makes a bundle",
    )
