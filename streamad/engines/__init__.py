"""Engines: run an exported network. They know nothing of detectors."""

from streamad.engines.base import BATCH_SIZES, Engine, EngineInfo, EnginePlugin, batch_sizes_for
from streamad.engines.factory import (
    EngineSpec,
    Precision,
    available_engines,
    engine_names,
    open_engine,
    open_stateful_engine,
    resolve_engine,
    runs_streaming,
)
from streamad.engines.stateful import StatefulEngine, StreamChunk, StreamState

__all__ = [
    "BATCH_SIZES",
    "Engine",
    "EngineInfo",
    "EnginePlugin",
    "EngineSpec",
    "Precision",
    "StatefulEngine",
    "StreamChunk",
    "StreamState",
    "available_engines",
    "batch_sizes_for",
    "engine_names",
    "open_engine",
    "open_stateful_engine",
    "resolve_engine",
    "runs_streaming",
]
