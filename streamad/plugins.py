"""Plugins: detectors, sources, engines and sinks of other packages, found by their entry points.

A package names what it adds in its pyproject.toml (docs/how-to/extend.md):

    [project.entry-points."streamad.detectors"]
    framediff = "framediff:DETECTOR"

Entry points are looked up only for names that are not built in, and to list names; a plugin is imported only when it is
used. One that cannot be imported is reported in one sentence and disables nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, cast, get_args

from streamad.errors import PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from pydantic_core import CoreSchema

DETECTORS = "streamad.detectors"
SOURCES = "streamad.sources"
ENGINES = "streamad.engines"
SINKS = "streamad.sinks"

_log = logging.getLogger(__name__)

Kind = TypeVar("Kind")


def plugin_names(group: str) -> tuple[str, ...]:
    """Return the names of the installed plugins of a group, sorted; nothing is imported."""
    return tuple(sorted(_entry_points(group)))


def find_plugin(group: str, name: str, base: Callable[..., Kind]) -> Kind | None:
    """Import a plugin that is an object.

    Args:
        group: The group of entry points.
        name: The plugin's name in the group.
        base: The class of the object that the entry point must refer to.

    Returns:
        The plugin; None if no installed package provides one of that name.

    Raises:
        PluginError: It cannot be imported, or is not what it must be.
    """
    wanted = cast(type, base)
    return cast(Kind | None, _load(group, name, lambda found: isinstance(found, wanted), f"a {wanted.__name__}"))


def find_plugin_class(group: str, name: str, base: type[Kind]) -> type[Kind] | None:
    """Import a plugin that is a class; see `find_plugin`.

    Args:
        group: The group of entry points.
        name: The plugin's name in the group.
        base: What the class must be a subclass of.
    """
    return cast(
        type[Kind] | None,
        _load(
            group,
            name,
            lambda found: isinstance(found, type) and issubclass(found, base),
            f"a subclass of {base.__name__}",
        ),
    )


class OrPlugin:
    """Annotation of a union of settings discriminated by `type`, which plugins extend with types of their own.

    Args:
        group: The group of entry points, each a subclass of `base`.
        base: Base class of the settings of plugins; a member of the union.
    """

    def __init__(self, group: str, base: type[Any]) -> None:
        self._group, self._base = group, base
        self._built_in: set[str] = set()

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """Return the schema of the built-in types, behind a look for a plugin's."""
        from pydantic import Field
        from pydantic_core import core_schema

        members = tuple(member for member in get_args(source) if member is not self._base)
        self._built_in = {str(member.model_fields["type"].default) for member in members}
        return core_schema.no_info_wrap_validator_function(
            self._validated,
            handler.generate_schema(Annotated[Union[members], Field(discriminator="type")]),  # noqa: UP007  made here
            serialization=core_schema.wrap_serializer_function_ser_schema(self._serialized, info_arg=True),
        )

    def _validated(self, value: Any, built_in: Callable[[Any], Any]) -> Any:
        if isinstance(value, self._base):
            return value
        kind = value.get("type") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind in self._built_in:
            return built_in(value)
        try:
            plugin = find_plugin_class(self._group, kind, self._base)
        except PluginError as error:
            raise ValueError(str(error)) from error
        return built_in(value) if plugin is None else plugin.model_validate(value)

    def _serialized(self, value: Any, built_in: Callable[[Any], Any], info: Any) -> Any:
        return value.model_dump(mode=info.mode) if isinstance(value, self._base) else built_in(value)


@cache
def _entry_points(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name; if several have one name, the first."""
    from importlib.metadata import entry_points

    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        first = points.setdefault(point.name, point)
        if first.value != point.value:
            _log.warning(
                "%s and %s both add %r to %s; the first is used", _package(first), _package(point), point.name, group
            )
    return points


def _load(group: str, name: str, is_right: Callable[[Any], bool], wanted: str) -> Any:
    point = _entry_points(group).get(name)
    if point is None:
        return None
    plugin, hint = f"the plugin {name!r} of {_package(point)}", "update or uninstall that package"
    try:
        found = point.load()
    except Exception as error:
        raise PluginError(f"{plugin} cannot be loaded: {type(error).__name__}: {error}", hint=hint) from error
    if not is_right(found):
        raise PluginError(f"{plugin} cannot be used: {point.value} is not {wanted}", hint=hint)
    return found


def _package(point: EntryPoint) -> str:
    return "an unknown package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
