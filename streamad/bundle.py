"""Model bundles: a folder with a trained model and everything needed to run it exactly as it was measured.

`model.yaml` lists everything that a score depends on and the SHA-256 of every other file. Loading checks the hashes
and runs no pickle: weights are safetensors, the network is ONNX, and the rest is text.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from streamad.errors import BundleError, ConfigError, UsageError
from streamad.files import MAX_BYTES, pending_path, read_bytes, sha256_of, write_atomic
from streamad.model_folders import find_bundle
from streamad.onnx_file import has_external_data
from streamad.versions import MANIFEST, active_version, root_of
from streamad.yaml_document import YamlDocument

FORMAT_VERSION = 1
MOST_MANIFEST_BYTES = 1 << 18
MOST_FILE_BYTES = 2 << 30
"""Largest file of a bundle, bytes; the limit of ONNX."""
ONNX = "model.onnx"
STREAMING = "streaming.onnx"
VARIANTS = {"fp32": ONNX, "bf16": ONNX, "fp16": "model.fp16.onnx", "int8": "model.int8.xml"}
"""The network's file for each precision. `streamad export` makes fp16 and int8. The weights of OpenVINO's .xml are in a
.bin of the same name."""
STREAMING_VARIANTS = {
    "fp32": STREAMING,
    "bf16": STREAMING,
    "fp16": "streaming.fp16.onnx",
    "int8": "streaming.int8.xml",
}
"""The same for the streaming (stateful) form."""
WEIGHTS = "weights.safetensors"
CALIBRATION = "calibration.json"
PLACE = "place.png"
"""The camera's view when the model was learned; the frame-quality gate compares with it to detect a moved camera."""
CARD = "README.md"
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]*$"
LONGEST_NAME = 100

_SPELLED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "ø": "o", "ł": "l"})

_LATER_SCORE_FIELDS = ("frame", "peak", "heat_cell")
"""Fields of `ScoreSpec` that were added after the first bundles."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSpec(_Part):
    """The network's input: shape, range and preprocessing of the pixels."""

    channels: int = Field(ge=1, description="channels of the network's input")
    height: int = Field(ge=1, description="pixels")
    width: int = Field(ge=1, description="pixels")
    scale: float = Field(gt=0, description="the network sees pixels / scale + offset")
    offset: float = Field(description="the network sees pixels / scale + offset")
    pixel_range: Literal["full"] = Field("full", description="luma 0..255 (limited-range video is expanded)")
    max_height: int | None = Field(None, ge=30, description="taller frames are first reduced to this height, pixels")
    resizer: Literal["area", "linear"] = Field(
        "area", description="how frames are reduced: area averaging, or bilinear (area averaging beyond twofold)"
    )


class TilingSpec(_Part):
    """How frames become inputs of the network."""

    kind: Literal["cells", "clips"] = Field(description="30×30 patches of what moves, or windows of frames")
    lags: tuple[int, ...] = Field((0,), description="patches: age of each channel, frames")
    motion_level: int = Field(15, ge=1, le=255, description="patches: gray levels from which a pixel counts as moving")
    motion_share: float = Field(
        0.10, gt=0, le=1, description="patches: share of moving pixels from which a patch moves"
    )
    background_period: int = Field(4, ge=1, description="patches: frames per background step of one gray level")
    background_warmup: int = Field(32, ge=1, description="patches: frames before the background is used")
    window: int | None = Field(None, ge=1, description="windows: frames in a window")


class ScoreSpec(_Part):
    """How the network's outputs become the score of a frame."""

    kind: Literal["top_cells", "psnr", "map"] = Field(
        description="mean over a frame's highest patches; -PSNR of its reconstruction; or the network's own score"
    )
    cells: int = Field(1, ge=1, description="top_cells: number of patches; 1 is the maximum, as in the papers")
    still: float = Field(0.0, description="top_cells: score of a frame without motion")
    frame: int = Field(0, ge=0, description="psnr: index of the scored frame in its window, from 0")
    peak: float = Field(1.0, gt=0, description="psnr: peak M in 10 log10(M^2 / MSE), in the network's range")
    heat_cell: int = Field(
        1, ge=1, description="psnr, map: side of an anomaly-map position, pixels of the network's input"
    )
    median_frames: int = Field(1, ge=1, description="causal median over so many frames; 1 for none")


class TrainingRecord(_Part):
    """What the model was trained on, and how."""

    data: str = Field(description="name of the training data")
    license: str = Field(
        validation_alias=AliasChoices("license", "licence"), description="license of that data"
    )  # bundles written before 0.2 say licence
    frames: int = Field(ge=0, description="frames trained on")
    fps: float = Field(gt=0, description="frame rate of that video, frames per second; the model expects the same")
    seed: int = Field(description="seed of the training")
    epochs: int = Field(ge=0, description="epochs run")
    checkpoint: str = Field(description="rule that selected the weights")
    selected_on_test_data: bool = Field(
        False, description="whether weights, epochs or options were selected on test data"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="all other options")


class Parity(_Part):
    """Largest absolute difference between an engine and torch, measured at export."""

    engine: str = Field(description="engine name")
    precision: str = Field(description="fp32, fp16, int8")
    version: str = Field(description="version of the engine's library")
    tiles: int = Field(ge=1, description="inputs compared")
    max_abs_output: float = Field(ge=0, description="largest absolute difference of an output")
    max_abs_score: float | None = Field(
        None, ge=0, description="largest absolute difference of a frame's score; empty: not measured"
    )
    batch_sizes: tuple[int, ...] = Field(description="static batch sizes compared; streaming: frames per call")
    file: str = Field(ONNX, description="file of the bundle that was compared")


class Member(_Part):
    """One of several models that watch a camera together."""

    model: str = Field(description="its bundle: a folder next to this one, a path, or a name")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of everything that its scores depend on")
    calibration: str = Field(description="its calibration, a file in this bundle")


class FusionSpec(_Part):
    """How several models are combined into one score."""

    rule: Literal["mean", "max"] = Field(
        description="combines the members' calibrated scores: their mean, or the highest"
    )
    members: tuple[Member, ...] = Field(min_length=2, description="the models")


class Manifest(_Part):
    """The content of `model.yaml`."""

    format_version: int = Field(description="format of this file")
    name: str = Field(pattern=NAME_PATTERN, description="name of the bundle")
    detector: str = Field(description="registered name of the detector")
    description: str = Field(description="one line")
    input: InputSpec
    tiling: TilingSpec
    score: ScoreSpec
    training: TrainingRecord
    parameters: int = Field(ge=1, description="trained parameters of the network")
    parity: tuple[Parity, ...] = Field(
        (), description="engines compared with torch, or with NumPy for detectors fitted in closed form"
    )
    results: tuple[dict[str, Any], ...] = Field((), description="measured results, each with its protocol")
    fusion: FusionSpec | None = Field(None, description="the models that make the score, if there are several")
    files: dict[str, str] = Field(description="SHA-256 of every other file of the bundle")


class Bundle:
    """A model bundle whose files have been checked.

    Attributes:
        path: Its folder.
        manifest: The content of `model.yaml`.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @property
    def name(self) -> str:
        """Name of the bundle."""
        return self.manifest.name

    @property
    def home(self) -> Path:
        """The bundle's own folder: `path`, or the one above the versions of a bundle that is learned again."""
        return root_of(self.path)

    @property
    def sha256(self) -> str:
        """Hash of the network (its ONNX file), which identifies it in calibrations and results.

        For several models, a hash over their hashes, those of their calibrations, and the rule.
        """
        if self.manifest.fusion is not None:
            known = [self.manifest.fusion.model_dump_json()]
            known += [self.manifest.files.get(member.calibration, "") for member in self.manifest.fusion.members]
            return hashlib.sha256("\n".join(known).encode()).hexdigest()
        return self.manifest.files[ONNX]

    def members(self) -> list[Bundle]:
        """The bundles of the models that make the score; empty for a single model.

        Raises:
            BundleError: One is missing or has changed.
        """
        fusion = self.manifest.fusion
        found = []
        for member in fusion.members if fusion is not None else ():
            sibling = self.home.parent / member.model
            bundle = load_bundle(sibling if (active_version(sibling) / MANIFEST).is_file() else member.model)
            if combined_sha256(bundle) != member.sha256:
                raise BundleError(
                    f"the bundle {self.name} was fused from {member.model} with SHA-256 {member.sha256[:12]}…; "
                    f"{bundle.path} has {combined_sha256(bundle)[:12]}…",
                    hint="fuse again: streamad fuse",
                )
            found.append(bundle)
        return found

    def require_network(self) -> None:
        """Refuse a bundle of several models, for operations on a single network.

        Raises:
            UsageError: The bundle has no network of its own.
        """
        if self.manifest.fusion is not None:
            names = [member.model for member in self.manifest.fusion.members]
            raise UsageError(
                f"{self.name} joins several models and has no network of its own",
                hint=f"give one of its members: {', '.join(names)}",
            )

    @property
    def onnx_path(self) -> Path:
        """Path of the network."""
        return self.path / ONNX

    def variant_file(self, precision: str, *, streaming: bool = False) -> str:
        """File name of the network for a precision, whether or not the bundle has it.

        Args:
            precision: The precision.
            streaming: Whether to name the streaming (stateful) form.

        Raises:
            BundleError: There is no such variant in any bundle.
        """
        file = (STREAMING_VARIANTS if streaming else VARIANTS).get(precision)
        if file is None:
            what = "the streaming form" if streaming else "the network"
            raise BundleError(f"{what} of {self.name} has no {precision} variant")
        return file

    def network_path(self, precision: str, *, streaming: bool = False) -> Path:
        """Path of the network for a precision.

        Args:
            precision: The precision.
            streaming: Whether to return the streaming (stateful) form.

        Raises:
            BundleError: The bundle has no such variant.
        """
        file = self.variant_file(precision, streaming=streaming)
        if file not in self.manifest.files:
            how = {"int8": "openvino --precision int8 --data CLIPS"}.get(precision, f"onnx --precision {precision}")
            hint = f"`streamad export {self.name} --engine {how}` makes it"
            if precision == "int8" and not streaming and self.streaming_path is not None:
                hint = "only its streaming form runs in int8"
            raise BundleError(f"the bundle {self.name} has no {precision} variant", hint=hint)
        return self.path / file

    def variant_hashes(self, precision: str) -> dict[str, str]:
        """SHA-256 of the files that a precision adds to the bundle, by file name."""
        own = {names.get(precision) for names in (VARIANTS, STREAMING_VARIANTS)} - {ONNX, STREAMING}
        stems = tuple(name.rpartition(".")[0] + "." for name in own if name is not None)
        found = {name: digest for name, digest in self.manifest.files.items() if stems and name.startswith(stems)}
        for member in self.members():
            found |= {f"{member.name}/{name}": digest for name, digest in member.variant_hashes(precision).items()}
        return found

    @property
    def streaming_path(self) -> Path | None:
        """Path of the streaming (stateful) form, which takes one frame at a time; None if there is none."""
        return self.path / STREAMING if STREAMING in self.manifest.files else None

    @property
    def weights_path(self) -> Path:
        """Path of the trained weights."""
        return self.path / WEIGHTS

    @property
    def calibration_path(self) -> Path | None:
        """Path of the bundle's calibration; None if there is none."""
        return self.path / CALIBRATION if CALIBRATION in self.manifest.files else None

    @property
    def place_path(self) -> Path | None:
        """Path of the picture of the camera's view; None if there is none."""
        return self.path / PLACE if PLACE in self.manifest.files else None


def load_bundle(name: str | Path) -> Bundle:
    """Load a bundle by path or name, and check every hash.

    Raises:
        BundleError: The bundle is missing, damaged, or made by a newer version of streamad.
    """
    path = find_bundle(name)
    manifest = _read_manifest(path / MANIFEST)
    for required in (ONNX, WEIGHTS) if manifest.fusion is None else (m.calibration for m in manifest.fusion.members):
        if required not in manifest.files:
            raise BundleError(f"{path / MANIFEST} does not list {required}", hint="export the bundle again")
    _finish_calibration(path, manifest)
    for file, expected in manifest.files.items():
        _check_file(path, file, expected)
    # Files that would be loaded without being listed. The weights of an .xml are in the .bin of the same name.
    weights = [f"{file.removesuffix('.xml')}.bin" for file in manifest.files if file.endswith(".xml")]
    for file in (CALIBRATION, *weights):
        if file not in manifest.files and os.path.lexists(path / file):
            raise BundleError(
                f"the bundle {path} contains {file}, which {MANIFEST} does not list: it cannot be verified",
                hint="move it away; use your own calibration with --calibration, or in the configuration",
            )
    return Bundle(path, manifest)


def _check_file(path: Path, file: str, expected: str) -> None:
    """Check that a file is in the bundle's folder, matches the manifest, and needs no other file."""
    target = path / file
    if file != os.path.basename(file) or "\0" in file or target.resolve().parent != path.resolve():
        raise BundleError(f"{path / MANIFEST} names {file!r}, which is not a file in the bundle's folder")
    again = "copy it again, or export the bundle again"
    try:
        if not target.is_file():
            raise BundleError(
                f"{file} is missing from the bundle {path}", hint="copy the whole folder, or export it again"
            )
        actual = sha256_of(target, MOST_FILE_BYTES)
        is_split = file.endswith(".onnx") and actual == expected and has_external_data(target)
        with target.open("rb") as opened:  # OpenVINO checks the content, not the name
            is_xml = opened.read(1) == b"<"
        if is_xml != file.endswith(".xml") and file.endswith((".xml", ".onnx")):
            raise ValueError("its content does not match its name")
    except OSError as error:
        raise BundleError(f"cannot read {target}: {error.strerror or error}", hint="check its permissions") from error
    except ValueError as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{target} is not a model file: {error}", hint=again) from error
    if actual != expected:
        raise BundleError(
            f"{target} does not match {MANIFEST}: SHA-256 {actual[:12]}…, expected {expected[:12]}…",
            hint=f"the file is damaged or was edited; {again}",
        )
    if is_split:
        raise BundleError(
            f"{target} keeps weights in other files, which have no hash", hint="export it with its weights inside"
        )


def _finish_calibration(path: Path, manifest: Manifest) -> None:
    """Complete the replacement of a calibration whose writer was killed after writing the manifest."""
    pending, expected = pending_path(path / CALIBRATION), manifest.files.get(CALIBRATION)
    try:
        if expected is not None and pending.is_file() and sha256_of(pending, MAX_BYTES) == expected:
            pending.replace(path / CALIBRATION)
    except (OSError, ValueError) as error:
        raise BundleError(f"cannot finish writing {path / CALIBRATION}: {error}", hint="calibrate again") from error


def require_name(name: str) -> str:
    """Check the name of a new bundle, which is also the name of its folder.

    Raises:
        UsageError: The name is not valid; the hint has the nearest valid one.
    """
    if re.fullmatch(NAME_PATTERN[1:-1], name) and len(name) <= LONGEST_NAME:
        return name
    plain = unicodedata.normalize("NFKD", name.lower().translate(_SPELLED)).encode("ascii", "ignore").decode()
    nearest = re.sub(r"[^a-z0-9._]+", "-", plain).strip("._-")[:LONGEST_NAME].rstrip("._-") or "gate"
    raise UsageError(
        f"{name!r} is not a valid model name: use at most {LONGEST_NAME} lowercase letters a to z, digits, dots, "
        "dashes and underscores, starting with a letter or digit",
        hint=f"use the name {nearest}",
    )


def write_manifest(
    path: Path, manifest: Manifest, *, leave_out: Collection[str] = (), instead: Mapping[str, Path] | None = None
) -> Bundle:
    """Write `model.yaml` with new hashes of all files in the folder.

    Hidden files (left incomplete by a killed process) and NAME.previous.* (kept for people) are not part of the bundle.

    Args:
        path: The folder.
        manifest: The content without the hashes.
        leave_out: Files that are about to be removed.
        instead: Files that are about to be replaced, by name, and the path of their new content.

    Returns:
        The bundle as it would be loaded.
    """
    others = (MANIFEST, *leave_out)
    own = (f for f in path.iterdir() if f.is_file() and f.name not in others)
    hashed = {f.name: f for f in own if f.name[0] != "." and ".previous." not in f.name} | dict(instead or {})
    files = {name: sha256_of(hashed[name]) for name in sorted(hashed)}
    manifest = manifest.model_copy(update={"files": files})
    document = manifest.model_dump(mode="json")
    if manifest.fusion is None:
        del document["fusion"]  # older releases, which do not know fusion, can read other bundles
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
    write_atomic(path / MANIFEST, text)
    return Bundle(path, manifest)


def combined_sha256(bundle: Bundle) -> str:
    """One hash over everything that a score depends on: network, preprocessing, input and score definition."""
    manifest = bundle.manifest
    # A field of a later release is included only if it is used, so that older calibrations remain valid.
    later = {name for name in _LATER_SCORE_FIELDS if getattr(manifest.score, name) == _default(ScoreSpec, name)}
    included: dict[str, Any] = {"detector": True, "input": True, "tiling": True, "score": True}
    parts = manifest.model_dump_json(include=included, exclude={"score": later})
    return hashlib.sha256((bundle.sha256 + parts).encode()).hexdigest()


def _default(model: type[BaseModel], field: str) -> Any:
    return model.model_fields[field].default


def _read_manifest(path: Path) -> Manifest:
    try:
        document = YamlDocument(read_bytes(path, MOST_MANIFEST_BYTES).decode(), name=str(path)).content
    except ConfigError as error:
        raise BundleError(
            f"{path} is not valid YAML, or not a mapping of settings: {error}",
            hint="copy or export the bundle again",
        ) from error
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}", hint="check its permissions") from error
    except ValueError as error:  # not UTF-8, or too large
        raise BundleError(f"{path} is not valid YAML: {error}", hint="copy or export the bundle again") from error
    version = document.get("format_version")
    if not isinstance(version, int):
        raise BundleError(f"{path}: `format_version` must be an integer, got {version!r}")
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{path} has format {version}; this version of streamad reads up to {FORMAT_VERSION}",
            hint="update streamad, or export the bundle with this version",
        )
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise BundleError(f"{path} does not match the bundle format: {problems}") from error
