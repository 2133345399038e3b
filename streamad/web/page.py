"""The page: its document, and its style, scripts and icon with names that change with their content."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from importlib import resources

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from streamad import __version__
from streamad.web.answers import NO_STORE

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
CURRENT, WORKER = "current", "worker.js"
_TYPES = {
    ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
    ".png": "image/png", ".webmanifest": "application/manifest+json",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Asset:
    data: bytes
    packed: bytes
    media_type: str
    etag: str


def page_router(*, has_preview: bool) -> APIRouter:
    """Create the routes of the page at `/` and of the files that it loads.

    All files are in one folder, whose name is the hash of their content. So browsers may keep them forever, and
    scripts find each other by plain relative names. What outlives a version, the service worker and its icon, is in the
    folder `current`, too, which browsers ask for every time.

    Args:
        has_preview: Whether cameras have pictures.
    """
    assets = _assets()
    folder = hashlib.sha256("".join(f"{n}{a.etag}" for n, a in sorted(assets.items())).encode()).hexdigest()[:16]
    environment = Environment(loader=PackageLoader("streamad.web"), autoescape=True, undefined=StrictUndefined)
    document = environment.get_template("page.html").render(
        static=f"/static/{folder}",
        modules=sorted(name for name in assets if name.endswith(".js") and name != WORKER),
        version=__version__,
        has_preview=has_preview,
    )
    router = APIRouter(include_in_schema=False)
    page = _Asset(document.encode(), gzip.compress(document.encode(), mtime=0), "text/html; charset=utf-8", "")

    @router.get("/")
    async def get_page(request: Request) -> Response:
        return _answer(page, request, {**NO_STORE, "Content-Security-Policy": POLICY})

    @router.get("/static/{of}/{name}")
    async def get_asset(of: str, name: str, request: Request) -> Response:
        asset = assets.get(name) if of in (folder, CURRENT) else None
        if asset is None:
            raise HTTPException(404, "no such file; reload the page")
        lasting = "public, max-age=31536000, immutable" if of == folder else "no-cache"
        headers = {"Cache-Control": lasting, "ETag": asset.etag}
        if name == WORKER:
            headers["Service-Worker-Allowed"] = "/"  # its notifications are the whole page's
        if request.headers.get("if-none-match") == asset.etag:
            return Response(status_code=304, headers=headers)
        return _answer(asset, request, headers)

    return router


def _assets() -> dict[str, _Asset]:
    found = {}
    for file in resources.files("streamad.web").joinpath("static").iterdir():
        suffix = file.name[file.name.rfind(".") :]
        if suffix in _TYPES:
            data = file.read_bytes()
            etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
            found[file.name] = _Asset(data, gzip.compress(data, mtime=0), _TYPES[suffix], etag)
    return found


def _answer(asset: _Asset, request: Request, headers: dict[str, str]) -> Response:
    headers = {**headers, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.packed, media_type=asset.media_type, headers={**headers, "Content-Encoding": "gzip"})
    return Response(asset.data, media_type=asset.media_type, headers=headers)
