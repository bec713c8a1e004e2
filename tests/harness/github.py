"""A server with the part of GitHub's API that `gh release` uses. It keeps what gh creates."""

from __future__ import annotations

import json
import re
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class GitHub:
    """A proxy for HTTPS that answers as api.github.com and uploads.github.com.

    `releases` are the requests for new releases, each with its uploaded `files`.
    """

    def __init__(self, tls: ssl.SSLContext, tags: set, token: str) -> None:
        self.tags, self.token = tags, token
        self.releases: list = []
        self.requests: list = []
        handler = type("Handler", (Handler,), {"github": self, "tls": tls})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> GitHub:
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def proxy(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, method: str, host: str, url: str, token: str, body: bytes) -> tuple:
        """The status and the object of an answer."""
        self.requests.append(f"{method} {host}{url}")
        path, query = urlsplit(url).path, parse_qs(urlsplit(url).query)
        if token != f"token {self.token}":
            return 401, {"message": "Bad credentials"}
        if path == "/graphql":
            return 200, self._graphql(json.loads(body))
        if method == "POST" and path == "/repos/owner/repository/releases":
            self.releases.append({**json.loads(body), "files": {}})
            return 201, self._release(len(self.releases) - 1)
        if method == "POST" and host == "uploads.github.com":
            number = int(re.fullmatch(r"/repos/owner/repository/releases/(\d+)/assets", path)[1])
            self.releases[number]["files"][query["name"][0]] = body
            return 201, {"name": query["name"][0], "state": "uploaded"}
        if method == "PATCH":
            number = int(path.rpartition("/")[2])
            self.releases[number].update(json.loads(body))
            return 200, self._release(number)
        found = re.fullmatch(r"/repos/owner/repository/releases/(\d+)", path)
        if method == "GET" and found:
            return 200, self._release(int(found[1]))
        # GitHub's REST interface finds no draft by its tag, in contrast to GraphQL.
        return 404, {"message": "Not Found"}

    def _graphql(self, request: dict) -> dict:
        tag = request["variables"]["tagName"].rpartition("/")[2]
        drafts = [{"databaseId": n, "isDraft": True} for n, each in enumerate(self.releases) if each["tag_name"] == tag]
        if "release(" in request["query"]:
            return {"data": {"repository": {"release": drafts[0] if drafts else None}}}
        return {"data": {"repository": {"ref": {"id": "1"} if tag in self.tags else None}}}

    def _release(self, number: int) -> dict:
        release = self.releases[number]
        return {
            "id": number,
            "tag_name": release["tag_name"],
            "draft": release["draft"],
            "name": release["name"],
            "url": f"https://api.github.com/repos/owner/repository/releases/{number}",
            "html_url": f"https://github.com/owner/repository/releases/{number}",
            "upload_url": f"https://uploads.github.com/repos/owner/repository/releases/{number}/assets{{?name,label}}",
            "assets": [],
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    github: GitHub
    tls: ssl.SSLContext
    host = ""

    def do_CONNECT(self) -> None:
        self.host = self.path.partition(":")[0]
        self.send_response(200)
        self.end_headers()
        self.connection = self.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        status, value = self.github.answer(self.command, self.host, self.path, self.headers.get("authorization", ""), body)
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_DELETE = _answer

    def log_message(self, *_) -> None:
        pass
