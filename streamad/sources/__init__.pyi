from .backoff import Backoff
from .base import Source, SourceInfo
from .device import DeviceSource
from .failures import (
    FailureReason,
    SourceAuthError,
    SourceCodecError,
    SourceCrashedError,
    SourceEndedError,
    SourceError,
    SourceMemoryError,
    SourceNetworkError,
    SourceNotFoundError,
    SourceRefusedError,
    SourceStalledError,
    SourceTimeoutError,
    SourceTlsError,
    classify,
    source_error,
)
from .file import FileSource
from .folders import Clips, LeftOut, find_clips, list_images
from .images import ImageFolderSource, read_gray
from .luma import LumaConverter
from .opening import open_source
from .rtsp import RtspSource
from .spec import (
    DeviceSpec,
    FileSpec,
    ImagesSpec,
    PluginSource,
    ReconnectSpec,
    RtspSpec,
    SourceSpec,
    parse_source,
)
from .status import SourceState, SourceStatus
from .supervisor import SupervisedSource, stop_all, wait_any
from .url import Url

__all__ = [
    "Backoff",
    "Clips",
    "DeviceSource",
    "DeviceSpec",
    "FailureReason",
    "FileSource",
    "FileSpec",
    "ImageFolderSource",
    "ImagesSpec",
    "LeftOut",
    "LumaConverter",
    "PluginSource",
    "ReconnectSpec",
    "RtspSource",
    "RtspSpec",
    "Source",
    "SourceAuthError",
    "SourceCodecError",
    "SourceCrashedError",
    "SourceEndedError",
    "SourceError",
    "SourceInfo",
    "SourceMemoryError",
    "SourceNetworkError",
    "SourceNotFoundError",
    "SourceRefusedError",
    "SourceSpec",
    "SourceStalledError",
    "SourceState",
    "SourceStatus",
    "SourceTimeoutError",
    "SourceTlsError",
    "SupervisedSource",
    "Url",
    "classify",
    "find_clips",
    "list_images",
    "open_source",
    "parse_source",
    "read_gray",
    "source_error",
    "stop_all",
    "wait_any",
]
