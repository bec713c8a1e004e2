"""An application on Python's http.server: logs each request and answers it. Usage: application.py PORT"""

import http.server
import json
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    def __getattr__(self, name: str):
        """Every method."""
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def answer(self) -> None:
        guard = self.headers.get("x-webhook-guard-endpoint") if hasattr(self, "headers") else None
        print(json.dumps({"url": self.path, "guard": guard}), flush=True)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"from the application\n")

    def log_message(self, *_) -> None:
        """Keeps other lines out of the output."""


http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
