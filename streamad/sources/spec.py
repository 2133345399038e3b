"""The configuration of sources: one model for each type, told apart by `type`."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from streamad.errors import UsageError
from streamad.sources.credentials import from_environment, read_secret_file
from streamad.sources.url import Url, is_address

HardwareDecoding = Literal["auto", "none", "cuda", "vaapi"]

BIT_DEPTHS = (10, 12, 14, 16)
"""Depths of industrial and thermal cameras, whose values stand in images of 16 bits."""

_HWACCEL = Field(
    description="Decoding in hardware: none (software), auto (hardware where there is some, else software), "
    "cuda or vaapi (that one, or the source fails). PyAV's wheel has no vaapi.",
)
_FRAME_SECONDS = 60.0
"""Longest time without a frame from a file, seconds (our choice): a damaged file or a hung network disk."""


class _Spec(BaseModel):
    # A validation error shows its input, which may be an address with a password.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _no_address(value: object) -> object:
    if is_address(str(value)):
        raise ValueError("this is an address, not a path; a stream is `type: rtsp` with a `url`")
    return value


LocalPath = Annotated[Path, BeforeValidator(_no_address)]
"""A path that is not an address: `pathlib` makes rtsp:/ of rtsp://, and messages print paths whole."""


class _RecordedSpec(_Spec):
    realtime: bool = Field(default=False, description="Play at the pace of its clock, as a camera would, not at once.")
    speed: float = Field(default=1.0, gt=0, le=1000, description="Pace of `realtime`: 2 plays twice as fast.")
    loop: bool = Field(default=False, description="Begin anew at the end, for ever.")

    @property
    def live(self) -> bool:
        """RecordingStore are not live: they end, and are not reconnected to."""
        return False

    @property
    def drops(self) -> bool:
        """Whether frames are dropped when nobody reads them in time."""
        return self.realtime

    @property
    def stall_timeout_seconds(self) -> float:
        """Longest time without a sign of life from the decoder, seconds."""
        return _FRAME_SECONDS

    @property
    def open_timeout_seconds(self) -> float:
        """Longest time to open, seconds."""
        return _FRAME_SECONDS


class FileSpec(_RecordedSpec):
    """A video file."""

    type: Literal["file"] = "file"
    path: LocalPath = Field(description="The video file.")
    hwaccel: Annotated[HardwareDecoding, _HWACCEL] = "none"


class ImagesSpec(_RecordedSpec):
    """A folder of images (tif, tiff, jpg, jpeg, png, bmp) in natural order of their names."""

    type: Literal["images"] = "images"
    path: LocalPath = Field(description="The folder.")
    fps: float = Field(default=25.0, gt=0, le=1000, description="Frames a second: a folder of images has no clock.")
    bit_depth: Literal[10, 12, 14, 16, "auto"] = Field(
        default=16,
        description="Bits that images of 16 bits use: 12 for a camera of 12 bits, whose white is 4095. auto: the least "
        "depth that holds the highest value of 32 images of the folder. Images of 8 bits are read as they are.",
    )


class _LiveSpec(_Spec):
    open_timeout_seconds: float = Field(default=10.0, gt=0, le=300, description="Longest time to connect, seconds.")
    read_timeout_seconds: float = Field(
        default=5.0,
        gt=0,
        le=300,
        description="Longest wait for data, seconds; FFmpeg gives up after up to twice that.",
    )
    stall_timeout_seconds: float = Field(
        default=10.0,
        gt=0,
        le=3600,
        description="Longest time without a frame, seconds: after half of it the camera counts as stale, "
        "after all of it the decoder is killed and connects anew.",
    )
    hwaccel: Annotated[HardwareDecoding, _HWACCEL] = "none"

    @property
    def live(self) -> bool:
        """Cameras are live: they are reconnected to."""
        return True

    @property
    def drops(self) -> bool:
        """Whether frames are dropped when nobody reads them in time."""
        return True


class RtspSpec(_LiveSpec):
    """A camera that speaks RTSP."""

    type: Literal["rtsp"] = "rtsp"
    url: Url = Field(description="rtsp://host[:port]/path, or rtsps:// for TLS. Credentials fit better below.")
    transport: Literal["tcp", "udp"] = Field(
        default="tcp", description="tcp loses nothing; udp is for cameras or networks where tcp fails."
    )
    username_env: str | None = Field(
        default=None, min_length=1, description="Environment variable that holds the user."
    )
    password_env: str | None = Field(
        default=None, min_length=1, description="Environment variable that holds the password."
    )
    secret_file: Path | None = Field(default=None, description="File that holds `user:password` in one line.")
    tls_verify: bool = Field(default=True, description="rtsps: check the server's certificate.")
    ca_file: Path | None = Field(default=None, description="rtsps: PEM file of the certificates to trust.")

    @model_validator(mode="after")
    def _one_way_to_the_credentials(self) -> Self:
        if (self.username_env is None) != (self.password_env is None):
            raise ValueError("username_env and password_env go together: give both or none")
        ways = [self.url.has_credentials, self.username_env is not None, self.secret_file is not None]
        if sum(ways) > 1:
            raise ValueError(
                "credentials are given in more than one way: choose the address, username_env and "
                "password_env, or secret_file"
            )
        return self

    def credentials(self) -> tuple[str, str] | None:
        """User and password from the environment or the secret file; None where the address alone decides.

        Raises:
            SourceAuthError: an environment variable is not set, or the secret file cannot be read.
        """
        if self.username_env is not None and self.password_env is not None:
            return from_environment(self.username_env, self.password_env)
        return None if self.secret_file is None else read_secret_file(self.secret_file)

    def connection_url(self) -> Url:
        """The address with its credentials, read at every connection so that a changed secret is taken up.

        Raises:
            SourceAuthError: as `credentials`.
        """
        given = self.credentials()
        return self.url if given is None else self.url.with_credentials(*given)

    def exposed_secret(self) -> str | None:
        """Who besides the owner can read the secret file, as a sentence; None where nobody can or there is none."""
        try:
            mode = self.secret_file.stat().st_mode if self.secret_file is not None else 0
        except OSError:
            return None  # reported at every connection
        others = [name for name, bit in (("its group", stat.S_IRGRP), ("everyone", stat.S_IROTH)) if mode & bit]
        if not others:
            return None
        readers = " and ".join(others)
        return f"the secret file {self.secret_file} can be read by {readers} (mode {stat.S_IMODE(mode):03o}); chmod 600"


class DeviceSpec(_LiveSpec):
    """A USB camera or another Video4Linux device."""

    type: Literal["device"] = "device"
    device: LocalPath = Field(default=Path("/dev/video0"), description="The device.")
    width: int | None = Field(default=None, ge=1, le=16384, description="Width to ask for, pixels.")
    height: int | None = Field(default=None, ge=1, le=16384, description="Height to ask for, pixels.")
    fps: float | None = Field(default=None, gt=0, le=1000, description="Frames a second to ask for.")

    @model_validator(mode="after")
    def _whole_size(self) -> Self:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height go together: give both or none")
        return self


SourceSpec = Annotated[FileSpec | ImagesSpec | RtspSpec | DeviceSpec, Field(discriminator="type")]
"""Any source, told apart by `type`."""


class ReconnectSpec(_Spec):
    """When to connect anew after a camera failed: exponential backoff with jitter."""

    initial_seconds: float = Field(default=1.0, gt=0, le=3600, description="First wait, seconds.")
    max_seconds: float = Field(default=60.0, gt=0, le=86400, description="Longest wait, seconds.")
    multiplier: float = Field(default=2.0, ge=1, le=10, description="Each wait is so many times the one before.")
    jitter: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of a wait that is drawn by chance, so that cameras do not return at once.",
    )
    max_attempts: int | None = Field(
        default=None, ge=1, description="Give up after so many failures in a row; null: never."
    )
    healthy_seconds: float = Field(
        default=30.0,
        ge=0,
        le=86400,
        description="Frames for so long, and the waits begin anew from the first.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_seconds < self.initial_seconds:
            raise ValueError(
                f"max_seconds ({self.max_seconds:g}) is less than initial_seconds ({self.initial_seconds:g})"
            )
        return self


def parse_source(text: str) -> FileSpec | ImagesSpec | RtspSpec | DeviceSpec:
    """The source that a word of the command line means.

    `rtsp://…` and `rtsps://…` are cameras, `/dev/videoN` or a bare number a device (unless a file or folder
    of that name exists), a folder is a folder of images, anything else a file. Whether it exists shows when
    it is opened.

    Raises:
        UsageError: an address of another kind, or a malformed one; the message holds no credentials.
    """
    text = text.strip()
    if not text:
        raise UsageError("an empty source", hint="give a file, a folder of images, rtsp://… or /dev/video0")
    path = Path(text)
    # What looks like an address is never taken for the name of a file, since a message would print it.
    if is_address(text) or ("@" in text and not path.exists()):
        try:
            return RtspSpec(url=Url(text))
        except ValueError as error:  # its words show nothing of the address
            reason = str(error)
            scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
            kind = f"this {scheme[1].lower()}:// address" if scheme else "what looks like an address"
        raise UsageError(
            f"cannot use {kind} as a source: {reason}",
            hint="expected rtsp://… or rtsps://… with a host; percent-encode /, ?, # and @ in a user or password",
        )
    if not path.exists() and text.isdecimal():
        return DeviceSpec(device=Path(f"/dev/video{int(text)}"))
    if re.fullmatch(r"/dev/video\d+", text):
        return DeviceSpec(device=path)
    return ImagesSpec(path=path) if path.is_dir() else FileSpec(path=path)
