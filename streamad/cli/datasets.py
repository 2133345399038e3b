"""`streamad datasets`: which video data sets are known, and whether a copy of one is complete."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamad.cli.common import JsonOption, data, emit, progress_bar, say, table
from streamad.errors import ExitCode

if TYPE_CHECKING:
    from streamad.evaluation.datasets.validate import Validation

datasets = typer.Typer(help="Video data sets: list and validate.", no_args_is_help=True, add_completion=False)


@datasets.command("list")
def list_datasets(as_json: JsonOption = False) -> None:
    """List the known data sets with their official counts."""
    from streamad.evaluation.datasets.manifest import official_counts

    rows: list[dict[str, Any]] = []
    for name, counts in official_counts().items():
        sets = {label_set: sum(clips.values()) for label_set, clips in counts.abnormal.items()}
        rows.append(
            {
                "name": name,
                "training clips": counts.training_clips,
                "training frames": counts.training_frames,
                "test clips": len(counts.testing),
                "test frames": sum(counts.testing.values()),
                "abnormal frames": ", ".join(f"{frames} ({label_set})" for label_set, frames in sets.items()),
                "clips with masks": counts.masks,
                "size": f"{counts.size[0]}×{counts.size[1]}",
            }
        )
    if as_json:
        emit({"datasets": rows})
        return
    table(rows)
    say("any other data set is a folder with training/ and testing/ (docs/reference/data-sets.md)")


@datasets.command()
def validate(
    data_set: Annotated[
        str, typer.Argument(metavar="DATASET", help="A name of `datasets list`, or a data set's folder.")
    ],
    folder: Annotated[
        Path | None, typer.Option("--data", help="The data set's folder, or the one that holds it.")
    ] = None,
    labels: Annotated[str | None, typer.Option("--labels", help="Label set, where there are several.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Count frames, but decode none.")] = False,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Read pickled labels (arrays alone; nothing in them is run).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare a copy of a data set with the official counts: missing, extra, undecodable, unequal to its labels.

    Ends with exit code 5 where anything is wrong.
    """
    from streamad.evaluation.datasets import find_dataset
    from streamad.evaluation.datasets.manifest import official_counts
    from streamad.evaluation.datasets.validate import validate_dataset

    found = find_dataset(data_set, folder, label_set=labels, allow_pickle=allow_pickle)
    with progress_bar() as bar:
        task = bar.add_task("checking clips", total=None)
        validation = validate_dataset(
            found,
            official_counts().get(found.name),
            decode=not quick,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if as_json:
        emit({"ok": validation.ok, **asdict(validation)})
    else:
        _show(validation)
    if not validation.ok:
        raise typer.Exit(ExitCode.DATASET)


def _show(validation: Validation) -> None:
    table(
        [
            {
                "split": clip.split,
                "clip": clip.name,
                "frames": clip.frames,
                "official": clip.expected,
                "abnormal": clip.abnormal,
                "official abnormal": clip.expected_abnormal,
                "masks": clip.masks,
                "problems": "; ".join(clip.problems) or None,
            }
            for clip in validation.clips
        ]
    )
    for what, names in (("missing", validation.missing), ("extra", validation.extra)):
        for name in names:
            data(f"{what}: {name}")
    for problem in validation.problems:
        data(problem)
    wrong = sum(bool(clip.problems) for clip in validation.clips)
    basis = "the official counts" if validation.official else "its own labels (no official counts are known)"
    depth = "every frame decoded" if validation.decoded else "frames counted, none decoded"
    verdict = "complete"
    if not validation.ok:
        verdict = f"{wrong} clips with problems, {len(validation.missing)} missing, {len(validation.extra)} extra"
    say(
        f"{validation.name}, labels {validation.label_set}: {len(validation.clips)} clips compared with {basis}, "
        f"{depth}: {verdict}"
    )
