"""`streamad config`: check a configuration before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from streamad.bundle import combined_sha256, load_bundle
from streamad.cli.common import JsonOption, emit, say
from streamad.config import load_config
from streamad.errors import ConfigError, StreamadError
from streamad.scoring import Calibration

config = typer.Typer(help="Configuration files.", no_args_is_help=True, add_completion=False)


@config.callback()
def _group() -> None:
    """Configuration files."""


@config.command()
def check(
    file: Annotated[Path, typer.Argument(help="The YAML configuration.")],
    as_json: JsonOption = False,
) -> None:
    """Check a configuration, its models and their calibrations; exit 2 where something is wrong."""
    settings = load_config(file)
    cameras: list[dict[str, Any]] = []
    faults: list[str] = []
    for camera in settings.cameras:
        row: dict[str, Any] = {"id": camera.id, "source": camera.source.type, "model": settings.model_of(camera)}
        try:
            bundle = load_bundle(settings.model_of(camera))
            path = camera.calibration or bundle.calibration_path
            if camera.threshold is None:
                if path is None:
                    faults.append(f"camera {camera.id}: no calibration (`streamad calibrate`) and no `threshold`")
                else:
                    calibration = Calibration.load(path)
                    calibration.require_model(combined_sha256(bundle))
                    row["alerts_per_day"] = camera.alerts_per_day or calibration.alerts_per_day
        except StreamadError as error:
            faults.append(f"camera {camera.id}: {error}")
        cameras.append(row)
    if faults:
        raise ConfigError(f"{file} follows the schema, but:\n" + "\n".join(f"  {fault}" for fault in faults))
    if as_json:
        emit({"file": str(file), "valid": True, "cameras": cameras})
    else:
        say(f"{file} is valid: {len(cameras)} camera{'s' if len(cameras) != 1 else ''}")
