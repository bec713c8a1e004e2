"""An istio-proxy container in a pod: pilot-agent, which configures and starts an Envoy."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

from harness.client import post
from harness.envoy import MODULE, binary
from harness.http1 import Closed
from harness.istio import FOLDER, NAMESPACE, Istiod, patched
from harness.kubernetes import documents
from harness.pod import POD, PROXY_GROUP, Pod
from harness.sign import default
from harness.tls import Authority
from harness.tools import file, tool

# The application's port, and the default of sidecar-example.yaml.
PORT, SECRET = 8080, "dev-only-webhook-secret"
LABELS = {"app": "orders", "version": "v1"}


def shipped(pod: Pod, *patches: str) -> list:
    """The documents of sidecar.yaml, whose path of the module is in the pod's folder."""
    return documents(patched("sidecar.yaml", *patches).replace("/etc/webhook-guard", f"{pod.folder}/webhook-guard"))


def mount_module(pod: Pod) -> None:
    """Writes the module into the pod's folder, in place of the volume of sidecar-example.yaml."""
    folder = pod.folder / "webhook-guard"
    folder.mkdir()
    (folder / "plugin.wasm").write_bytes(MODULE.read_bytes())


class Sidecar:
    """The sidecar of a pod whose application has the labels of sidecar-example.yaml."""

    def __init__(self, pod: Pod, istiod: Istiod, **env: str) -> None:
        self.pod = pod
        self.istiod = istiod
        self.name = "orders-0"
        self.env = {"WEBHOOK_SECRET": SECRET, **env}
        self.authority = Authority()

    def start(self) -> "Sidecar":
        self._create_pod()
        self._certify()
        command = [tool("pilot-agent"), "proxy", "sidecar", "--proxyLogLevel=warning", "--templateFile"]
        command += [file("istio", "envoy_bootstrap.json"), "--domain", f"{NAMESPACE}.svc.cluster.local"]
        self.process = self.pod.start("istio-proxy", *command, env=self._environment(), group=PROXY_GROUP)
        return self

    def status(self, signed: bool = True) -> int:
        """The status of a request to the application's port, 0 without an answer."""
        assert self.process.poll() is None, self.log()[-4000:]
        body = b'{"order": 42}'
        with contextlib.suppress(OSError, Closed):
            return post(PORT, "/webhook", default(SECRET, body) if signed else [], body, host=POD).status
        return 0

    def dump(self) -> dict:
        """The configuration that Envoy runs, or is empty before Envoy answers."""
        command = [*self.pod.enter(), tool("pilot-agent"), "request", "GET", "/config_dump"]
        done = subprocess.run(command, capture_output=True, text=True)
        return json.loads(done.stdout) if done.returncode == 0 else {"configs": []}

    def check(self) -> str:
        """The output of check.py in the pod."""
        command = [*self.pod.enter(), sys.executable, "-B", FOLDER / "check.py", "http://127.0.0.1:15000"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def log(self) -> str:
        return self.pod.output("istio-proxy")

    def _certify(self) -> None:
        """Mounts a certificate for mutual TLS, which pilot-agent hands to Envoy."""
        folder = self.pod.folder / "var/run/secrets/workload-spiffe-credentials"
        folder.mkdir(parents=True)
        self.authority.write_identity(folder, f"spiffe://cluster.local/ns/{NAMESPACE}/sa/default")
        for name, wanted in (("tls.crt", "cert-chain.pem"), ("tls.key", "key.pem"), ("ca.crt", "root-cert.pem")):
            (folder / name).rename(folder / wanted)

    def _environment(self) -> dict:
        config = {
            "discoveryAddress": f"{self.istiod.address}:{self.istiod.xds}",
            "controlPlaneAuthPolicy": "NONE",
            "binaryPath": binary(),
            "configPath": str(self.pod.folder / "etc"),
            "statusPort": 15020,
            "concurrency": 2,
            "tracing": {},
        }
        return {
            "PATH": os.environ["PATH"],
            "PROXY_CONFIG": json.dumps(config),
            "POD_NAME": self.name,
            "POD_NAMESPACE": NAMESPACE,
            "INSTANCE_IP": POD,
            "SERVICE_ACCOUNT": "default",
            "ISTIO_META_CLUSTER_ID": "Kubernetes",
            "ISTIO_META_ISTIO_VERSION": "1.31.0",
            "ISTIO_METAJSON_LABELS": json.dumps(LABELS),
            **self.env,
        }

    def _create_pod(self) -> None:
        """The Pod object that the API server would have, with the status that the kubelet would write."""
        cluster = self.istiod.cluster
        containers = [{"name": each, "image": f"registry.example.com/{each}:1"} for each in ("orders", "istio-proxy")]
        cluster.apply([{
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": self.name, "namespace": NAMESPACE, "labels": LABELS},
            "spec": {"containers": containers},
        }])
        ready = [{"type": "Ready", "status": "True"}]
        status = {"phase": "Running", "podIP": POD, "podIPs": [{"ip": POD}], "conditions": ready}
        cluster.patch_status(f"/api/v1/namespaces/{NAMESPACE}/pods/{self.name}", status)
