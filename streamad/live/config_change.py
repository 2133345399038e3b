"""What a changed configuration means for a running watch: which cameras it touches, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel

from streamad.alerts.sinks import NotifierSpec, SinkSpec
from streamad.alerts.sinks.routing import Routing
from streamad.config import CameraSpec, Config

_OF_CAMERAS = ("version", "model", "cameras", "rules", "quality", "sinks")
"""Settings of the file that are compared camera by camera or sink by sink."""


@dataclass(frozen=True)
class ConfigChange:
    """The difference between two configurations.

    Attributes:
        added: Ids of new cameras.
        removed: Ids of cameras that are gone.
        restarted: Ids of cameras with another source, model or frame-quality gate: they are connected again.
        changed: Ids of cameras with other zones, hours, alerts or calibrations: they change between two frames.
        restart_needed: Settings that take effect at the next start of the program.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    restart_needed: tuple[str, ...] = ()

    @classmethod
    def between(cls, old: Config, new: Config) -> ConfigChange:
        """Compare two configurations."""
        before = {camera.id: camera for camera in old.cameras}
        after = {camera.id: camera for camera in new.cameras}
        kept = [name for name in after if name in before]
        restarted = [n for n in kept if _connected(old, before[n]) != _connected(new, after[n])]
        changed = [n for n in kept if n not in restarted and _watched(old, before[n]) != _watched(new, after[n])]
        return cls(
            added=tuple(name for name in after if name not in before),
            removed=tuple(name for name in before if name not in after),
            restarted=tuple(restarted),
            changed=tuple(changed),
            restart_needed=(*_settings(old, new), *_sinks(old.sinks, new.sinks)),
        )

    @property
    def is_empty(self) -> bool:
        """Whether the configurations are the same."""
        return not any(asdict(self).values())

    def __str__(self) -> str:
        words = {
            "added": self.added, "removed": self.removed, "connected again": self.restarted, "changed": self.changed,
        }  # fmt: skip
        said = [f"{word} {', '.join(names)}" for word, names in words.items() if names]
        if self.restart_needed:
            said.append(f"at the next start: {', '.join(self.restart_needed)}")
        return "; ".join(said) or "nothing has changed"


def _connected(config: Config, camera: CameraSpec) -> tuple[Any, ...]:
    """What a camera cannot change while it is connected."""
    return camera.source, camera.evidence_source, config.model_of(camera), config.quality_of(camera)


def _watched(config: Config, camera: CameraSpec) -> tuple[Any, ...]:
    """What a camera can change between two frames."""
    return (
        config.rules_of(camera), camera.zones, camera.time_zone, camera.active, camera.profiles, camera.calibration,
        camera.alerts_per_day, camera.threshold,
    )  # fmt: skip


def _settings(old: Config, new: Config) -> list[str]:
    """The paths of settings of the whole program that differ."""
    found = []
    for name in Config.model_fields:
        before, after = getattr(old, name), getattr(new, name)
        if name in _OF_CAMERAS or before == after:
            continue
        if isinstance(before, BaseModel) and type(before) is type(after):
            found += [
                f"{name}.{part}" for part in type(before).model_fields if getattr(before, part) != getattr(after, part)
            ]
        else:
            found.append(name)
    return found


def _sinks(old: Sequence[SinkSpec], new: Sequence[SinkSpec]) -> list[str]:
    """The sinks that differ in more than what they are told of."""
    before, after = ([_kept(sink) for sink in sinks] for sinks in (old, new))
    return [] if before == after else ["sinks"]


def _kept(sink: SinkSpec) -> Any:
    """A sink's settings without those of its routing, which change while it runs."""
    if not isinstance(sink, NotifierSpec):
        return sink
    return type(sink), {n: getattr(sink, n) for n in type(sink).model_fields if n not in Routing.model_fields}
