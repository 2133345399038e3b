"""`streamad models`: the available bundles and their manifests."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from streamad.cli.common import JsonOption, ModelArgument, data, emit, say, table
from streamad.cli.help import opt
from streamad.errors import BundleError, CalibrationError, UsageError
from streamad.model_folders import list_bundles

models = typer.Typer(
    help="List model bundles, show one, and go back to an earlier version.", no_args_is_help=True, add_completion=False
)


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


@models.command()
def versions(model: ModelArgument, as_json: JsonOption = False) -> None:
    """List the versions of a model that learned more than once.

    `streamad learn` adds one each time, and so does `streamad run` while it learns on. The newest five are kept.

    Examples:
        streamad models versions models/gate
    """
    from streamad.bundle import load_bundle
    from streamad.calibration import Calibration
    from streamad.formatting import span
    from streamad.versions import active_version, list_versions

    active = load_bundle(model)
    rows: list[dict[str, Any]] = []
    for path in list_versions(active.home):
        row: dict[str, Any] = {"version": int(path.name), "active": path.resolve() == active_version(active.home)}
        try:
            bundle = load_bundle(path)
            known = None if bundle.calibration_path is None else Calibration.load(bundle.calibration_path)
        except (BundleError, CalibrationError) as error:
            rows.append({**row, "created": None, "learned_seconds": None, "threshold": None, "state": str(error)})
            continue
        training = bundle.manifest.training
        rows.append(
            {
                **row,
                "created": None if known is None else known.created,
                "learned_seconds": training.options.get("seconds", training.frames / training.fps),
                "threshold": None if known is None else known.threshold,
                "state": "ok" if known is None else known.budget,
            }
        )
    if as_json:
        emit({"model": active.name, "versions": rows})
    elif rows:
        for row in rows:
            seconds = row.pop("learned_seconds")
            row["active"] = "active" if row["active"] else ""
            row["learned from"] = None if seconds is None else span(seconds)
        table(rows)
    else:
        say(f"{active.name} has no versions; `streamad learn` makes them")


@models.command()
def rollback(
    model: ModelArgument,
    to: Annotated[
        int | None, opt("--to", min=0, unit="NUMBER", help="The version. Default: the one before the active one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make an earlier version of a model the active one again.

    A running `streamad run` uses it after a reload (SIGHUP); until then it keeps the version that it has.

    Examples:
        streamad models rollback models/gate
        streamad models rollback models/gate --to 3
    """
    from streamad.bundle import load_bundle
    from streamad.files import locked
    from streamad.model_folders import find_bundle
    from streamad.versions import activate, older_version, root_of

    home = root_of(find_bundle(model))
    with locked(home) as alone:
        if not alone:
            raise UsageError(f"another process is writing to {home}", hint="wait for it")
        version = older_version(home, to)
        bundle = load_bundle(version)  # whole, before it becomes the active one
        activate(home, version)
    if as_json:
        emit({"model": bundle.name, "version": int(version.name), "sha256": bundle.sha256})
    else:
        say(f"{bundle.name}: version {int(version.name)} is active; reload `streamad run` (SIGHUP) to use it")
