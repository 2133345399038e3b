"""Shell completion of names: models, data sets, detectors, engines."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from streamad.detectors import BUILT_IN

DATASETS = ("avenue", "ped1", "ped2", "shanghaitech")
IMAGE_BENCHMARKS = ("mnist", "fashion-mnist", "cifar10", "mvtec")
ENGINES = ("auto", "openvino", "onnx", "torch", "tensorrt", "tensorrt-rtx")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
"""Copies of what the registries define, whose import takes 0.3 s. A test compares them."""


def complete_model(incomplete: str) -> list[str]:
    """Names of model bundles."""
    from streamad.model_folders import list_bundles

    return _matching(incomplete, (path.name for path in list_bundles()))


def complete_detector(incomplete: str) -> list[str]:
    """Names of detectors."""
    from streamad.plugins import DETECTORS, plugin_names

    return _matching(incomplete, (*BUILT_IN, *plugin_names(DETECTORS)))


def complete_engine(incomplete: str) -> list[str]:
    """Names of engines."""
    from streamad.plugins import ENGINES as GROUP
    from streamad.plugins import plugin_names

    return _matching(incomplete, (*ENGINES, *plugin_names(GROUP)))


def complete_from(names: Iterable[str]) -> Callable[[str], list[str]]:
    """A completion from fixed names."""

    def complete(incomplete: str) -> list[str]:
        return _matching(incomplete, names)

    return complete


def _matching(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
