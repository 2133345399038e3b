"""`streamad backup` and `streamad restore`: what an installation cannot regain, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamad.cli.common import JsonOption, emit, say
from streamad.cli.help import arg, opt

Config = Annotated[Path, arg(unit="CONFIG", help="The YAML configuration.")]


def backup(
    config: Config,
    out: Annotated[
        Path | None,
        opt("--out", unit="FILE", help="The archive. Default: streamad-backup-DATE-TIME.zip.", panel="Output"),
    ] = None,
    evidence: Annotated[bool, opt("--evidence", help="Include pictures and clips of events, which are large.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Back up events, marks, models and calibrations.

    Writes one zip file with the configuration and what cannot be regained: the event store with its marks, the models
    with their versions, the calibrations and the recent scores. `streamad run` may be running. Passwords that the
    configuration reads from elsewhere are not included.

    Examples:
        streamad backup camera.yaml
        streamad backup camera.yaml --evidence --out runs/gate.zip
    """
    from datetime import UTC, datetime

    from streamad.workflows.backup import create_backup, default_name

    now = datetime.now(UTC)
    made = create_backup(config, out or default_name(now), made_at=now, evidence=evidence)
    for reason in made.skipped:
        say(f"not included: {reason}")
    if as_json:
        emit({"path": str(made.path), "bytes": made.size, "files": made.files, "skipped": list(made.skipped)})
    else:
        typer.echo(f"{made.path}: {made.files} files, {made.size / 1e6:.1f} MB")


def restore(
    archive: Annotated[Path, arg(unit="BACKUP", help="The archive that `streamad backup` wrote.")],
    config: Annotated[
        Path,
        arg(unit="CONFIG", help="The configuration. If it exists, it is kept and its paths apply."),
    ],
    force: Annotated[bool, opt("--force", help="Replace files that exist.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Restore a backup.

    Checks every file, then puts all of them where the configuration keeps them, or changes nothing. Stop `streamad run`
    before.

    Examples:
        streamad restore streamad-backup-20260105-031500.zip camera.yaml
        streamad restore runs/gate.zip camera.yaml --force
    """
    from streamad.workflows.restore import restore_backup

    done = restore_backup(archive, config, force=force)
    if done.kept_config:
        say(f"kept {config}: its paths apply")
    for name in done.left_out:
        say(f"left out: {name}, for which {config} has no place")
    if as_json:
        emit({
            "made_by": done.made_by,
            "made_at": done.made_at,
            "restored": [str(path) for path in done.restored],
            "left_out": list(done.left_out),
        })  # fmt: skip
    else:
        for path in done.restored:
            typer.echo(str(path))
