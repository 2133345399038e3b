"""`streamad datasets`: the known video data sets, and whether a copy of one is complete."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamad.cli.common import JsonOption, data, emit, progress_bar, say, stage_progress, table
from streamad.cli.completion import DATASETS, complete_from
from streamad.cli.help import arg, opt
from streamad.errors import ExitCode

if TYPE_CHECKING:
    from streamad.evaluation.datasets.validate import Validation

datasets = typer.Typer(
    help="List video data sets, and validate a copy of one.", no_args_is_help=True, add_completion=False
)


@datasets.command("list")
def list_datasets(as_json: JsonOption = False) -> None:
    """List the known data sets with their official counts.

    Examples:
        streamad datasets list
    """
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
        str,
        arg(
            unit="DATASET",
            help="A name from `streamad datasets list`, or the folder of a data set.",
            complete=complete_from(DATASETS),
        ),
    ],
    folder: Annotated[Path | None, opt("--data", unit="DIR", help="Folder of the data set, or its parent.")] = None,
    labels: Annotated[str | None, opt("--labels", unit="NAME", help="Label set, if there are several.")] = None,
    quick: Annotated[bool, opt("--quick", help="Count the frames without decoding them.")] = False,
    allow_pickle: Annotated[
        bool, opt("--allow-pickle", help="Read pickled labels. Only arrays are read; no code in them runs.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check that a copy of a data set is complete.

    Reports clips that are missing, extra, undecodable or inconsistent with their labels, compared with the official
    counts. Exits with code 5 if anything is wrong.

    Examples:
        streamad datasets validate ped2 --data ~/datasets
    """
    from streamad.evaluation.datasets import find_dataset
    from streamad.evaluation.datasets.manifest import official_counts
    from streamad.evaluation.datasets.validate import validate_dataset

    found = find_dataset(data_set, folder, label_set=labels, allow_pickle=allow_pickle)
    with progress_bar() as bar:
        validation = validate_dataset(
            found,
            official_counts().get(found.name),
            decode=not quick,
            progress=stage_progress(bar),
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
