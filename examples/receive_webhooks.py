# %% [markdown]
# # Receive webhooks
#
# A receiver of `type: webhook`, with nothing but the standard library. It checks the signature, drops duplicates, and prints
# what a person would read. The secret is in the variable WEBHOOK_SECRET, as for streamad (`secret_env: WEBHOOK_SECRET`).
#
#     WEBHOOK_SECRET=opensesame python examples/receive_webhooks.py 8090

# %%
import hashlib
import hmac
import json
import os
import sys
import time
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, HTTPServer

SECRET = os.environ["WEBHOOK_SECRET"].encode()
MAX_AGE_SECONDS = 300  # older requests may be replayed recordings
seen: set[str] = set()


# %% [markdown]
# The signature covers the timestamp and the raw body. Compare before parsing, and with `compare_digest`.


# %%
def is_genuine(headers, body: bytes) -> bool:
    timestamp = headers.get("X-Streamad-Timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > MAX_AGE_SECONDS:
        return False
    expected = hmac.new(SECRET, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(f"sha256={expected}", headers.get("X-Streamad-Signature", ""))


# %% [markdown]
# The body is JSON, or, with a picture, multipart with the parts `notification` and `picture`.


# %%
def parse(headers, body: bytes) -> tuple[dict, bytes | None]:
    if headers.get_content_type() == "application/json":
        return json.loads(body), None
    message = BytesParser().parsebytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body)
    parts = {part.get_param("name", header="content-disposition"): part for part in message.get_payload()}
    return json.loads(parts["notification"].get_payload()), parts["picture"].get_payload(decode=True)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not is_genuine(self.headers, body):
            self.answer(401)
            return
        notification, picture = parse(self.headers, body)
        if notification["id"] not in seen:  # it is sent again if our response was lost
            seen.add(notification["id"])
            suffix = "" if picture is None else f" [picture, {len(picture)} bytes]"
            print(notification["text"] + suffix, flush=True)
        self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
server.serve_forever()
