"""`streamad models`: the available bundles and their manifests."""

from __future__ import annotations

from typing import Any

import typer

from streamad.cli.common import JsonOption, ModelArgument, data, emit, say, table
from streamad.errors import BundleError
from streamad.model_folders import list_bundles

models = typer.Typer(help="List model bundles, and show one.", no_args_is_help=True, add_completion=False)


@models.command("list")
def list_models(as_json: JsonOption = False) -> None:
    """List the bundles that can be given by name.

    They are searched in the folder $STREAMAD_MODELS, in ./models, and among those shipped with streamad.

    Examples:
        streamad models list
    """
    from streamad.bundle import load_bundle

    rows: list[dict[str, Any]] = []
    for path in list_bundles():
        try:
            bundle = load_bundle(path)
        except BundleError as error:
            rows.append({"name": path.name, "detector": None, "data": None, "state": f"damaged: {error}"})
            continue
        rows.append(
            {
                "name": bundle.name,
                "detector": bundle.manifest.detector,
                "data": bundle.manifest.training.data,
                "state": "ok, calibrated" if bundle.calibration_path else "ok, not calibrated",
            }
        )
    if as_json:
        emit({"models": rows})
    elif rows:
        table(rows)
    else:
        say("no bundles; `streamad train` makes one, STREAMAD_MODELS names another folder to search")


@models.command()
def show(
    model: ModelArgument,
    as_json: JsonOption = False,
) -> None:
    """Show the manifest of a bundle, after checking its hashes.

    Examples:
        streamad models show motion-ped2
    """
    from streamad.bundle import load_bundle

    bundle = load_bundle(model)
    document = {"path": str(bundle.path), **bundle.manifest.model_dump(mode="json")}
    if as_json:
        emit(document)
        return
    import yaml

    data(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110).rstrip())
