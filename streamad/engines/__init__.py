"""Engines: run an exported network. They know nothing of detectors."""

from streamad.engines.base import BATCH_SIZES, Engine, EngineInfo, EnginePlugin
from streamad.engines.factory import (
    EngineSpec,
    available_engines,
    open_engine,
    open_stateful_engine,
    resolve_engine,
    runs_streaming,
)
from streamad.engines.stateful import StatefulEngine

__all__ = [
    "BATCH_SIZES",
    "Engine",
    "EngineInfo",
    "EnginePlugin",
    "EngineSpec",
    "StatefulEngine",
    "available_engines",
    "open_engine",
    "open_stateful_engine",
    "resolve_engine",
    "runs_streaming",
]
