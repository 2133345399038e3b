"""Decoding: video files, image folders, RTSP cameras and devices, each as a stream of `Frame`.

`open_source` decodes in this process; `SupervisedSource` decodes in a separate process that it monitors and
restarts. Names are imported on first use, so that reading a configuration loads no decoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamad.lazy import lazy_names

if TYPE_CHECKING:
    from streamad.sources.backoff import Backoff
    from streamad.sources.base import Source, SourceInfo
    from streamad.sources.device import DeviceSource
    from streamad.sources.failures import (
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
    from streamad.sources.file import FileSource
    from streamad.sources.folders import Clips, LeftOut, find_clips, list_images
    from streamad.sources.images import ImageFolderSource, read_gray
    from streamad.sources.luma import LumaConverter
    from streamad.sources.opening import open_source
    from streamad.sources.rtsp import RtspSource
    from streamad.sources.spec import (
        DeviceSpec,
        FileSpec,
        ImagesSpec,
        PluginSource,
        ReconnectSpec,
        RtspSpec,
        SourceSpec,
        parse_source,
    )
    from streamad.sources.status import SourceState, SourceStatus
    from streamad.sources.supervisor import SupervisedSource, stop_all, wait_any
    from streamad.sources.url import Url

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

__getattr__ = lazy_names(
    __name__,
    {
        "backoff": "Backoff",
        "base": "Source SourceInfo",
        "device": "DeviceSource",
        "failures": "FailureReason SourceAuthError SourceCodecError SourceCrashedError SourceEndedError SourceError "
        "SourceMemoryError SourceNetworkError SourceNotFoundError SourceRefusedError SourceStalledError "
        "SourceTimeoutError SourceTlsError classify source_error",
        "file": "FileSource",
        "folders": "Clips LeftOut find_clips list_images",
        "images": "ImageFolderSource read_gray",
        "luma": "LumaConverter",
        "opening": "open_source",
        "rtsp": "RtspSource",
        "spec": "DeviceSpec FileSpec ImagesSpec PluginSource ReconnectSpec RtspSpec SourceSpec parse_source",
        "status": "SourceState SourceStatus",
        "supervisor": "SupervisedSource stop_all wait_any",
        "url": "Url",
    },
)
