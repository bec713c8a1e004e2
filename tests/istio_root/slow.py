"""An application that takes a second for an answer. Usage: slow.py PORT"""

import http.server
import sys
import time


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        print("a delivery", flush=True)
        time.sleep(1)
        self.send_response(200)
        self.end_headers()


http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
