"""What commands share: options, output, progress bars."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from streamad.bundle import CALIBRATION, CARD, ONNX, WEIGHTS, require_name
from streamad.cli.progress import LineProgress
from streamad.cli.streams import QuietConsole, write_output
from streamad.engines import EngineSpec
from streamad.engines.factory import EngineName, Precision
from streamad.errors import ExitCode, OutputError, UsageError
from streamad.formatting import readable
from streamad.observability.status import finite
from streamad.sources import Clips, ImagesSpec, SourceSpec, find_clips, parse_source
from streamad.sources.spec import BIT_DEPTHS
from streamad.sources.url import redact
from streamad.versions import CURRENT, MANIFEST, PREVIOUS, VERSIONS

UNFINISHED = {VERSIONS, PREVIOUS, "recordings", "training", WEIGHTS, ONNX}
"""What a command that was interrupted may have left in the folder of a bundle."""

BUNDLE_BYTES = 8 << 20
"""Room that a bundle needs at least: the motion detector's has 2 MB."""

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
ModelOption = Annotated[str, typer.Option("--model", "-m", help="Model bundle: a folder, or a name of `models list`.")]


def engine_option(panel: str | None = None) -> Any:
    """`--engine`, in a panel of the help where it has several."""
    return typer.Option(
        "--engine",
        help="auto, openvino, onnx, torch, tensorrt or tensorrt-rtx; one named never falls back.",
        rich_help_panel=panel,
    )


def precision_option(panel: str | None = None) -> Any:
    """`--precision`, in a panel of the help where it has several."""
    return typer.Option(
        "--precision",
        help="fp32; faster and less exact: bf16 and int8 (OpenVINO), fp16 (TensorRT).",
        rich_help_panel=panel,
    )


EngineOption = Annotated[str, engine_option()]
PrecisionOption = Annotated[str, precision_option()]
ThreadsOption = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads for inference.")]
FramesPerCallOption = Annotated[
    int | None,
    typer.Option(
        "--frames-per-call", min=1, max=16, help="Most frames of a camera in a run of a network that carries state."
    ),
]
FpsOption = Annotated[
    float, typer.Option("--fps", min=0.1, help="Frames a second of image folders (they have no clock).")
]
BitDepthOption = Annotated[
    str,
    typer.Option("--bit-depth", help="Bits that 16-bit images use: 10, 12, 14, 16 or auto (from their highest value)."),
]
OptionsOption = Annotated[
    list[str] | None, typer.Option("--option", help="An option of the detector's own, name=value; repeatable.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="Device to train on: cpu, cuda or cuda:N.")]
TrainThreadsOption = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads for training.")]
BudgetOption = Annotated[float, typer.Option("--alerts-per-day", min=0.001, help="Budget of false alerts a day.")]

console = QuietConsole(stderr=True, highlight=False)
"""Progress and words go to standard error; standard output is for data."""


def say(text: str) -> None:
    """A line for the person at the terminal."""
    console.print(redact(text), markup=False, soft_wrap=True)


def emit(document: Any) -> None:
    """The one JSON document of `--json`."""
    write_output(json.dumps(finite(document), ensure_ascii=False, indent=2, default=str) + "\n")


def data(line: str) -> None:
    """A line of data on standard output."""
    write_output(line + "\n")


def table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of data as aligned text on standard output."""
    if not rows:
        return
    names = list(rows[0])
    texts = [names, *[[_cell(row.get(name)) for name in names] for row in rows]]
    widths = [max(len(line[k]) for line in texts) for k in range(len(names))]
    for line in texts:
        data("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def causes(skipped: Mapping[str, int]) -> str | None:
    """Frames without a score, by cause, in a cell of a table."""
    return ", ".join(f"{cause} {count}" for cause, count in skipped.items()) or None


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Progress on standard error: a moving display on a terminal, elsewhere a line a minute (`LineProgress`)."""
    if not console.is_terminal:
        yield LineProgress(console, say)
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        yield bar


def engine_spec(
    name: str,
    threads: int | None,
    precision: str = "fp32",
    *,
    frames_per_call: int | None = None,
    streams_per_call: int | None = None,
) -> EngineSpec:
    """The engine that the options ask for.

    Raises:
        UsageError: no engine has that name, or there is no such precision.
    """
    known = get_args(EngineName)
    if name not in known:
        raise UsageError(f"--engine {name!r}: expected one of {', '.join(known)}")
    precisions = get_args(Precision)
    if precision not in precisions:
        raise UsageError(f"--precision {precision!r}: expected {', '.join(precisions)}")
    given = {"name": name, "threads": threads, "precision": precision}
    return EngineSpec.model_validate(
        {**given, "frames_per_call": frames_per_call, "streams_per_call": streams_per_call}
    )


def parse_pairs(given: Sequence[str] | None) -> dict[str, str]:
    """Options given as name=value.

    Raises:
        UsageError: one has no name or no value, or is given twice.
    """
    pairs: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        name = name.strip()
        if not name or not equals:
            raise UsageError(f"--option {text!r}: expected name=value", hint="for example --option epochs=8")
        if name in pairs:
            raise UsageError(f"--option {name} was given twice", hint="give each option once")
        pairs[name] = value.strip()
    return pairs


def source_of(text: str, fps: float, bit_depth: str = "16") -> SourceSpec:
    """A source given on the command line; `fps` and `bit_depth` are for image folders.

    Raises:
        UsageError: an address that is no source, or a bit depth that no camera has.
    """
    spec, depth = parse_source(text), _depth(bit_depth)
    return spec.model_copy(update={"fps": fps, "bit_depth": depth}) if isinstance(spec, ImagesSpec) else spec


def clips_of(paths: Sequence[Path], fps: float, bit_depth: str = "16") -> Clips:
    """The clips in files and folders that can be read (see `find_clips`); prints what is left out.

    A command that goes on without some clips ends with `end_with(clips)`.

    Args:
        paths: video files, folders of images, or folders of those.
        fps: frames a second of folders of images.
        bit_depth: bits that their images of 16 bits use, or "auto".

    Raises:
        UsageError: no clip in any path, a folder that can be read in two ways, or a bit depth that no camera has.
        SourceError: none of the clips can be read.
    """
    depth, found = _depth(bit_depth), find_clips(paths, fps)
    specs = tuple(
        (name, spec.model_copy(update={"bit_depth": depth}) if isinstance(spec, ImagesSpec) else spec)
        for name, spec in found.clips
    )
    clips = replace(found, clips=specs).readable()
    for sentence in (*clips.notes, *clips.failures()):
        say(f"note: {sentence}")
    return clips


def end_with(clips: Clips) -> None:
    """End a command that did its work: with exit code 3 where clips were left out because they cannot be read.

    Raises:
        typer.Exit: some were.
    """
    if clips.left_out:
        raise typer.Exit(ExitCode.SOURCE)


def output_folder(path: Path, *, room_bytes: int = 1) -> Path:
    """The folder, made where missing and tried by writing to it, before any work is done.

    Args:
        path: the folder.
        room_bytes: how much is written to see that the disk has room.

    Raises:
        OutputError: it cannot be written to, or has no room.
    """
    probe = path / ".streamad-write-test"
    try:
        path.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(bytes(room_bytes))
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot write to {path}: {error.strerror or error}", hint="give another folder with --out"
        ) from error
    return path


def output_file(path: Path) -> Path:
    """A file that is to be written, its folder made and tried before any work is done.

    Raises:
        UsageError: it is a folder.
        OutputError: its folder cannot be written to.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder, and --out takes a file", hint=f"give --out {path / CALIBRATION}")
    output_folder(path.parent)
    return path


def bundle_folder(path: Path, *, versioned: bool = False) -> Path:
    """The folder of a bundle that a command is about to make, checked before any work is done; it is not made yet.

    Args:
        path: as given with --out; the last part is the name of the bundle.
        versioned: whether the command makes a new version beside the ones in the folder (`learn`), or else writes the
            bundle's files into the folder itself.

    Raises:
        UsageError: the name is not one, or the folder holds something else.
        OutputError: it cannot be written to, or there is no room.
    """
    path = path if path.name not in ("", "..") else path.resolve()  # "." has a name, too
    try:
        require_name(path.name)
    except UsageError as error:
        nearest = str(error.hint).rpartition(" ")[2]
        raise UsageError(str(error), hint=f"give --out {shlex.quote(str(path.parent / nearest))}") from None
    try:
        names = {entry.name for entry in path.iterdir()} if path.exists() else set()
    except OSError as error:
        raise OutputError(
            f"cannot make a model at {path}: {error.strerror}", hint="give another folder with --out"
        ) from error
    if not versioned and CURRENT in names:
        raise UsageError(
            f"{path} holds versions made by `streamad learn`, which would go on being used",
            hint="give another folder with --out, or run `streamad learn` again",
        )
    if MANIFEST not in names and CURRENT not in names:
        ours = UNFINISHED | ({CARD} if WEIGHTS in names else set())
        foreign = sorted(name for name in names - ours if not name.startswith("."))
        if foreign:
            some = ", ".join(foreign[:3]) + (", …" if len(foreign) > 3 else "")
            raise UsageError(
                f"{path} is not a model: it holds other files ({some})",
                hint=f"give a new folder: --out {shlex.quote(str(path / 'gate'))}",
            )
    place = path
    while not place.exists() and place != place.parent:
        place = place.parent
    output_folder(place, room_bytes=BUNDLE_BYTES)
    return path


def _depth(text: str) -> int | str:
    """`--bit-depth` as the sources take it."""
    known: dict[str, int | str] = {"auto": "auto", **{str(bits): bits for bits in BIT_DEPTHS}}
    if text not in known:
        raise UsageError(f"--bit-depth {text!r}: expected one of {', '.join(known)}")
    return known[text]


def how_to_watch(model: Path) -> str:
    """What to do with a model that was made, as part of a sentence."""
    return (
        f"to watch, write `model: {model}` into a configuration (`streamad config init` makes one), then "
        "`streamad run camera.yaml`"
    )


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else readable(str(value))
