"""The HTTP server: the API and the page."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from taskforge.api import build_router
from taskforge.checks import BadInput

_PAGE = Path(__file__).with_name("page")
_FILES = {"/": ("index.html", "text/html"), "/app.js": ("app.js", "text/javascript"), "/style.css": ("style.css", "text/css")}
_MOST_BYTES = 64 * 1024


def build_server(store, host="127.0.0.1", port=0):
    """A server that answers on `server_address` once `serve_forever` runs."""
    router = build_router(store)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 15

        def do_GET(self):
            name = _FILES.get(urlsplit(self.path).path)
            if name:
                self._send(200, (_PAGE / name[0]).read_bytes(), name[1] + "; charset=utf-8")
            else:
                self._answer()

        def do_POST(self):
            self._answer()

        do_PATCH = do_DELETE = do_PUT = do_POST

        def _answer(self):
            url = urlsplit(self.path)
            found = router.find(self.command, url.path)
            try:
                body = self._body()
                if isinstance(found, int):
                    said = "no such path" if found == 404 else "wrong method"
                    return self._json(found, {"error": said})
                function, numbers = found
                status, answer = function(dict(parse_qsl(url.query)), body, **numbers)
            except BadInput as error:
                status, answer = 400, {"error": str(error)}
            except OverflowError:
                self.close_connection = True
                status, answer = 413, {"error": "the body is larger than 64 KiB"}
            return self._json(status, answer)

        def _body(self):
            try:
                length = int(self.headers.get("Content-Length") or 0)
            except ValueError:
                raise BadInput("Content-Length is a number") from None
            if not 0 <= length <= _MOST_BYTES:
                raise OverflowError
            raw = self.rfile.read(length)
            if not raw:
                return None
            try:
                return json.loads(raw)
            except (ValueError, RecursionError):
                raise BadInput("the body is no JSON") from None

        def _json(self, status, answer):
            self._send(status, b"" if answer is None else json.dumps(answer).encode(), "application/json")

        def _send(self, status, data, kind):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Content-Security-Policy", "default-src 'self'")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            """Quiet."""

    return ThreadingHTTPServer((host, port), Handler)
