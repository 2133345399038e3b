"""Engines: run an exported network. They know nothing of detectors."""

from streamad.engines.base import BATCH_SIZES, Engine, EngineInfo
from streamad.engines.carrying import CarryingEngine
from streamad.engines.factory import (
    EngineSpec,
    available_engines,
    chosen_engine,
    open_carrying_engine,
    open_engine,
)

__all__ = [
    "BATCH_SIZES",
    "CarryingEngine",
    "Engine",
    "EngineInfo",
    "EngineSpec",
    "available_engines",
    "chosen_engine",
    "open_carrying_engine",
    "open_engine",
]
