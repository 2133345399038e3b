"""`streamad config`: write a commented configuration, and check one before it is used."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

import streamad
from streamad.cli.common import JsonOption, data, emit, say
from streamad.config import faults_error, listed, read_config
from streamad.errors import OutputError
from streamad.files import write_atomic
from streamad.sources.url import redact

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
    connect: Annotated[
        bool, typer.Option("--connect", help="Also open cameras and devices, each once and for seconds.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a configuration and all that it names; exit 2 where something is wrong.

    Files, folders of images, credentials, models, calibrations, outputs and the port are opened or looked at. What was
    not is listed.
    """
    from streamad.cli.config_check import check_config

    logging.getLogger("streamad").addHandler(logging.NullHandler())  # what is found is said below, once
    settings, document = read_config(file)
    found: dict[str, list[tuple[int, str]]] = {"fault": [], "warning": [], "unchecked": []}
    for finding in check_config(settings, connect=connect):
        place = document.known(finding.place)
        where = ".".join(map(str, place))
        found[finding.kind].append((document.line(place), redact(f"{where}: {finding.message}")))
    for kind, prefix in (("warning", "warning"), ("unchecked", "not checked")):
        for line, text in sorted(set(found[kind])):
            say(f"{file}:{line}: {prefix}: {text}")
    if found["unchecked"] and not connect:
        say("  `--connect` opens cameras and devices, too")
    details = {
        "warnings": listed(found["warning"]),
        "not_checked": listed(found["unchecked"]),
    }
    if found["fault"]:
        error = faults_error(str(file), found["fault"], "follows the schema, but")
        error.details |= details
        raise error
    if as_json:
        cameras = [{"id": c.id, "source": c.source.type, "model": settings.model_of(c)} for c in settings.cameras]
        emit({"file": str(file), "valid": True, "cameras": cameras, **details})
    else:
        say(f"{file} is valid: {len(settings.cameras)} camera{'s' if len(settings.cameras) != 1 else ''}")
