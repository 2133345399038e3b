"""A watch takes up a changed configuration, from its file and through the API; real cameras are in test_reload."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from bundle_support import THRESHOLD, moving_shapes, write_mp4
from openapi_support import fits

from streamad.accounts import Role
from streamad.bundle import CALIBRATION, load_bundle, write_manifest
from streamad.calibration import calibrate_bundle
from streamad.config import parse_config
from streamad.errors import BundleError, ConfigError
from streamad.live.config_change import ConfigChange
from streamad.live.monitor import Monitor
from streamad.observability.health import Health
from streamad.observability.metrics import Metrics
from streamad.service import watch
from streamad.versions import activate, new_version
from streamad.web import WebServer, WebSpec, create_app
from streamad.web.access import Identity
from streamad.workflows.reload import ReadOnlyError, Reloading

CAMERAS = """\
cameras:
  - id: gate           # the gate
    source: &video {{type: file, path: {video}, realtime: true}}
    threshold: {threshold}    # by hand
  - id: yard
    source: *video
    threshold: {threshold}
"""
LEFT = {"name": "left", "type": "exclude", "polygon": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute in which something always moves."""
    return write_mp4(tmp_path_factory.mktemp("reloading") / "busy.mp4", moving_shapes(600, shapes=3), fps=10)


@contextmanager
def watching(folder: Path, bundle: Path, video: Path) -> Iterator[tuple[Path, Monitor, Reloading, Metrics]]:
    """A watch of two cameras in a thread."""
    path = folder / "site.yaml"
    settings = yaml.safe_dump({
        "model": str(bundle), "web": {"enabled": False}, "evidence": {"enabled": False},
        "events": {"path": str(folder / "events.sqlite")}, "history": {"folder": str(folder / "scores")},
    })  # fmt: skip
    path.write_text(settings + CAMERAS.format(video=video, threshold=THRESHOLD))
    parts: dict[str, Any] = {}
    metrics = Metrics()
    thread = threading.Thread(
        target=watch,
        args=(path,),
        kwargs={
            "metrics": metrics,
            "on_start": lambda monitor: parts.update(monitor=monitor),
            "on_reloadable": lambda reloading: parts.update(reloading=reloading),
        },
    )
    thread.start()
    try:
        eventually(lambda: len(parts) == 2)
        eventually(lambda: all(camera.scored > 20 for camera in parts["monitor"].cameras))
        yield path, parts["monitor"], parts["reloading"], metrics
    finally:
        parts["monitor"].stop()
        thread.join(30)


def eventually(question: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def client(monitor: Monitor, reloading: Reloading, role: Role = Role.ADMIN) -> Iterator[httpx.Client]:
    """The API of a watch, for somebody with a role."""

    def settings(camera: str) -> dict[str, Any] | None:
        found = monitor.settings(camera)
        return None if found is None else {**found, "is_editable": reloading.is_editable}

    app = create_app(
        metrics=Metrics(), health=Health(), status=monitor.status, configuration=reloading, camera_settings=settings,
    )  # fmt: skip
    app.state.authenticate = lambda _: Identity("eva", role, "token", "127.0.0.1")
    with WebServer(app, WebSpec(port=0)) as server, httpx.Client(base_url=server.url, timeout=60) as api:
        yield api


def test_zones_and_settings_are_written_and_taken_up(small_bundle: Path, video: Path, tmp_path: Path) -> None:
    with (
        watching(tmp_path, small_bundle, video) as (path, monitor, reloading, _),
        client(monitor, reloading) as api,
        client(monitor, reloading, Role.VIEWER) as viewer,
        client(monitor, reloading, Role.OPERATOR) as operator,
    ):
        before = path.read_text()
        gate, yard = monitor.cameras
        decoders = [camera.source._process for camera in monitor.cameras]
        answer = api.put("/api/v1/cameras/gate/zones", json={"zones": [LEFT]})
        assert answer.status_code == 200, answer.text
        assert answer.json()["zones"][0]["name"] == "left"
        assert answer.json()["is_editable"]
        assert api.get("/api/v1/cameras/gate").json() == answer.json()
        assert yaml.safe_load(path.read_text())["cameras"][0]["zones"] == [LEFT]
        assert "# the gate" in path.read_text()
        assert (tmp_path / "site.previous.yaml").read_text() == before
        assert [zone.name for zone in gate.session.zones] == ["left"]
        assert not yard.session.zones

        answer = api.put("/api/v1/cameras/gate/settings", json={"threshold": 0.75})
        assert answer.json()["threshold"] == gate.policy.threshold == 0.75
        assert "    threshold: 0.75    # by hand\n" in path.read_text()
        assert yard.policy.threshold == THRESHOLD
        assert api.put("/api/v1/cameras/gate/zones", json={"zones": []}).json()["zones"] == []
        assert path.read_text() == before.replace(f"{THRESHOLD}    # by", "0.75    # by")
        assert [camera.source._process for camera in monitor.cameras] == decoders

        # What is not valid changes nothing.
        crossing = {**LEFT, "polygon": [[0, 0], [1, 1], [1, 0], [0, 1]]}
        for body in ({"zones": [crossing]}, {"zones": [LEFT, LEFT]}, {"zones": [{**LEFT, "name": "-"}]}, {}):
            assert api.put("/api/v1/cameras/gate/zones", json=body).status_code == 422
        answer = api.put("/api/v1/cameras/gate/settings", json={"alerts_per_day": 1})
        assert answer.status_code == 422
        assert answer.json()["faults"][0]["message"].endswith(
            "cannot be combined with `calibration` or `alerts_per_day`"
        )
        assert api.put("/api/v1/cameras/none/zones", json={"zones": []}).status_code == 404
        assert gate.policy.threshold == 0.75

        # Who may do what.
        assert viewer.put("/api/v1/cameras/gate/zones", json={"zones": []}).status_code == 403
        assert operator.post("/api/v1/reload").status_code == 403


NIGHT = {"start": "22:00", "end": "06:00", "days": ["fri", "sat"]}
REFUSED: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"active": [{**NIGHT, "days": []}]}, {"active.0.days": "choose at least one day of the week"}),
    ({"active": [{**NIGHT, "end": "24:30"}]}, {"active.0.end": "expected a time of day such as 22:00, got '24:30'"}),
    ({"active": [{**NIGHT, "start": "22:00+01:00"}]}, {"active.0.start": "expected a time of day such as 22:00"}),
    ({"active": [NIGHT, {**NIGHT, "days": ["daily"]}]}, {"active.1.days.0": "Input should be"}),
    ({"time_zone": "Berlin"}, {"time_zone": "unknown time zone 'Berlin'; expected a name such as Europe/Berlin"}),
    ({"time_zone": "../secret"}, {"time_zone": "not a time zone"}),
    ({"profiles": [{"name": "a", "hours": [], "calibration": "x"}]}, {"profiles.0.hours": "at least 1 item"}),
    (
        {"profiles": [{"name": "a", "hours": [NIGHT], "calibration": "/etc/passwd"}]},
        {"profiles.0.calibration": "no profile of this camera has the calibration /etc/passwd"},
    ),
    ({"threshold": None, "active": [NIGHT] * 33}, {"active": "at most 32"}),
]


def test_hours_and_profiles_are_written_and_taken_up(small_bundle: Path, video: Path, tmp_path: Path) -> None:
    scores = np.random.default_rng(1).uniform(-10, -6, 6000)
    for name in ("day", "night"):
        calibrate_bundle(load_bundle(small_bundle), [scores], fps=10, source=name).save(tmp_path / f"{name}.json")
    with (
        watching(tmp_path, small_bundle, video) as (path, monitor, reloading, _),
        client(monitor, reloading) as api,
        client(monitor, reloading, Role.VIEWER) as viewer,
        client(monitor, reloading, Role.OPERATOR) as operator,
    ):
        gate = monitor.cameras[0]
        settings = "/api/v1/cameras/gate/settings"
        before = path.read_text()
        assert viewer.put(settings, json={"active": [NIGHT]}).status_code == 403
        for body, expected in REFUSED:
            answer = operator.put(settings, json=body)
            assert answer.status_code == 422, body
            assert answer.json()["fields"].keys() == expected.keys()
            assert all(message in answer.json()["fields"][field] for field, message in expected.items()), answer.text
            fits(api.get("/api/v1/openapi.json").json(), "/api/v1/cameras/{camera}/settings", answer)
        for body in ("NaN", "1e999"):  # not taken for null, which removes a setting
            json_type = {"Content-Type": "application/json"}
            answer = operator.put(settings, content=f'{{"threshold": {body}}}', headers=json_type)
            assert answer.json()["fields"] == {"threshold": "Input should be a finite number"}
        assert path.read_text() == before

        answer = operator.put(settings, json={"time_zone": "Europe/Berlin", "active": [NIGHT]})
        assert answer.status_code == 200, answer.text
        assert (answer.json()["time_zone"], answer.json()["active"]) == ("Europe/Berlin", [NIGHT])
        assert datetime.fromisoformat(answer.json()["local_time"]).utcoffset() in (
            timedelta(hours=1),
            timedelta(hours=2),
        )
        assert (gate.spec.time_zone, gate.spec.active[0].days) == ("Europe/Berlin", ("fri", "sat"))
        added = path.read_text().replace(before.split("  - id: yard")[0], "")
        assert added.startswith(
            "    time_zone: Europe/Berlin\n    active:\n      - start: '22:00'\n        end: 06:00\n"
        )
        assert operator.put(settings, json={"active": [], "time_zone": None}).json()["active"] == []
        assert path.read_text() == before

        # Of profiles, the hours, names and order can be changed. They do not fit a bare threshold.
        profile = {"name": "night", "hours": [NIGHT], "calibration": str(tmp_path / "night.json")}
        with_profile = yaml.safe_load(before)
        del with_profile["cameras"][0]["threshold"]
        with_profile["cameras"][0] |= {"calibration": str(tmp_path / "day.json"), "profiles": [profile]}
        path.write_text(yaml.safe_dump(with_profile))
        reloading.reload()
        later = {**profile, "name": "late", "hours": [{**NIGHT, "start": "23:00"}, {"start": "12:00", "end": "13:00"}]}
        answer = operator.put(settings, json={"profiles": [later]})
        assert answer.status_code == 200, answer.text
        assert yaml.safe_load(path.read_text())["cameras"][0]["profiles"] == [later]
        assert [profile.name for profile in gate.spec.profiles] == ["late"]
        before = path.read_text()
        for body in ({"profiles": [later, later]}, {"profiles": [{**later, "name": "a b"}]}):
            answer = operator.put(settings, json=body)
            assert answer.status_code == 422
            assert answer.json()["faults"]
        answer = operator.put(settings, json={"threshold": 1.0, "calibration": None})
        assert answer.status_code == 422
        assert path.read_text() == before
        assert operator.put(settings, json={"profiles": []}).json()["profiles"] == []
        assert "profiles" not in yaml.safe_load(path.read_text())["cameras"][0]


def test_a_broken_file_is_answered_with_its_lines(small_bundle: Path, video: Path, tmp_path: Path) -> None:
    with (
        watching(tmp_path, small_bundle, video) as (path, monitor, reloading, metrics),
        client(monitor, reloading) as api,
    ):
        text = path.read_text()
        assert b"streamad_config_last_reload_successful 1.0" in metrics.render()
        path.write_text(text.replace("realtime", "realtim"))
        answer = api.post("/api/v1/reload")
        assert answer.status_code == 422
        fault = next(f for f in answer.json()["faults"] if "realtim" in f["message"])
        assert "realtim" in path.read_text().splitlines()[fault["line"] - 1]
        assert b"streamad_config_last_reload_successful 0.0" in metrics.render()
        path.write_text(text.replace("id: yard", "id: gate"))
        assert "camera id 'gate' is also used on line" in api.post("/api/v1/reload").json()["error"]
        with pytest.raises(ConfigError):  # an edit would activate what is broken
            reloading.edit("gate", {"threshold": 1.0})
        assert len(monitor.cameras) == 2

        path.write_text(text.replace("id: yard", "id: lawn"))
        report = api.post("/api/v1/reload").json()
        assert report == {
            "added": ["lawn"], "removed": ["yard"], "restarted": [], "changed": [], "restart_needed": [],
        }  # fmt: skip
        assert b"streamad_config_last_reload_successful 1.0" in metrics.render()
        eventually(lambda: monitor.cameras[1].scored > 5)
        eventually(lambda: b'camera="yard"' not in metrics.render())
        assert b'camera="lawn"' in metrics.render()


def test_models_and_calibrations_made_again_are_taken_up(small_bundle: Path, video: Path, tmp_path: Path) -> None:
    gate, yard = tmp_path / "models" / "gate", tmp_path / "models" / "yard"
    first = new_version(gate)
    shutil.copytree(small_bundle, first, dirs_exist_ok=True)
    activate(gate, first)
    shutil.copytree(small_bundle, yard)

    def calibrated(highest: float) -> float:
        scores = np.random.default_rng(1).uniform(-10, highest, 6000)
        made = calibrate_bundle(load_bundle(small_bundle), [scores], fps=10, source="test")
        made.save(yard / CALIBRATION)
        write_manifest(yard, load_bundle(small_bundle).manifest)
        return made.threshold

    before = calibrated(-6)
    with watching(tmp_path, gate, video) as (path, monitor, reloading, _):
        text = path.read_text()
        head = text.split("  - id: yard\n")[0]
        path.write_text(f"{head}  - id: yard\n    model: {yard}\n    source: *video\n")
        assert reloading.reload().restarted == ("yard",)
        assert monitor.cameras[1].policy.threshold == before
        bundles = [camera.model.bundle for camera in monitor.cameras]
        assert reloading.reload().is_empty
        assert all(camera.model.bundle is bundle for camera, bundle in zip(monitor.cameras, bundles, strict=True))
        decoders = [camera.source._process for camera in monitor.cameras]

        after = calibrated(-5)
        assert reloading.reload() == ConfigChange(changed=("yard",))
        assert monitor.cameras[1].policy.threshold == after != before
        assert [camera.source._process for camera in monitor.cameras] == decoders

        fresh = new_version(gate)
        shutil.copytree(small_bundle, fresh, dirs_exist_ok=True)
        document = yaml.safe_load((fresh / "model.yaml").read_text())
        document["description"] = "the same network, learned again"
        (fresh / "model.yaml").write_text(yaml.safe_dump(document))
        activate(gate, fresh)
        old = monitor.model(str(gate))
        assert reloading.reload() == ConfigChange(restarted=("gate",))
        camera, other = monitor.cameras
        assert (camera.model.bundle.path.name, camera.model.bundle.manifest.description) == (
            "0002",
            document["description"],
        )
        assert camera.model is monitor.model(str(gate)) is not old
        assert other.source._process is decoders[1]
        eventually(lambda: camera.scored > 5)
        assert reloading.reload().is_empty

        # What cannot be opened changes nothing.
        (camera.model.bundle.path / "model.onnx").write_bytes(b"")
        with pytest.raises(BundleError):
            reloading.reload()
        eventually(lambda scored=camera.scored: camera.scored > scored)


def test_what_cannot_be_written_is_given_to_paste(small_bundle: Path, video: Path, tmp_path: Path) -> None:
    with watching(tmp_path, small_bundle, video) as (path, monitor, reloading, _), client(monitor, reloading) as api:
        block = "  - id: yard\n    source: *video\n    threshold:"
        text = path.read_text().replace(block, "  - {id: yard, source: *video, threshold:")
        path.write_text(text.rstrip() + "}\n")
        reloading.reload()
        answer = api.put("/api/v1/cameras/yard/zones", json={"zones": [LEFT]})
        assert answer.status_code == 409
        assert yaml.safe_load(answer.json()["yaml"]) == {"cameras": [{"id": "yard", "zones": [LEFT]}]}
        if os.geteuid():  # root may write everywhere
            tmp_path.chmod(0o500)
            try:
                with pytest.raises(ReadOnlyError):
                    reloading.edit("gate", {"threshold": 1.0})
            finally:
                tmp_path.chmod(0o700)


def test_what_a_change_touches() -> None:
    def config(cameras: list[dict[str, Any]], **more: Any) -> Any:
        given = [{"source": {"type": "file", "path": "a.mp4"}, **camera} for camera in cameras]
        return parse_config(yaml.safe_dump({"model": "m", "cameras": given, **more}))

    old = config([{"id": "a"}, {"id": "b"}, {"id": "c", "model": "n"}, {"id": "d", "rules": {}}])
    between = ConfigChange.between
    assert between(old, old).is_empty
    assert between(old, config([{"id": "b"}, {"id": "e"}])).removed == ("a", "c", "d")
    assert between(old, config([{"id": "b"}, {"id": "e"}])).added == ("e",)
    other_model = old.model_copy(update={"model": "o"})
    assert between(old, other_model).restarted == ("a", "b", "d")
    cameras = [{"id": "a"}, {"id": "b"}, {"id": "c", "model": "n"}, {"id": "d", "rules": {}}]
    assert between(old, config(cameras, rules={"min_duration_seconds": 2})).changed == ("a", "b", "c")
    webhook = {"type": "webhook", "url": "https://hooks.example/x"}
    changes: list[dict[str, Any]] = [{}, {"cameras": ["a"]}, {"timeout_seconds": 3}]
    sinks = [config([{"id": "a"}], sinks=[{**webhook, **more}]) for more in changes]
    assert between(sinks[0], sinks[1]).restart_needed == ()
    assert between(sinks[0], sinks[2]).restart_needed == ("sinks",)
    web = config([{"id": "a"}], web={"port": 1, "enabled": False}, logging={"level": "debug"})
    assert between(config([{"id": "a"}]), web).restart_needed == ("web.enabled", "web.port", "logging.level")
