"""Plugins: detectors, sources, engines and sinks of other packages, found by their entry points.

A package names what it adds in its pyproject.toml (docs/how-to/extend.md):

    [project.entry-points."streamad.detectors"]
    framediff = "streamad_example:DETECTOR"

Entry points are looked up only for a name that is not built in, and for lists of names; a plugin is imported only when
it is used. One that cannot be imported fails with one sentence, and nothing else does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar, cast

from streamad.errors import PluginError

DETECTORS = "streamad.detectors"
SOURCES = "streamad.sources"
ENGINES = "streamad.engines"
SINKS = "streamad.sinks"

_log = logging.getLogger(__name__)

Kind = TypeVar("Kind")


@cache
def _found(group: str) -> dict[str, EntryPoint]:
    """Entry points of a group by name; of several with one name the first counts."""
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        if points.setdefault(point.name, point) != point and points[point.name].value != point.value:
            _log.warning("two packages add %r to %s: %s is used", point.name, group, _package(points[point.name]))
    return points


def plugin_names(group: str) -> tuple[str, ...]:
    """Return the names of the installed plugins of a group, sorted; nothing is imported."""
    return tuple(sorted(_found(group)))


def find_plugin(group: str, name: str, kind: Callable[..., Kind]) -> Kind | None:
    """Import a plugin.

    Args:
        group: The group of entry points.
        name: The plugin's name in the group.
        kind: What the entry point must refer to.

    Returns:
        The plugin; None if no installed package provides one of that name.

    Raises:
        PluginError: It cannot be imported, or is not a `kind`.
    """
    point = _found(group).get(name)
    if point is None:
        return None
    where = f"the plugin {name!r} of {_package(point)}"
    hint = "update or uninstall that package"
    try:
        found: Any = point.load()
    except Exception as error:
        raise PluginError(f"{where} cannot be loaded: {type(error).__name__}: {error}", hint=hint) from error
    if not isinstance(found, cast(type, kind)):
        raise PluginError(
            f"{where} is not usable: {point.value} is a {type(found).__name__}, expected a {cast(type, kind).__name__}",
            hint=hint,
        )
    return cast(Kind, found)


def _package(point: EntryPoint) -> str:
    return "an unknown package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
