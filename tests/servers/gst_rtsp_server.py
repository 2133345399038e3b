"""A GStreamer RTSP server for the tests: an implementation independent of FFmpeg on the other end of the
wire.

Run by the system's Python (which has the GStreamer bindings), never imported:

    /usr/bin/python3 gst_rtsp_server.py '{"port": 0, "mounts": {"cam": {"path": "a.mp4", "codec": "h264"}}}'

The one argument is a JSON document: `port` (0 picks one), `mounts` (name -> path of an mp4 and its codec,
"h264" or "h265", or a pipeline under `launch`), optional `user` and `password` (digest authentication),
optional `certificate` (a PEM file with certificate and key: the server then speaks rtsps). When the server
listens it writes `{"port": N}` to stdout and a newline.
"""

from __future__ import annotations

import json
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

ELEMENTS = ("filesrc", "qtdemux", "h264parse", "h265parse", "rtph264pay", "rtph265pay")
PAYLOAD = {
    "h264": "h264parse ! rtph264pay name=pay0 pt=96 config-interval=1",
    "h265": "h265parse ! rtph265pay name=pay0 pt=96 config-interval=1",
}


def factory(mount: dict[str, str], guarded: bool) -> GstRtspServer.RTSPMediaFactory:
    """A mount that plays its file, or what its pipeline makes, from the start and in real time for every client."""
    result = GstRtspServer.RTSPMediaFactory()
    launch = mount.get("launch") or f'filesrc location="{mount["path"]}" ! qtdemux ! {PAYLOAD[mount["codec"]]}'
    result.set_launch(f"( {launch} )")
    if guarded:
        permissions = GstRtspServer.RTSPPermissions.new()
        permissions.add_permission_for_role("user", "media.factory.access", True)
        permissions.add_permission_for_role("user", "media.factory.construct", True)
        result.set_permissions(permissions)
    return result


def authentication(user: str | None, password: str | None, certificate: str | None) -> GstRtspServer.RTSPAuth:
    """Digest authentication, TLS, or both."""
    auth = GstRtspServer.RTSPAuth()
    if user is not None:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        auth.add_digest(user, password or "", token)
    else:
        # With an authenticator, even an open one, every visitor needs a role.
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        auth.set_default_token(token)
    if certificate is not None:
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(certificate))
    return auth


def main(document: str) -> None:
    """Serve until killed; with an empty document only check that everything needed is there."""
    settings = json.loads(document)
    user, certificate = settings.get("user"), settings.get("certificate")
    Gst.init(None)
    missing = [name for name in ELEMENTS if Gst.ElementFactory.find(name) is None]
    if missing:
        sys.exit(f"GStreamer lacks {', '.join(missing)}")
    if not settings:
        return
    server = GstRtspServer.RTSPServer()
    server.set_address(settings["address"])
    server.set_service(str(settings["port"]))
    guarded = user is not None or certificate is not None
    if guarded:
        server.set_auth(authentication(user, settings.get("password"), certificate))
    for name, mount in settings["mounts"].items():
        server.get_mount_points().add_factory(f"/{name}", factory(mount, guarded))
    if not server.attach(None):
        sys.exit(f"cannot listen on port {settings['port']}")
    print(json.dumps({"port": server.get_bound_port()}), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(sys.argv[1])
