"""Addresses with a secret in every place where cameras and careless users put one."""

from __future__ import annotations

SECRET = "hunter2"
"""The secret in every address below. It must not appear in any output of the program."""

HOST = "127.0.0.1:1"
"""An address without a listener, so that every command that connects fails immediately."""

ENCODED_SECRET = "%68%75%6e%74%65%72%32"

FORMS: tuple[str, ...] = (
    # before the host
    f"rtsp://admin:{SECRET}@{HOST}/live",
    f"rtsp://{SECRET}@{HOST}/live",
    f"rtsp://{SECRET}:@{HOST}/live",
    f"rtsp://:{SECRET}@{HOST}/live",
    f"RTSP://admin:{SECRET}@{HOST}/live",
    f"rtsps://admin:{SECRET}@{HOST}/live",
    f"  rtsp://admin:{SECRET}@{HOST}/live",
    f"rtsp://admin:a:{SECRET}@{HOST}/live",
    f"rtsp://admin:a@{SECRET}@{HOST}/live",
    f"rtsp://admin:a/{SECRET}@{HOST}/live",
    f"rtsp://admin:1/{SECRET}@{HOST}/live",
    f"rtsp://admin:1?{SECRET}@{HOST}/live",
    f"rtsp://admin:1#{SECRET}@{HOST}/live",
    f"rtsp://admin:{SECRET}/a@{HOST}/live",
    f"rtsp://admin:{SECRET}?a@{HOST}/live",
    f"rtsp://admin:{SECRET}#a@{HOST}/live",
    f"rtsp://admin:a%2F{SECRET}@{HOST}/live",
    f"rtsp://admin:a%3F{SECRET}%23%40%3A@{HOST}/live",
    f"rtsp://admin:{ENCODED_SECRET}@{HOST}/live",
    f"rtsp://admin%3A{SECRET}%40{HOST}/live",
    f'rtsp://admin:it\'s"{SECRET}"@{HOST}/live',
    f"rtsp://domain\\admin:{SECRET}@{HOST}/live",
    # in the query
    f"rtsp://{HOST}/live?password={SECRET}",
    f"rtsp://{HOST}/live?password=ab/{SECRET}",
    f"rtsp://{HOST}/live?password=ab?{SECRET}",
    f"rtsp://{HOST}/live?password=ab#{SECRET}",
    f"rtsp://{HOST}/live?password=ab@{SECRET}",
    f"rtsp://{HOST}/live?password=ab%40{SECRET}",
    f"rtsp://{HOST}/live?pw={SECRET}",
    f"rtsp://{HOST}/live?u=admin&p={SECRET}",
    f"rtsp://{HOST}/live?PASSWORD={SECRET}",
    f"rtsp://{HOST}/live?%70%61%73%73={SECRET}",
    f"rtsp://{HOST}/live?{SECRET}",
    f"rtsp://{HOST}?x={SECRET}",
    f"rtsp://{HOST}/live?auth=Basic%20{SECRET}&channel=1",
    f"rtsp://{HOST}/live?channel=1;code={SECRET}",
    # in the path
    f"rtsp://{HOST}/admin:{SECRET}/live",
    f"rtsp://{HOST}/user=admin&password={SECRET}&channel=1&stream=0.sdp",
    f"rtsp://{HOST}/user=admin_password={SECRET}_channel=1_stream=0.sdp",
    f"rtsp://{HOST}/{SECRET}",
    f"rtsp://{HOST}/live/{SECRET}/stream1",
    f"rtsp://{HOST}/live/%2F{SECRET}",
    f"rtsp://{HOST}/admin:a@{SECRET}/live",
    f"rtsp://{HOST}//{SECRET}",
    f"rtsp://[::1]:1/{SECRET}",
    # behind it
    f"rtsp://{HOST}/live#{SECRET}",
    f"rtsp://{HOST}/live#token={SECRET}",
    # not stream addresses, but addresses nonetheless
    f"http://admin:{SECRET}@{HOST}/video.mjpg",
    f"rtmp://{HOST}/live/{SECRET}",
    f"rtsp:/admin:{SECRET}@{HOST}/live",
    f"rtsp:admin:{SECRET}@{HOST}/live",
    f"rtsp:\\\\admin:{SECRET}@{HOST}\\live",
    f"admin:{SECRET}@{HOST}/live",
    f"rtsp://admin:{SECRET}@",
    f"rtsp://admin:{SECRET}@/live",
    f"rtsp://admin:{SECRET}@{HOST}x/live",
)
