"""Configuration of sources: one model per type, discriminated by `type`."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from streamad.errors import UsageError
from streamad.plugins import SOURCES, OrPlugin, find_plugin_class
from streamad.sources.credentials import from_environment, read_secret_file
from streamad.sources.url import Url, is_address

if TYPE_CHECKING:
    from streamad.sources.base import Source

HardwareDecoding = Literal["auto", "none", "cuda", "vaapi"]

BIT_DEPTHS = (10, 12, 14, 16)
"""Bit depths of industrial and thermal cameras, whose values are stored in 16-bit images."""

_HWACCEL = Field(
    description="Hardware decoding: none (software), auto (hardware if available, else software), "
    "cuda or vaapi (that device only; the source fails without it). PyAV's wheel has no vaapi.",
)


class _Spec(BaseModel):
    # A validation error would print its input, which may be an address with a password.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _no_address(value: object) -> object:
    if is_address(str(value)):
        raise ValueError("this is an address, not a path; for a stream use `type: rtsp` with a `url`")
    return value


LocalPath = Annotated[Path, BeforeValidator(_no_address)]
"""A path that is not an address: `pathlib` turns rtsp:// into rtsp:/, and messages print paths in full."""


class _RecordedSpec(_Spec):
    realtime: bool = Field(default=False, description="Play in real time instead of as fast as possible.")
    speed: float = Field(default=1.0, gt=0, le=1000, description="Playback speed of `realtime`: 2 plays twice as fast.")
    loop: bool = Field(default=False, description="Start over at the end, endlessly.")

    @property
    def live(self) -> bool:
        """False: recordings end and are not reconnected to."""
        return False

    @property
    def drops(self) -> bool:
        """Whether frames are dropped if not read in time."""
        return self.realtime

    # Chosen without measurement, for damaged files and hung network disks.
    stall_timeout_seconds: ClassVar[float] = 60.0
    """Longest time without a sign of life from the decoder, seconds."""
    open_timeout_seconds: ClassVar[float] = 60.0
    """Open timeout, seconds."""


class FileSpec(_RecordedSpec):
    """A video file."""

    type: Literal["file"] = "file"
    path: LocalPath = Field(description="The video file.")
    hwaccel: Annotated[HardwareDecoding, _HWACCEL] = "none"


class ImagesSpec(_RecordedSpec):
    """A folder of images (tif, tiff, jpg, jpeg, png, bmp) in natural order of their names."""

    type: Literal["images"] = "images"
    path: LocalPath = Field(description="The folder.")
    fps: float = Field(default=25.0, gt=0, le=1000, description="Frame rate to assume, frames per second.")
    bit_depth: Literal[10, 12, 14, 16, "auto"] = Field(
        default=16,
        description="Bits used by 16-bit images: 12 for a 12-bit camera, whose white is 4095. auto: the smallest "
        "depth that fits the highest value in 32 images of the folder. 8-bit images are read unchanged.",
    )


class _LiveSpec(_Spec):
    open_timeout_seconds: float = Field(default=10.0, gt=0, le=300, description="Connection timeout, seconds.")
    read_timeout_seconds: float = Field(
        default=5.0,
        gt=0,
        le=300,
        description="Read timeout, seconds; FFmpeg gives up after up to twice that.",
    )
    stall_timeout_seconds: float = Field(
        default=10.0,
        gt=0,
        le=3600,
        description="Longest time without a frame, seconds: after half of it the camera counts as stale; "
        "after all of it the decoder is killed and reconnects.",
    )

    @property
    def live(self) -> bool:
        """True: cameras are reconnected to."""
        return True

    @property
    def drops(self) -> bool:
        """Whether frames are dropped if not read in time."""
        return True


class RtspSpec(_LiveSpec):
    """An RTSP camera."""

    type: Literal["rtsp"] = "rtsp"
    url: Url = Field(description="rtsp://host[:port]/path, or rtsps:// for TLS. Prefer the keys below for credentials.")
    transport: Literal["tcp", "udp"] = Field(
        default="tcp", description="tcp loses no data; use udp for cameras or networks on which tcp fails."
    )
    username_env: str | None = Field(default=None, min_length=1, description="Environment variable with the user name.")
    password_env: str | None = Field(default=None, min_length=1, description="Environment variable with the password.")
    secret_file: Path | None = Field(default=None, description="File with `user:password` on one line.")
    tls_verify: bool = Field(default=True, description="rtsps: verify the server's certificate.")
    ca_file: Path | None = Field(default=None, description="rtsps: PEM file with the trusted certificates.")
    hwaccel: Annotated[HardwareDecoding, _HWACCEL] = "none"

    @model_validator(mode="after")
    def _one_way_to_the_credentials(self) -> Self:
        if (self.username_env is None) != (self.password_env is None):
            raise ValueError("username_env and password_env must be set together")
        ways = [self.url.has_credentials, self.username_env is not None, self.secret_file is not None]
        if sum(ways) > 1:
            raise ValueError(
                "credentials are given in more than one way: use either the address, username_env and "
                "password_env, or secret_file"
            )
        return self

    def credentials(self) -> tuple[str, str] | None:
        """Read user and password from the environment or the secret file; None if only the address may have them.

        Raises:
            SourceAuthError: If an environment variable is not set or the secret file cannot be read.
        """
        if self.username_env is not None and self.password_env is not None:
            return from_environment(self.username_env, self.password_env)
        return None if self.secret_file is None else read_secret_file(self.secret_file)

    def connection_url(self) -> Url:
        """Return the address with its credentials, read again at every connection so that a changed secret is used.

        Raises:
            SourceAuthError: As in `credentials`.
        """
        given = self.credentials()
        return self.url if given is None else self.url.with_credentials(*given)

    def exposed_secret(self) -> str | None:
        """Warning about who besides the owner can read the secret file; None if nobody can or there is no file."""
        try:
            mode = self.secret_file.stat().st_mode if self.secret_file is not None else 0
        except OSError:
            return None  # reported at every connection
        others = [name for name, bit in (("the group", stat.S_IRGRP), ("everyone", stat.S_IROTH)) if mode & bit]
        if not others:
            return None
        readers = f"{' and '.join(others)} (mode {stat.S_IMODE(mode):03o})"
        return f"the secret file {self.secret_file} is readable by {readers}; run chmod 600"


class DeviceSpec(_LiveSpec):
    """A USB camera or other Video4Linux device."""

    type: Literal["device"] = "device"
    device: LocalPath = Field(default=Path("/dev/video0"), description="The device.")
    width: int | None = Field(default=None, ge=1, le=16384, description="Requested width, pixels.")
    height: int | None = Field(default=None, ge=1, le=16384, description="Requested height, pixels.")
    fps: float | None = Field(default=None, gt=0, le=1000, description="Requested frames per second.")
    hwaccel: Annotated[HardwareDecoding, _HWACCEL] = "none"

    @model_validator(mode="after")
    def _whole_size(self) -> Self:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height must be set together")
        return self


class PluginSource(_LiveSpec):
    """Base class for the settings of a source that another package adds (docs/how-to/extend.md).

    A subclass gives `type` a Literal with a default, adds its own settings, each with a description, and opens itself.
    One that is not a camera overrides `live` and `drops`.
    """

    type: str

    def open(self, *, camera: str, clock: Callable[[], float], sleep: Callable[[float], None]) -> Source:
        """Open the source; see `open_source`.

        Args:
            camera: Configured id, copied into every frame.
            clock: Seconds, monotonic: what `Frame.received_at` is stamped with.
            sleep: Waits for so many seconds.

        Raises:
            SourceError: The source cannot be opened.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `open`")

    @classmethod
    def from_address(cls, address: str) -> Self:
        """Return the settings for an address `NAME://…` on the command line, NAME being the plugin's.

        Raises:
            UsageError: The source has no addresses, or this one is wrong.
        """
        raise UsageError(f"a source of type {cls.model_fields['type'].default} has no address", hint="configure it")


SourceSpec = Annotated[FileSpec | ImagesSpec | RtspSpec | DeviceSpec | PluginSource, OrPlugin(SOURCES, PluginSource)]
"""Any source, discriminated by `type`."""


class ReconnectSpec(_Spec):
    """Reconnection to a failed camera: exponential backoff with jitter."""

    initial_seconds: float = Field(default=1.0, gt=0, le=3600, description="First delay, seconds.")
    max_seconds: float = Field(default=60.0, gt=0, le=86400, description="Longest delay, seconds.")
    multiplier: float = Field(default=2.0, ge=1, le=10, description="Factor from each delay to the next.")
    jitter: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Random share of each delay, so that cameras do not reconnect at the same instant.",
    )
    max_attempts: int | None = Field(
        default=None, ge=1, description="Give up after this many consecutive failures; null: never."
    )
    healthy_seconds: float = Field(
        default=30.0,
        ge=0,
        le=86400,
        description="After frames for this long, the delays start over from the first.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_seconds < self.initial_seconds:
            raise ValueError(
                f"max_seconds ({self.max_seconds:g}) is less than initial_seconds ({self.initial_seconds:g})"
            )
        return self


def parse_source(text: str) -> SourceSpec:
    """Parse a source from a command-line argument.

    `rtsp://…` and `rtsps://…` are cameras, `NAME://…` is a source of the plugin NAME, `/dev/videoN` or a bare number is
    a device (unless a file or folder of that name exists), a folder is a folder of images, and anything else is a file.
    Existence is checked on opening.

    Raises:
        PluginError: The plugin cannot be loaded.
        UsageError: For another kind of address or a malformed one. The message contains no credentials.
    """
    text = text.strip()
    if not text:
        raise UsageError("the source is empty", hint="give a file, a folder of images, rtsp://… or /dev/video0")
    path = Path(text)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+._-]*)://", text)
    if scheme is not None and scheme[1].lower() not in ("rtsp", "rtsps"):
        plugin = find_plugin_class(SOURCES, scheme[1].lower(), PluginSource)
        if plugin is not None:
            return plugin.from_address(text)
    # Never treat text that looks like an address as a file name, because messages print file names.
    if is_address(text) or ("@" in text and not path.exists()):
        try:
            return RtspSpec(url=Url(text))
        except ValueError as error:  # the message shows nothing of the address
            reason = str(error)
            kind = f"this {scheme[1].lower()}:// address" if scheme else "text that looks like an address"
        raise UsageError(
            f"cannot use {kind} as a source: {reason}",
            hint="expected rtsp://… or rtsps://… with a host; percent-encode /, ?, # and @ in a user or password",
        )
    if not path.exists() and text.isdecimal():
        return DeviceSpec(device=Path(f"/dev/video{int(text)}"))
    if re.fullmatch(r"/dev/video\d+", text):
        return DeviceSpec(device=path)
    return ImagesSpec(path=path) if path.is_dir() else FileSpec(path=path)
