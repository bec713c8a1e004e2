"""Sigstore as a whole, with keys of our own: certificate authority, time stamps, both transparency logs.

These are the programs that Sigstore runs. GitHub's identity service is the only part of our own. Every server has its public
name, so that the commands of a release and of its users run here as they are. Tests must be in a network namespace.
"""

from __future__ import annotations

import base64
import datetime
import http.client
import http.server
import json
import subprocess
import threading
import time
import urllib.parse
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from harness.polling import until
from harness.process import end
from harness.tls import Authority
from harness.tools import file, tool

FULCIO, REKOR, TSA = "fulcio.sigstore.dev", "log2025-1.rekor.sigstore.dev", "timestamp.sigstore.dev"
GITHUB = "token.actions.githubusercontent.com"
REGISTRY = "registry.example.com"
PORTS = {FULCIO: 5555, REKOR: 3003, TSA: 3004, REGISTRY: 5000}
PEM = serialization.Encoding.PEM
EPOCH = "2025-01-01T00:00:00Z"
# An entry of a log is complete after these times. Public logs take seconds.
QUICK = ("--batch-max-age=10ms", "--checkpoint-interval=100ms")
HOP = ("connection", "transfer-encoding", "keep-alive", "content-length")


class Sigstore:
    """Starts all servers. `environment()` is for commands that sign or verify."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list = []
        self.github = GitHub()
        names = [*PORTS, GITHUB]
        (folder / "hosts").write_text("127.0.0.1 localhost " + " ".join(names) + "\n")
        subprocess.run(["mount", "--bind", str(folder / "hosts"), "/etc/hosts"], check=True)
        self._authority = Authority()
        self._front = Front(self._authority.server(folder, *names), self.github)
        trusted = str(folder / "ca.crt")
        self._environment = {"SSL_CERT_FILE": trusted, "CURL_CA_BUNDLE": trusted, "HOME": str(folder)}
        self._start_registry()
        self._start_time_stamps()
        self._start_logs()
        self._start_certificates()
        self._write_configuration()

    def __enter__(self) -> Sigstore:
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> None:
        self._front.stop()
        for each in reversed(self._processes):
            end(each, 5)
        subprocess.run(["umount", "/etc/hosts"], check=True)

    def environment(self) -> dict:
        """The variables that make cosign and curl trust these servers instead of the public ones."""
        return {
            **self._environment,
            "COSIGN_TRUSTED_ROOT": str(self._folder / "trusted-root.json"),
            "COSIGN_SIGNING_CONFIG": str(self._folder / "signing-config.json"),
        }

    def _start(self, name: str, *arguments: str) -> None:
        with open(self._folder / f"{name}.log", "wb") as log:
            self._processes.append(subprocess.Popen(
                [tool(name), *arguments], cwd=self._folder, env=self._environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            ))

    def _start_registry(self) -> None:
        self._start("crane", "registry", "serve", f"--address=127.0.0.1:{PORTS[REGISTRY]}", f"--disk={self._folder}")
        self._answers(REGISTRY, "/v2/")

    def _start_time_stamps(self) -> None:
        self._start("timestamp-server", "serve", "--host=127.0.0.1", f"--port={PORTS[TSA]}", "--disable-ntp-monitoring")
        self._answers(TSA, "/ping")
        (self._folder / "tsa.pem").write_bytes(get(TSA, "/api/v1/timestamp/certchain"))

    def _start_logs(self) -> None:
        self._write_key("rekor")
        self._start(
            "rekor-server", "serve", f"--hostname={REKOR}", f"--storage-dir={self._folder / 'rekor'}",
            f"--signer-filepath={self._folder / 'rekor.key'}", f"--http-port={PORTS[REKOR]}", "--http-metrics-port=3100",
            *QUICK,
        )
        self._answers(REKOR, "/healthz")

    def _start_certificates(self) -> None:
        """A root, an intermediate authority as in Fulcio, and the log of certificates."""
        write_authority(self._folder)
        self._write_key("ctlog", serialization.PrivateFormat.TraditionalOpenSSL)
        self._start(
            "tesseract", f"--private_key={self._folder / 'ctlog.key'}", "--origin=ctlog.test", "--path_prefix=ctlog.test",
            f"--storage_dir={self._folder / 'ctlog'}", f"--roots_pem_file={self._folder / 'root.pem'}",
            "--http_endpoint=127.0.0.1:6962", *(each.replace("-", "_").replace("__", "--") for each in QUICK),
        )
        everything = yaml.safe_load(file("fulcio", "identity.yaml").read_text())
        url = f"https://{GITHUB}"
        (self._folder / "identity.yaml").write_text(yaml.safe_dump({
            "oidc-issuers": {url: everything["oidc-issuers"][url]},
            "ci-issuer-metadata": everything["ci-issuer-metadata"],
        }))
        self._start(
            "fulcio", "serve", "--host=127.0.0.1", f"--port={PORTS[FULCIO]}", "--grpc-host=127.0.0.1", "--grpc-port=5554",
            "--metrics-port=5553", "--ca=fileca", f"--fileca-cert={self._folder / 'fulcio.pem'}",
            f"--fileca-key={self._folder / 'fulcio.key'}", "--fileca-key-passwd=test", "--fileca-watch=false",
            f"--config-path={self._folder / 'identity.yaml'}", "--ct-log-url=http://127.0.0.1:6962/ctlog.test",
        )
        self._answers(FULCIO, "/healthz")

    def _write_key(self, name: str, form=serialization.PrivateFormat.PKCS8) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        (self._folder / f"{name}.key").write_bytes(key.private_bytes(PEM, form, serialization.NoEncryption()))
        (self._folder / f"{name}.pub").write_bytes(
            key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )

    def _write_configuration(self) -> None:
        """Writes the two files that cosign gets from the public Sigstore."""
        at = f"start-time={EPOCH}"
        folder = self._folder
        self._cosign(
            "trusted-root", "create", f"--fulcio=url=https://{FULCIO},certificate-chain={folder / 'fulcio.pem'}",
            f"--rekor=url=https://{REKOR},public-key={folder / 'rekor.pub'},origin={REKOR},{at}",
            f"--ctfe=url=https://ctlog.test,public-key={folder / 'ctlog.pub'},{at}",
            f"--tsa=url=https://{TSA}/api/v1/timestamp,certificate-chain={folder / 'tsa.pem'}",
            f"--out={folder / 'trusted-root.json'}",
        )
        at = f"{at},operator=test"
        self._cosign(
            "signing-config", "create", f"--fulcio=url=https://{FULCIO},api-version=1,{at}",
            f"--rekor=url=https://{REKOR},api-version=2,{at}", "--rekor-config=ANY",
            f"--oidc-provider=url=https://{GITHUB},api-version=1,{at}",
            f"--tsa=url=https://{TSA}/api/v1/timestamp,api-version=1,{at}", "--tsa-config=ANY",
            f"--out={folder / 'signing-config.json'}",
        )

    def _cosign(self, *arguments: str) -> None:
        done = subprocess.run([tool("cosign"), *arguments], env=self._environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def _answers(self, name: str, path: str) -> None:
        process = self._processes[-1]

        def answers() -> bool:
            assert process.poll() is None, f"{process.args} ended"
            try:
                get(name, path)
            except OSError:
                return False
            return True

        until(answers, what=f"an answer of {name}")


class GitHub:
    """GitHub's identity service, which signs a token for a job of a workflow."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(65537, 2048)

    def answer(self, path: str) -> dict:
        """The answer to a request of Fulcio, or of a job."""
        parts = urllib.parse.urlsplit(path)
        query = {name: values[0] for name, values in urllib.parse.parse_qs(parts.query).items()}
        if parts.path == "/.well-known/openid-configuration":
            url = f"https://{GITHUB}"
            return {
                "issuer": url, "jwks_uri": f"{url}/.well-known/jwks", "subject_types_supported": ["public"],
                "response_types_supported": ["id_token"], "id_token_signing_alg_values_supported": ["RS256"],
            }
        if parts.path == "/.well-known/jwks":
            numbers = self._key.public_key().public_numbers()
            n = numbers.n.to_bytes(256, "big")
            return {"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "n": url64(n), "e": "AQAB"}]}
        return {"value": self._token(json.loads(query["claims"]), query["audience"])}

    def environment(self, job: dict) -> dict:
        """The variables of a job, as GitHub sets them. `job` has `job_workflow_ref` and others."""
        query = urllib.parse.urlencode({"claims": json.dumps(claims(job))})
        return {**job, "ACTIONS_ID_TOKEN_REQUEST_URL": f"https://{GITHUB}/token?{query}", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "test"}

    def _token(self, claims: dict, audience: str) -> str:
        now = int(time.time())
        times = {"iat": now, "nbf": now - 5, "exp": now + 300}
        content = {"iss": f"https://{GITHUB}", "aud": audience, **claims, **times}
        signed = ".".join(url64(json.dumps(each).encode()) for each in ({"alg": "RS256", "kid": "1"}, content))
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{url64(signature)}"


def claims(job: dict) -> dict:
    """The claims of a token, from the variables of a job."""
    repository = job["GITHUB_REPOSITORY"]
    return {
        "sub": f"repo:{repository}:ref:{job['GITHUB_REF']}",
        "ref": job["GITHUB_REF"],
        "ref_type": "tag" if job["GITHUB_REF"].startswith("refs/tags/") else "branch",
        "sha": job["GITHUB_SHA"],
        "repository": repository,
        "repository_id": job["GITHUB_REPOSITORY_ID"],
        "repository_owner": repository.partition("/")[0],
        "repository_owner_id": job["GITHUB_REPOSITORY_OWNER_ID"],
        "repository_visibility": "public",
        "run_id": job["GITHUB_RUN_ID"],
        "run_attempt": job["GITHUB_RUN_ATTEMPT"],
        "workflow": job["GITHUB_WORKFLOW"],
        "workflow_ref": job["GITHUB_WORKFLOW_REF"],
        "workflow_sha": job["GITHUB_WORKFLOW_SHA"],
        "job_workflow_ref": job["GITHUB_WORKFLOW_REF"],
        "job_workflow_sha": job["GITHUB_WORKFLOW_SHA"],
        "event_name": job["GITHUB_EVENT_NAME"],
        "runner_environment": "github-hosted",
    }


def url64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class Front:
    """Serves HTTPS on port 443 for all names."""

    def __init__(self, tls, github: GitHub) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                name = self.headers["host"].partition(":")[0]
                if name == GITHUB:
                    self._send(200, {"content-type": "application/json"}, json.dumps(github.answer(self.path)).encode())
                else:
                    self._forward(name, body)

            do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

            def _forward(self, name: str, body: bytes) -> None:
                connection = http.client.HTTPConnection("127.0.0.1", PORTS[name], timeout=30)
                headers = {key: value for key, value in self.headers.items() if key.lower() not in HOP}
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
                kept = {key: value for key, value in answer.getheaders() if key.lower() not in HOP}
                length = answer.headers.get("content-length") if self.command == "HEAD" else None
                connection.close()
                self._send(answer.status, kept, content, length)

            def _send(self, status: int, headers: dict, content: bytes, length: str | None = None) -> None:
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("content-length", length or str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_) -> None:
                pass

        self._server = Server(("127.0.0.1", 443), Handler)
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_) -> None:
        """A client that closes a connection is not worth a line."""


def get(name: str, path: str) -> bytes:
    """The body of an answer without an error."""
    connection = http.client.HTTPConnection("127.0.0.1", PORTS[name], timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status not in (200, 201):
        raise OSError(f"{name} answered {answer.status}")
    return body


def write_authority(folder: Path) -> None:
    """Writes fulcio.pem (the intermediate authority and the root), its key, and root.pem."""
    root, intermediate = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    top = certificate("sigstore", root, root, 1)
    (folder / "root.pem").write_bytes(top)
    (folder / "fulcio.pem").write_bytes(certificate("sigstore-intermediate", intermediate, root, 0) + top)
    (folder / "fulcio.key").write_bytes(intermediate.private_bytes(
        PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"test")
    ))


def certificate(name: str, key, issuer, length: int) -> bytes:
    """The certificate of an authority that may have `length` authorities below it."""
    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(
        subject("sigstore"), subject(name), key.public_key(), x509.random_serial_number(), now - day, now + 30 * day
    )
    signs = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    builder = builder.add_extension(x509.BasicConstraints(True, length), True).add_extension(signs, True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), False)
    if length == 0:
        builder = builder.add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CODE_SIGNING]), False)
    return builder.sign(issuer, hashes.SHA384()).public_bytes(PEM)


def subject(name: str) -> x509.Name:
    return x509.Name([
        x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "sigstore.dev"),
        x509.NameAttribute(x509.NameOID.COMMON_NAME, name),
    ])
