"""Which detectors there are: built-in ones by name, others by the entry point `streamad.detectors`."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from streamad.bundle import Bundle
from streamad.detectors import BUILT_IN, DEFAULT
from streamad.detectors.base import CameraScorer, Detector, FittedDetector, TrainedDetector
from streamad.detectors.zoned_scorer import CurrentZones, ZonedScorer
from streamad.errors import BundleError, EngineError, PluginError, UsageError, install_hint, suggestion
from streamad.plugins import DETECTORS, find_plugin, plugin_names


def detector_names() -> tuple[str, ...]:
    """Return the names of all detectors, built-in ones first."""
    return (*BUILT_IN, *(name for name in plugin_names(DETECTORS) if name not in BUILT_IN))


@cache
def find_detector(name: str) -> Detector:
    """Return a detector by name.

    Raises:
        UsageError: There is no detector of that name.
        PluginError: It is an installed plugin that cannot be loaded.
    """
    if name in BUILT_IN:
        detector: Detector = import_module(f"streamad.detectors.{name}").DETECTOR
        return detector
    plugin = find_plugin(DETECTORS, name, Detector)
    if plugin is None:
        known = detector_names()
        raise UsageError(f"unknown detector {name!r}; available: {', '.join(known)}", hint=suggestion(name, known))
    if plugin.name != name:
        raise PluginError(f"the plugin {name!r} provides a detector that calls itself {plugin.name!r}")
    return plugin


def trained_detector(name: str) -> TrainedDetector:
    """Return a detector that is trained step by step.

    Raises:
        UsageError: There is no such detector, or it is fitted in closed form.
    """
    detector = find_detector(name)
    if not isinstance(detector, TrainedDetector):
        raise UsageError(f"{name} is fitted in closed form, not trained", hint="fit it with `streamad learn`")
    return detector


def require_trainable(detector: Detector) -> None:
    """Check that what training needs is installed.

    Raises:
        EngineError: A module is missing.
    """
    if isinstance(detector, FittedDetector):
        return
    try:
        import_module("streamad.training.build")
    except ModuleNotFoundError as error:
        raise EngineError(
            f"training {detector.name} needs the module {error.name}",
            hint=f"{install_hint('train')}, or use the detector {DEFAULT}, which needs nothing more",
        ) from error


def detector_of(bundle: Bundle) -> Detector:
    """Return the detector of a bundle.

    Raises:
        BundleError: This version does not know it.
        PluginError: It is an installed plugin that cannot be loaded.
    """
    name = bundle.manifest.detector
    if name not in detector_names():
        raise BundleError(
            f"the bundle {bundle.name} is of detector {name!r}; known here: {', '.join(detector_names())}",
            hint="update streamad, or install the package that provides this detector",
        )
    return find_detector(name)


def camera_scorer(
    bundle: Bundle, camera: str, *, streaming: bool | None = None, zones: CurrentZones | None = None
) -> CameraScorer:
    """Return a fresh scorer of the bundle's detector for one camera.

    Args:
        bundle: The model.
        camera: Configured id of the camera.
        streaming: Whether the streaming form of the network runs. None: if the bundle has one.
        zones: The camera's zones. None: it has none and will have none.

    Raises:
        BundleError: This version does not know the detector, or its form.
    """
    if bundle.manifest.fusion is not None:
        from streamad.detectors.fused_scorer import fused_scorer  # it builds on this module

        return fused_scorer(bundle, camera, zones=zones)
    detector = detector_of(bundle)
    has_form = bundle.streaming_path is not None
    if has_form and detector.streaming is None:
        raise BundleError(
            f"the bundle {bundle.name} has a streaming form, but the detector {detector.name} supports none",
            hint="export the bundle again with this version",
        )
    scorer = detector.scorer(bundle.manifest, camera, streaming=has_form if streaming is None else streaming)
    return scorer if zones is None else ZonedScorer(scorer, bundle.manifest, zones)
