"""The OpenAPI document, checked by an independent validator, and every answer checked against it."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from openapi_spec_validator import validate
from openapi_support import fits
from unit.alerts.alert_events import make_event, make_health_event

from streamad.accounts import Role, User, changed_accounts, hash_password
from streamad.alerts import EventStore
from streamad.observability import Health, Metrics
from streamad.web import Logins, WebServer, WebSpec, create_app

API = "/api/v1"
PASSWORD = "correct horse battery"
EVENT = make_event(1, state="closed")
CLIP = bytes(range(256)) * 40
CAMERA: dict[str, Any] = {
    "id": "gate", "state": "up", "reason": None, "message": None, "fps": 25.0, "frames": 10, "dropped": 0,
    "reconnects": 0, "score": float("nan"), "threshold": 2.0, "budget": None, "recurrence": None, "foreign": None,
    "alert": "none", "latency_seconds": 0.1, "last_frame_at": 1.0, "last_frame_seconds": 0.1,
    "recent": [(0.0, 1.0), (0.04, None)], "size": (640, 480), "quality": None, "held": {"dark": 3},
    "drift": {"ratio": float("nan"), "drifted": None, "message": None}, "is_active": True,
}  # fmt: skip


class Opened:
    """A server with everything that it can serve, an admin's client, and the document."""

    def __init__(self, folder: Path) -> None:
        users = folder / "users.json"
        with changed_accounts(users) as states:
            states.append(states[0].with_user(User(name="anna", role=Role.ADMIN, password=hash_password(PASSWORD))))
        self.evidence = folder / "evidence"
        own = self.evidence / EVENT.camera / EVENT.id
        own.mkdir(parents=True)
        (own / "clip.mp4").write_bytes(CLIP)
        (own / "event.json").write_text(EVENT.to_json())
        self.store = EventStore(folder / "events.sqlite")
        for event in (make_event(0), EVENT, make_health_event(2)):
            self.store.save(event)
        spec = WebSpec(port=0, users=users)
        self.app = create_app(
            metrics=Metrics(),
            health=Health(),
            status=self.status,
            store=self.store,
            preview=lambda camera, has_map: b"\xff\xd8jpeg" if camera == "gate" else None,
            evidence=self.evidence,
            logins=Logins(spec, events=self.store.path),
        )
        self.server = WebServer(self.app, spec)
        self.server.start()
        self.client = httpx.Client(base_url=self.server.url, timeout=20)
        answer = self.client.post(f"{API}/login", json={"name": "anna", "password": PASSWORD})
        self.client.headers["X-CSRF-Token"] = answer.json()["csrf_token"]
        self.document: dict[str, Any] = self.client.get(f"{API}/openapi.json").json()

    @staticmethod
    def status() -> dict[str, Any]:
        fields = _required("StatusDocument"), _required("CameraStatus")
        camera = {name: CAMERA.get(name) for name in fields[1]}
        known: dict[str, Any] = {
            "version": "1", "started_at": 1.0, "uptime_seconds": 2.0, "overloaded": False,
            "engine": {"name": "openvino", "device": "CPU", "precision": "fp32", "why": "no GPU"},
            "models": [{"name": "motion", "sha256": "ab", "detector": "motion"}], "cameras": [camera],
            "events": {"total": 1, "path": None, "error": None},
        }  # fmt: skip
        return {name: known.get(name) for name in fields[0]}

    def close(self) -> None:
        self.client.close()
        self.server.stop()
        self.store.close()


def _required(name: str) -> list[str]:
    """The keys of a document that are always there; those that other tests cover by their value are null here."""
    schema = create_app(metrics=Metrics(), health=Health(), status=dict).openapi()["components"]["schemas"][name]
    return list(schema["required"])


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    site = Opened(tmp_path_factory.mktemp("site"))
    yield site
    site.close()


def test_the_document_is_valid_openapi(opened: Opened) -> None:
    validate(opened.document)
    assert opened.document["openapi"].startswith("3.1")
    ids = [operation["operationId"] for path in opened.document["paths"].values() for operation in path.values()]
    assert len(set(ids)) == len(ids)


def test_every_route_is_in_the_document(opened: Opened) -> None:
    """A route that is left out of it would escape the checks below."""
    hidden: list[str] = []
    pending: list[Any] = list(opened.app.routes)
    while pending:
        route = pending.pop()
        pending += getattr(getattr(route, "original_router", None), "routes", [])
        if isinstance(route, APIRoute) and not route.include_in_schema:
            hidden.append(route.path)
    assert set(hidden) == {"/", "/static/{of}/{name}"}, "the page itself, which holds no data"


def test_every_path_and_parameter_has_a_description(opened: Opened) -> None:
    for path, methods in opened.document["paths"].items():
        for method, operation in methods.items():
            assert operation["description"], f"{method} {path}"
            assert all(p.get("description") or p["in"] == "path" for p in operation.get("parameters", ())), path


def filled(path: str) -> str:
    """A path with values for its parameters."""
    known = {"event": EVENT.id, "camera": "gate", "name": "clip.mp4"}
    return re.sub(r"\{(\w+)\}", lambda match: known.get(match[1], "x"), path)


# What may be asked without a login from anywhere: that the process lives, and to log in.
OPEN = {("get", "/healthz"), ("get", "/readyz"), ("post", f"{API}/login")}


def test_nothing_else_answers_a_stranger(opened: Opened, tmp_path: Path) -> None:
    """The document has every route, and each is refused; so a route that is added later is, too."""
    spec = WebSpec(port=0, anonymous="nowhere")
    app = create_app(
        metrics=Metrics(), health=Health(), status=dict, store=opened.store, evidence=opened.evidence,
        preview=lambda camera, has_map: b"x", logins=Logins(spec),
    )  # fmt: skip
    with WebServer(app, spec) as server, httpx.Client(base_url=server.url) as client:
        for path, methods in app.openapi()["paths"].items():
            for method in methods:
                if (method, path) in OPEN:
                    continue
                body = {"json": {"kind": "none"}} if method in ("put", "post") else {}
                answer = client.request(method, filled(path), **body)
                assert answer.status_code == 401, f"{method} {path}"


def test_what_changes_something_needs_more_than_a_viewer(opened: Opened, tmp_path: Path) -> None:
    for path, methods in opened.document["paths"].items():
        for method in methods:
            if method == "get" or path in (f"{API}/login", f"{API}/logout"):
                continue
            with httpx.Client(base_url=opened.server.url) as local:  # without a login: a viewer
                assert local.request(method, filled(path), json={}).status_code == 401, f"{method} {path}"


def test_answers_are_as_described(opened: Opened) -> None:
    client, event = opened.client, f"{API}/events/{EVENT.id}"
    asked: list[tuple[str, httpx.Response, int]] = [
        ("/healthz", client.get("/healthz"), 200),
        ("/readyz", client.get("/readyz"), 503),
        ("/status", client.get("/status"), 200),
        ("/metrics", client.get("/metrics"), 200),
        (f"{API}/status", client.get(f"{API}/status"), 200),
        (f"{API}/cameras", client.get(f"{API}/cameras"), 200),
        (f"{API}/cameras/{{camera}}/preview.jpg", client.get(f"{API}/cameras/gate/preview.jpg"), 200),
        (f"{API}/cameras/{{camera}}/preview.jpg", client.get(f"{API}/cameras/none/preview.jpg"), 404),
        (f"{API}/events/{{event}}/mark", client.put(f"{event}/mark", json={"kind": "reviewed"}), 200),
        (f"{API}/events/{{event}}/mark", client.put(f"{event}/mark", json={"kind": "wrong"}), 422),
        (f"{API}/events/{{event}}/mark", client.put(f"{API}/events/none/mark", json={"kind": "none"}), 404),
        (f"{API}/events/{{event}}/mark", httpx.put(opened.server.url + f"{event}/mark", json={"kind": "none"}), 401),
        (f"{API}/events", client.get(f"{API}/events", params={"limit": 1}), 200),
        (f"{API}/events", client.get(f"{API}/events"), 200),
        (f"{API}/events", client.get(f"{API}/events", params={"limit": 0}), 422),
        (f"{API}/events", client.get(f"{API}/events", params={"cursor": "none"}), 422),
        (f"{API}/health-events", client.get(f"{API}/health-events"), 200),
        (f"{API}/events/{{event}}", client.get(event), 200),
        (f"{API}/events/{{event}}", client.get(f"{API}/events/none"), 404),
        (f"{API}/events/{{event}}/evidence/{{name}}", client.get(f"{event}/evidence/clip.mp4"), 200),
        (f"{API}/events/{{event}}/evidence/{{name}}", client.get(f"{event}/evidence/none"), 404),
        (f"{API}/events/{{event}}/evidence.zip", client.get(f"{event}/evidence.zip"), 200),
        (f"{API}/events/{{event}}/evidence.zip", client.get(f"{API}/events/none/evidence.zip"), 404),
        (f"{API}/audit", client.get(f"{API}/audit"), 200),
        (f"{API}/audit", client.get(f"{API}/audit", params={"since": "2026-01-01"}), 422),
        (f"{API}/me", client.get(f"{API}/me"), 200),
        (f"{API}/login", client.post(f"{API}/login", json={"name": "x", "password": "y"}), 401),
        (f"{API}/openapi.json", client.get(f"{API}/openapi.json"), 200),
    ]
    for path, answer, code in asked:
        assert answer.status_code == code, (path, answer.text)
        fits(opened.document, path, answer)
        if answer.headers["content-type"].startswith("application/json"):
            json.loads(answer.text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


# ── Evidence ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("wanted", "code", "first", "last"),
    [
        ("bytes=0-99", 206, 0, 100), ("bytes=100-", 206, 100, len(CLIP)), ("bytes=-10", 206, len(CLIP) - 10, len(CLIP)),
        ("bytes=0-0", 206, 0, 1), ("bytes=5-99999999", 206, 5, len(CLIP)),
    ],
)  # fmt: skip
def test_a_range_of_a_file_is_that_range(opened: Opened, wanted: str, code: int, first: int, last: int) -> None:
    answer = opened.client.get(f"{API}/events/{EVENT.id}/evidence/clip.mp4", headers={"Range": wanted})
    assert answer.status_code == code
    assert answer.content == CLIP[first:last]
    assert answer.headers["content-range"] == f"bytes {first}-{last - 1}/{len(CLIP)}"


@pytest.mark.parametrize("wanted", ["bytes=99999999-", "bytes=9-1", "bytes=x", "bytes=-0", "bytes=" + "0-1," * 500])
def test_a_range_that_is_none_is_no_error_of_the_program(opened: Opened, wanted: str) -> None:
    answer = opened.client.get(f"{API}/events/{EVENT.id}/evidence/clip.mp4", headers={"Range": wanted})
    assert answer.status_code in (200, 206, 400, 416)


def test_the_archive_has_every_file(opened: Opened) -> None:
    answer = opened.client.get(f"{API}/events/{EVENT.id}/evidence.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.read(f"{EVENT.id}/clip.mp4") == CLIP
        assert len(archive.namelist()) == 2
    assert answer.headers["content-disposition"] == f'attachment; filename="{EVENT.id}.zip"'


@pytest.mark.parametrize(
    "name", ["..%2f..%2fusers.json", "%2e%2e", "clip.mp4%00", "event.json/..", ".part", "users.json"]
)
def test_nothing_but_evidence_is_served(opened: Opened, name: str) -> None:
    assert opened.client.get(f"{API}/events/{EVENT.id}/evidence/{name}").status_code == 404


def test_evidence_that_was_deleted_by_hand_is_missing_and_no_error(tmp_path: Path) -> None:
    site = Opened(tmp_path)
    try:
        own = site.evidence / EVENT.camera / EVENT.id
        (own / "clip.mp4").unlink()
        assert site.client.get(f"{API}/events/{EVENT.id}").json()["evidence"] == ["event.json"]
        assert site.client.get(f"{API}/events/{EVENT.id}/evidence/clip.mp4").status_code == 404
        (own / "event.json").unlink()
        own.rmdir()
        assert site.client.get(f"{API}/events/{EVENT.id}").json()["evidence"] == []
        assert site.client.get(f"{API}/events/{EVENT.id}/evidence.zip").status_code == 404
    finally:
        site.close()
