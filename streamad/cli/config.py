"""`streamad config`: write a commented configuration, and check one before it is used."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import streamad
from streamad.bundle import combined_sha256, load_bundle
from streamad.cli.common import JsonOption, data, emit, say
from streamad.config import load_config
from streamad.errors import ConfigError, OutputError, StreamadError
from streamad.files import write_atomic
from streamad.scoring import Calibration

config = typer.Typer(help="Configuration files.", no_args_is_help=True, add_completion=False)


@config.callback()
def _group() -> None:
    """Configuration files."""


@config.command()
def init(
    file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("camera.yaml"),
    example: Annotated[
        Literal["camera", "several", "replay"],
        typer.Option(
            "--example", help="One RTSP camera, several cameras of every kind, or files as if they were some."
        ),
    ] = "camera",
    force: Annotated[bool, typer.Option("--force", help="Replace the file where it exists.")] = False,
    show: Annotated[bool, typer.Option("--print", help="Print it and write nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a commented configuration to start from."""
    text = (_examples() / f"{example}.yaml").read_text(encoding="utf-8")
    if not show:
        text = text.replace(f"configs/{example}.yaml", shlex.quote(str(file)))  # in the commands of its first lines
        if (file.exists() or file.is_symlink()) and not force:
            raise OutputError(f"{file} exists", hint="give another name, or --force to replace it")
        write_atomic(file, text)
    if as_json:
        emit({"file": None if show else str(file), "example": example, "text": text})
    elif show:
        data(text.rstrip("\n"))
    else:
        say(f"wrote {file}: set the camera's address and model in it, then `streamad config check {file}`")


def _examples() -> Path:
    """The folder of commented examples: in the installed package, or in a checkout."""
    package = Path(streamad.__file__).resolve().parent
    installed = package / "_configs"
    return installed if installed.is_dir() else package.parent / "configs"


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
