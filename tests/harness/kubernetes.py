"""A Kubernetes API server on etcd, without nodes or controllers: objects are validated and stored, nothing more."""

from __future__ import annotations

import http.client
import json
import secrets
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlencode

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from harness.polling import until
from harness.ports import free_ports
from harness.process import end
from harness.tls import Authority
from harness.tools import tool

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


class ApiError(AssertionError):
    """The API server refused a request, or accepted it with a warning."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Cluster:
    """A context manager: etcd and kube-apiserver on the loopback address, until the end of the block.

    Every client that has the token may do everything. A Pod needs no ServiceAccount. Controllers do not run, so a test
    itself writes what they would: the status of a Pod, an EndpointSlice. A Namespace stays after its deletion.
    """

    def __enter__(self) -> Cluster:
        self._folder = tempfile.TemporaryDirectory(prefix="cluster-")
        self.folder = Path(self._folder.name)
        self._processes: list = []
        self._resources: dict = {}
        self.token = secrets.token_hex(16)
        self._authority = Authority()
        self._authority.write(self.folder, "127.0.0.1")
        self._tls = self._authority.context()
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        for process in reversed(self._processes):
            end(process, 20)
        self._folder.cleanup()

    def _start(self) -> None:
        client, peer, self.port = free_ports(3)
        self.url = f"https://127.0.0.1:{self.port}"
        etcd, etcd_peer = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
        self._run(
            "etcd", f"--data-dir={self.folder}/etcd", "--unsafe-no-fsync",
            f"--listen-client-urls={etcd}", f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls={etcd_peer}", f"--initial-advertise-peer-urls={etcd_peer}",
            f"--initial-cluster=default={etcd_peer}",
        )
        (self.folder / "tokens.csv").write_text(f"{self.token},admin,admin,system:masters\n")
        key = rsa.generate_private_key(65537, 2048)
        (self.folder / "accounts.key").write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        ))
        apiserver = self._run(
            "kube-apiserver", f"--etcd-servers={etcd}",
            "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={self.port}",
            f"--tls-cert-file={self.folder}/tls.crt", f"--tls-private-key-file={self.folder}/tls.key",
            f"--token-auth-file={self.folder}/tokens.csv", "--authorization-mode=AlwaysAllow",
            "--disable-admission-plugins=ServiceAccount", "--service-cluster-ip-range=10.96.0.0/16",
            f"--service-account-key-file={self.folder}/accounts.key", "--service-account-issuer=https://127.0.0.1",
            f"--service-account-signing-key-file={self.folder}/accounts.key",
        )
        self.kubeconfig = self.folder / "kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(self._kubeconfig()))
        until(lambda: self._ready(apiserver), what="the API server's readiness")

    def _run(self, name: str, *arguments: str) -> subprocess.Popen:
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen([tool(name), *arguments], stdout=log, stderr=log, cwd=self.folder)
        self._processes.append(process)
        return process

    def _ready(self, apiserver: subprocess.Popen) -> bool:
        if apiserver.poll() is not None:
            log = (self.folder / "kube-apiserver.log").read_text()
            raise AssertionError(f"kube-apiserver ended with status {apiserver.returncode}:\n{log[-3000:]}")
        try:
            return self._send("GET", "/readyz")[0] == 200 and bool(self.get("/api/v1/namespaces/default"))
        except (OSError, http.client.HTTPException, ApiError):
            return False

    def _kubeconfig(self) -> dict:
        cluster = {"server": self.url, "certificate-authority": str(self.folder / "ca.crt")}
        return {
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": self.token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }

    def apply(self, manifest, namespace: str = "default") -> list:
        """Applies each document of a path, a text or a list, as `kubectl apply --server-side` does.

        Returns the objects. A field that is not in a schema, and any warning of the server, is an error.
        """
        return [self._apply(each, namespace) for each in documents(manifest)]

    def crds(self, manifest) -> None:
        """Applies custom resource definitions and other objects next to them, and waits until each is served."""
        applied = [self._apply(each, "default", strict=False) for each in documents(manifest)]
        for each in applied:
            if each["kind"] == "CustomResourceDefinition":
                self._established(each["metadata"]["name"])

    def namespace(self, name: str) -> str:
        self.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
        return name

    def get(self, path: str, **query: str) -> dict:
        """An object or a list, as `get("/api/v1/namespaces/default/pods", labelSelector="app=x")`."""
        return self.request("GET", path, query=query)

    def post(self, path: str, value: dict) -> dict:
        return self.request("POST", path, value)

    def put(self, path: str, value: dict) -> dict:
        return self.request("PUT", path, value)

    def patch(self, path: str, value: dict) -> dict:
        """Merges the value into an object: a null removes a field, a list replaces the list."""
        return self.request("PATCH", path, value, kind=MERGE)

    def patch_status(self, path: str, status: dict) -> dict:
        """Merges into the status of an object, as the kubelet does for a Pod."""
        return self.patch(f"{path}/status", {"status": status})

    def delete(self, path: str) -> dict:
        """Deletes an object at once: without a kubelet, a Pod would wait for its end."""
        return self.request("DELETE", path, {"gracePeriodSeconds": 0})

    def request(self, method: str, path: str, value=None, *, kind: str = "application/json", query=None,
                strict: bool = False) -> dict:
        """Sends any request. A refusal is an ApiError, and with `strict`, a warning is one, too."""
        status, headers, body = self._send(method, path, value, kind, query)
        what = f"{method} {path}"
        if status >= 400:
            raise ApiError(f"{what}: {status} {message(body)}", status)
        warned = headers.get_all("warning") or []
        if warned and strict:
            raise ApiError(f"{what}: {'; '.join(warned)}")
        return json.loads(body)

    def path(self, document: dict, namespace: str = "default") -> str:
        """The path of an object in the API, by its apiVersion, kind and metadata."""
        version, kind, metadata = document["apiVersion"], document["kind"], document["metadata"]
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        plural, namespaced = self._resource(base, kind)
        if namespaced:
            base += f"/namespaces/{metadata.get('namespace', namespace)}"
        return f"{base}/{plural}/{metadata['name']}"

    def _apply(self, document: dict, namespace: str, strict: bool = True) -> dict:
        query = {"fieldManager": "test", "force": "true", "fieldValidation": "Strict"}
        try:
            path = self.path(document, namespace)
            return self.request("PATCH", path, document, kind=APPLY, query=query, strict=strict)
        except ApiError as error:
            name = f"{document['kind']} {document['metadata']['name']}"
            raise ApiError(f"{name} was not applied: {error}", error.status) from None

    def _resource(self, base: str, kind: str) -> tuple:
        """The name of a kind in paths, and whether it is in namespaces."""
        if (base, kind) not in self._resources:
            for each in self.get(base)["resources"]:
                if "/" not in each["name"]:
                    self._resources[base, each["kind"]] = (each["name"], each["namespaced"])
        if (base, kind) not in self._resources:
            raise ApiError(f"{base} has no kind {kind}: apply its definition first")
        return self._resources[base, kind]

    def _established(self, name: str) -> None:
        def served() -> bool:
            found = self.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
            conditions = {each["type"]: each["status"] for each in found.get("status", {}).get("conditions", [])}
            return conditions.get("Established") == "True" and all(
                self._serves(found["spec"]["group"], version["name"], found["spec"]["names"]["plural"])
                for version in found["spec"]["versions"] if version["served"]
            )

        until(served, what=f"the establishment of {name}")

    def _serves(self, group: str, version: str, plural: str) -> bool:
        """Discovery and storage of a new kind follow its condition `Established` a moment later."""
        try:
            listed = self.get(f"/apis/{group}/{version}")["resources"]
            return any(each["name"] == plural for each in listed) and bool(self.get(f"/apis/{group}/{version}/{plural}"))
        except ApiError as error:
            if error.status in (404, 429, 503):
                return False
            raise

    def _send(self, method: str, path: str, value=None, kind: str = "application/json", query=None) -> tuple:
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self._tls, timeout=60)
        try:
            headers = {"authorization": f"Bearer {self.token}", "accept": "application/json", "content-type": kind}
            body = None if value is None else json.dumps(value)
            connection.request(method, f"{path}?{urlencode(query)}" if query else path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()


def documents(manifest) -> list:
    """The objects of a path, a YAML text, or a list. A List is its items."""
    if isinstance(manifest, Path):
        manifest = manifest.read_text()
    if isinstance(manifest, str):
        manifest = [each for each in yaml.load_all(manifest, Loader=yaml.CSafeLoader) if each]
    found = [item for each in manifest for item in (each["items"] if each["kind"] == "List" else [each])]
    if not found:
        raise AssertionError("the manifest has no document")
    return found


def message(body: bytes) -> str:
    """The message of a Status, which says which field is wrong."""
    try:
        return json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:2000]
