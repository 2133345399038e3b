"""`streamad models`: which bundles are here, and what they are."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from streamad.bundle import Bundle, list_bundles, load_bundle
from streamad.cli.common import JsonOption, data, emit, say, table
from streamad.errors import BundleError

models = typer.Typer(help="Model bundles: list and show.", no_args_is_help=True, add_completion=False)


@models.command("list")
def list_models(as_json: JsonOption = False) -> None:
    """List the bundles that can be given by name."""
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
        say("no bundle here; `streamad train` makes one, STREAMAD_MODELS names another folder to look in")


@models.command()
def show(
    model: Annotated[str, typer.Argument(help="A bundle's folder or name.")],
    as_json: JsonOption = False,
) -> None:
    """Show a bundle's manifest after checking its hashes."""
    bundle: Bundle = load_bundle(model)
    document = {"path": str(bundle.path), **bundle.manifest.model_dump(mode="json")}
    if as_json:
        emit(document)
        return
    import yaml

    data(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110).rstrip())
