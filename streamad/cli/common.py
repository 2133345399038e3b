"""Shared by commands: options, output, and the checks of inputs and outputs.

Every command imports this module for its help, so it imports nothing of streamad that takes time; functions import what
they need.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

import typer

from streamad.cli.completion import PRECISIONS, complete_engine, complete_from, complete_model
from streamad.cli.help import arg, opt
from streamad.cli.streams import write_output
from streamad.errors import ExitCode, OutputError, UsageError, suggestion
from streamad.formatting import readable
from streamad.versions import CURRENT, MANIFEST, PREVIOUS, VERSIONS

if TYPE_CHECKING:
    from rich.progress import Progress

    from streamad.engines import EngineSpec
    from streamad.protocols import Progress as ReportProgress
    from streamad.sources import Clips, SourceSpec
    from streamad.zones import ZoneSpec

T = TypeVar("T", bound=str)

BUNDLE_BYTES = 8 << 20
"""Free disk space that a new bundle needs. The motion detector's has 2 MB."""

MODEL_HELP = "Model bundle: a name from `streamad models list`, or a folder."

JsonOption = Annotated[bool, opt("--json", help="Print one JSON document on standard output.", panel="Output")]
ModelOption = Annotated[str, opt("--model", "-m", unit="MODEL", help=MODEL_HELP, complete=complete_model)]
ModelArgument = Annotated[str, arg(unit="MODEL", help=MODEL_HELP, complete=complete_model)]
EngineOption = Annotated[
    str,
    opt(
        "--engine",
        unit="NAME",
        help="auto, openvino, onnx, torch, tensorrt or tensorrt-rtx. A named engine never falls back to another.",
        complete=complete_engine,
        panel="Engine",
    ),
]
PrecisionOption = Annotated[
    str,
    opt(
        "--precision",
        unit="NAME",
        help="fp32; or, faster and less exact: bf16 or int8 (OpenVINO), fp16 (TensorRT).",
        complete=complete_from(PRECISIONS),
        panel="Engine",
    ),
]
ThreadsOption = Annotated[
    int | None,
    opt("--threads", min=1, unit="N", help="CPU threads for inference. Default: the engine's choice.", panel="Engine"),
]
FramesPerCallOption = Annotated[
    int | None,
    opt(
        "--frames-per-call",
        min=1,
        max=16,
        unit="N",
        help="Stateful networks: most frames of one camera in one call. Default: 1; 4 for files with TensorRT.",
        panel="Engine",
    ),
]
FpsOption = Annotated[
    float, opt("--fps", min=0.1, unit="FPS", help="Frame rate of image folders, frames per second.", panel="Input")
]
BitDepthOption = Annotated[
    str,
    opt(
        "--bit-depth",
        unit="BITS",
        help="Used bits of 16-bit images: 10, 12, 14, 16, or auto (from their highest value).",
        panel="Input",
    ),
]
OptionsOption = Annotated[
    list[str] | None,
    opt(
        "--option",
        unit="NAME=VALUE",
        help="An option of the detector (docs/concepts/detectors.md); repeatable.",
        panel="Training",
    ),
]
DeviceOption = Annotated[
    str, opt("--device", unit="DEVICE", help="Device to train on: cpu, cuda or cuda:N.", panel="Training")
]
TrainThreadsOption = Annotated[
    int | None,
    opt("--threads", min=1, unit="N", help="CPU threads for training. Default: torch's choice.", panel="Training"),
]
BudgetOption = Annotated[
    float,
    opt(
        "--alerts-per-day",
        min=0.001,
        unit="RATE",
        help="Budget of false alerts per day; sets the threshold.",
        panel="Alerts",
    ),
]
ZonesOption = Annotated[
    Path | None,
    opt(
        "--zones",
        unit="CONFIG",
        help="Configuration whose zones hold here, those of --camera. Default: the whole picture counts.",
        panel="Alerts",
    ),
]
ZonesCameraOption = Annotated[
    str | None,
    opt("--camera", unit="ID", help="The camera in --zones. Default: the only one.", panel="Alerts"),
]
FailOnAlertOption = Annotated[
    bool, opt("--fail-on-alert", help="Exit with code 10 if any alert was raised.", panel="Alerts")
]


def out_option(text: str, *names: str) -> Any:
    """The option `--out` for a folder of results.

    Args:
        text: Its help.
        names: Further names of the option.
    """
    return opt("--out", "-o", *names, unit="DIR", help=text, panel="Output")


def say(text: str) -> None:
    """Print a line for people on standard error; credentials in it are masked."""
    from streamad.cli.progress import print_line

    print_line(text)


def say_notes(notes: Iterable[str]) -> None:
    """Print each note on standard error."""
    for note in notes:
        say(f"note: {note}")


def emit(document: Any) -> None:
    """Print the JSON document of `--json`."""
    from streamad.observability.status import finite

    write_output(json.dumps(finite(document), ensure_ascii=False, indent=2, default=str) + "\n")


def data(line: str) -> None:
    """Print a line of data on standard output."""
    write_output(line + "\n")


def table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as an aligned table on standard output."""
    if not rows:
        return
    names = list(rows[0])
    texts = [names, *[[_cell(row.get(name)) for name in names] for row in rows]]
    widths = [max(len(line[k]) for line in texts) for k in range(len(names))]
    for line in texts:
        data("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def causes(skipped: Mapping[str, int]) -> str | None:
    """Counts of frames without a score by cause, as a table cell."""
    return ", ".join(f"{cause} {count}" for cause, count in skipped.items()) or None


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Progress on standard error: a moving display on a terminal, otherwise a line a minute."""
    from streamad.cli.progress import open_progress

    with open_progress() as bar:
        yield bar


def stage_progress(bar: Progress, *, announce: bool = False) -> ReportProgress:
    """A callback for (stage, done, total) that shows each stage as a task.

    Args:
        bar: The progress display.
        announce: Whether to print a line when a stage starts, if there is no terminal.
    """
    tasks: dict[str, Any] = {}

    def update(stage: str, done: float, total: float | None) -> None:
        if stage not in tasks:
            tasks[stage] = bar.add_task(readable(stage), total=total)
            if announce and bar.disable:
                say(f"{stage} …")
        bar.update(tasks[stage], completed=done, total=total)

    return update


def one_of(option: str, given: str, known: Sequence[T]) -> T:
    """Check the value of an option against the values that it may have.

    Args:
        option: The option, with its dashes.
        given: Its value.
        known: The values that it may have.

    Raises:
        UsageError: The value is not one of them; the hint names the nearest.
    """
    for name in known:
        if name == given:
            return name
    raise UsageError(f"{option} {given!r}: expected one of {', '.join(known)}", hint=suggestion(given, known))


def engine_spec(
    name: str,
    threads: int | None,
    precision: str = "fp32",
    *,
    frames_per_call: int | None = None,
    streams_per_call: int | None = None,
) -> EngineSpec:
    """The engine settings that the options describe.

    Raises:
        UsageError: Unknown engine or precision.
    """
    from streamad.engines import EngineSpec
    from streamad.engines.factory import Precision, engine_names

    return EngineSpec.model_validate(
        {
            "name": one_of("--engine", name, engine_names()),
            "threads": threads,
            "precision": one_of("--precision", precision, get_args(Precision)),
            "frames_per_call": frames_per_call,
            "streams_per_call": streams_per_call,
        }
    )


def parse_pairs(given: Sequence[str] | None) -> dict[str, str]:
    """Parse options given as name=value.

    Raises:
        UsageError: One has no name or no value, or is given twice.
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
    """The source that an argument describes.

    Args:
        text: A file, folder, device or address.
        fps: Frame rate of image folders, frames per second.
        bit_depth: Used bits of 16-bit images, or "auto".

    Raises:
        UsageError: Not a valid address or bit depth.
    """
    from streamad.sources import ImagesSpec, parse_source

    spec, depth = parse_source(text), _depth(bit_depth)
    return spec.model_copy(update={"fps": fps, "bit_depth": depth}) if isinstance(spec, ImagesSpec) else spec


def clips_of(paths: Sequence[Path], fps: float, bit_depth: str = "16") -> Clips:
    """The readable clips in files and folders (see `find_clips`); what is left out is printed.

    A command that continues without some clips ends with `end_with(clips)`.

    Args:
        paths: Video files, image folders, or folders of those.
        fps: Frame rate of image folders, frames per second.
        bit_depth: Used bits of 16-bit images, or "auto".

    Raises:
        UsageError: No clip in any path, an ambiguous folder, or an invalid bit depth.
        SourceError: None of the clips can be read.
    """
    from streamad.sources import ImagesSpec, find_clips

    depth, found = _depth(bit_depth), find_clips(paths, fps)
    specs = tuple(
        (name, spec.model_copy(update={"bit_depth": depth}) if isinstance(spec, ImagesSpec) else spec)
        for name, spec in found.clips
    )
    clips = replace(found, clips=specs).readable()
    say_notes((*clips.notes, *clips.failures()))
    return clips


def end_with(clips: Clips) -> None:
    """End a command that finished: with exit code 3 if any clip could not be read.

    Raises:
        typer.Exit: Clips were left out.
    """
    if clips.left_out:
        raise typer.Exit(ExitCode.SOURCE)


def output_folder(path: Path, *, room_bytes: int = 1) -> Path:
    """Create the folder if needed and write to it once, before any other work.

    Args:
        path: The folder.
        room_bytes: Size of the test file, which shows that the disk has room.

    Raises:
        OutputError: The folder is not writable, or the disk is full.
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
    """Check that a file can be written, and create its folder, before any other work.

    Raises:
        UsageError: The path is a folder.
        OutputError: The file's folder is not writable.
    """
    from streamad.bundle import CALIBRATION

    if path.is_dir():
        raise UsageError(f"{path} is a folder; --out takes a file", hint=f"give --out {path / CALIBRATION}")
    output_folder(path.parent)
    return path


def bundle_folder(path: Path, *, versioned: bool = False) -> Path:
    """Check the folder of a new bundle before any work is done. The folder is not created yet.

    Args:
        path: The value of --out; its last part is the name of the bundle.
        versioned: Whether the command adds a version beside those in the folder (`learn`), or writes the bundle's files
            into the folder itself.

    Raises:
        UsageError: The name is not valid, or the folder holds something else.
        OutputError: The folder is not writable, or the disk is full.
    """
    from streamad.bundle import CARD, ONNX, WEIGHTS, require_name

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
            f"{path} holds versions made by `streamad learn`, which would remain active",
            hint="give another folder with --out, or run `streamad learn` again",
        )
    if MANIFEST not in names and CURRENT not in names:
        # An interrupted command may have left these.
        ours = {VERSIONS, PREVIOUS, "recordings", "training", WEIGHTS, ONNX} | ({CARD} if WEIGHTS in names else set())
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
    """The value of `--bit-depth` as sources take it."""
    from streamad.sources.spec import BIT_DEPTHS

    one_of("--bit-depth", text, ("auto", *map(str, BIT_DEPTHS)))
    return text if text == "auto" else int(text)


def how_to_watch(model: Path) -> str:
    """How to watch with a new model, as part of a sentence."""
    return (
        f"to watch, set `model: {model}` in a configuration (`streamad config init` writes one), then run "
        "`streamad run camera.yaml`"
    )


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else readable(str(value))


def zones_of(config: Path | None, camera: str | None) -> tuple[ZoneSpec, ...]:
    """Return the zones of a camera in a configuration; none without one.

    Raises:
        ConfigError: The configuration is missing or invalid.
        UsageError: It has no such camera, or several and none is named.
    """
    if config is None:
        return ()
    from streamad.config import load_config

    cameras = {spec.id: spec for spec in load_config(config).cameras}
    if camera is None and len(cameras) > 1:
        raise UsageError(f"{config} has several cameras: {', '.join(cameras)}", hint="name one with --camera")
    name = camera or next(iter(cameras))
    if name not in cameras:
        raise UsageError(f"{config} has no camera {name!r}", hint=suggestion(name, cameras))
    return cameras[name].zones


def login_name() -> str:
    """The login name of who runs the command.

    Raises:
        UsageError: It is not known.
    """
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError) as error:  # a container may run as a number without a name
        raise UsageError("the login name is not known", hint="give --by NAME") from error
