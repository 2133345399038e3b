"""`streamad config`: write a commented configuration, and check one."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import streamad
from streamad.cli.common import JsonOption, data, emit, say
from streamad.cli.help import arg, opt
from streamad.errors import OutputError
from streamad.redaction import redact

config = typer.Typer(
    help="Write a configuration, check one, and describe its schema.", no_args_is_help=True, add_completion=False
)


@config.command()
def init(
    file: Annotated[Path, arg(unit="FILE", help="The file to write.")] = Path("camera.yaml"),
    example: Annotated[
        Literal["camera", "several", "replay"],
        opt("--example", help="One RTSP camera, several cameras of all kinds, or files in place of cameras."),
    ] = "camera",
    force: Annotated[bool, opt("--force", help="Replace an existing file.", panel="Output")] = False,
    show: Annotated[bool, opt("--print", help="Print it; write no file.", panel="Output")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a commented configuration to start from.

    Examples:
        streamad config init camera.yaml
        streamad config init --example several --print
    """
    from streamad.files import write_atomic

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
        say(f"wrote {file}: set the camera's address and model, then run `streamad config check {file}`")


def _examples() -> Path:
    """The folder of commented examples, in the installed package or in a checkout."""
    package = Path(streamad.__file__).resolve().parent
    installed = package / "_configs"
    return installed if installed.is_dir() else package.parent / "configs"


@config.command()
def schema(
    as_json: JsonOption = False,
) -> None:
    """Print the schema of configurations, for editors.

    It is JSON Schema with the description and bounds of every setting. Settings of plugins are not in it.

    Examples:
        streamad config schema
    """
    emit(config_schema())


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of configurations."""
    from streamad.config import Config

    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **Config.model_json_schema(), "title": "streamad configuration"}


@config.command()
def check(
    file: Annotated[Path, arg(unit="FILE", help="The YAML configuration.")],
    connect: Annotated[
        bool, opt("--connect", help="Also connect to cameras and devices, once each, for at most 20 s.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a configuration and everything that it refers to.

    Opens or inspects files, image folders, credentials, models, calibrations, outputs and the port, and lists what was
    not checked. Exits with code 2 if anything is wrong.

    Examples:
        streamad config check camera.yaml
        streamad config check camera.yaml --connect
    """
    from streamad.cli.config_check import check_config
    from streamad.config import faults_error, listed, read_config

    logging.getLogger("streamad").addHandler(logging.NullHandler())  # the findings are printed below
    settings, document = read_config(file)
    found: dict[str, list[tuple[int, str]]] = {"fault": [], "warning": [], "unchecked": []}
    for finding in check_config(settings, connect=connect):
        place = document.known(finding.place)
        where = ".".join(map(str, place))
        found[finding.kind].append((document.line(place), redact(f"{where}: {finding.message}")))
    for kind, prefix in (("warning", "warning"), ("unchecked", "not checked")):
        for line, text in sorted(set(found[kind])):
            say(f"{file}:{line}: {prefix}: {text}")
    if any(text.startswith("cameras") for _, text in found["unchecked"]) and not connect:
        say("  --connect also checks cameras and devices")
    details = {
        "warnings": listed(found["warning"]),
        "not_checked": listed(found["unchecked"]),
    }
    if found["fault"]:
        error = faults_error(str(file), found["fault"], "matches the schema, but")
        error.details |= details
        raise error
    if as_json:
        cameras = [{"id": c.id, "source": c.source.type, "model": settings.model_of(c)} for c in settings.cameras]
        emit({"file": str(file), "valid": True, "cameras": cameras, **details})
    else:
        say(f"{file} is valid: {len(settings.cameras)} camera{'s' if len(settings.cameras) != 1 else ''}")
