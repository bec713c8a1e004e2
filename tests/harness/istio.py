"""Istio's control plane, and Envoys that get their configuration from it, in place of istio-proxy."""

from __future__ import annotations

import base64
import itertools
import json
import os
import subprocess
import tempfile
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import yaml

from harness.client import post
from harness.envoy import MODULE, ROOT, Envoy
from harness.kubernetes import Cluster, documents
from harness.polling import until
from harness.ports import free_ports
from harness.process import end
from harness.sign import default
from harness.tools import crds, tool

FOLDER = ROOT / "envoy" / "istio"
NAMESPACE = "webhooks"

# Off: the filter istio.stats, which plain Envoy lacks, and mTLS, which needs the agent's certificates.
MESH = {
    "rootNamespace": "istio-system",
    "defaultProviders": {"metrics": []},
    "enableAutoMtls": False,
    "accessLogFile": "/dev/stdout",
    "pathNormalization": {"normalization": "NONE"},
}
ENVIRONMENT = {
    "PILOT_ENABLE_METADATA_EXCHANGE": "false",
    "PILOT_ENABLE_ALPN_FILTER": "false",
    "ENABLE_CA_SERVER": "false",
    "PILOT_CERT_PROVIDER": "none",
    "INJECT_ENABLED": "false",
    "PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER": "false",
    "PILOT_ENABLE_IP_AUTOALLOCATE": "false",
    "PILOT_ENABLE_LEADER_ELECTION": "false",
    "VALIDATION_WEBHOOK_CONFIG_NAME": "",
    "POD_NAME": "istiod-0",
    "POD_NAMESPACE": "istio-system",
}


class Istiod:
    """istiod for a cluster, with its resource definitions and the namespace of the manifests."""

    def __init__(self, cluster: Cluster, mesh: dict | None = None) -> None:
        self.cluster = cluster
        self._scratch = tempfile.TemporaryDirectory(prefix="webhook-guard-")
        self.folder = Path(self._scratch.name)
        self.mesh = {**MESH, **(mesh or {})}
        self.process = None

    def __enter__(self) -> "Istiod":
        self.cluster.crds(crds("istio", "istio-crds.yaml"))
        self.cluster.crds(crds("istio", "gateway-api-crds.yaml"))
        self.cluster.namespace(NAMESPACE)
        self.cluster.namespace("istio-system")
        self.xds, self.http = free_ports(2)
        (self.folder / "mesh").write_text(yaml.safe_dump(self.mesh))
        self._start()
        return self

    def __exit__(self, *_) -> None:
        if self.process:
            end(self.process, 5)

    def _start(self) -> None:
        ports = {"grpcAddr": f"127.0.0.1:{self.xds}", "httpAddr": f"127.0.0.1:{self.http}"}
        off = {"monitoringAddr": "", "secureGRPCAddr": "", "httpsAddr": "", "ctrlz_port": "0", "profile": "false"}
        files = {"kubeconfig": self.cluster.kubeconfig, "meshConfig": self.folder / "mesh"}
        where = {"networksConfig": "/dev/null", "namespace": "istio-system", "clusterID": "Kubernetes"}
        options = {**ports, **off, **files, **where, "domain": "cluster.local"}
        command = [tool("pilot-discovery"), "discovery", *(f"--{name}={value}" for name, value in options.items())]
        environment = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR") if key in os.environ}
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                command, env={**environment, **ENVIRONMENT}, cwd=self.folder, stdout=log, stderr=log
            )
        until(self._is_ready, what="istiod to become ready")

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"istiod ended with {self.process.returncode}:\n{self.log()[-4000:]}")
        try:
            return self.get("/ready") is not None
        except OSError:
            return False

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=30) as answer:
            return answer.read().decode()

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")


def module_config_map() -> dict:
    """The ConfigMap that `kubectl create configmap` makes of the module."""
    content = base64.b64encode(MODULE.read_bytes()).decode()
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "webhook-guard", "namespace": NAMESPACE},
        "binaryData": {MODULE.name: content},
    }


def shipped(name: str, folder: Path, port: int, tls_port: int = 0) -> list:
    """The documents of a manifest, with the container's paths below a folder and its ports on the loopback address."""
    text = (FOLDER / name).read_text().replace("/etc/webhook", f"{folder}/webhook")
    found = documents(text.replace("8080", str(port)).replace("8443", str(tls_port)))
    for each in found:
        if each["kind"] == "Gateway" and "servers" in each["spec"]:
            for server in each["spec"]["servers"]:
                server["bind"] = "127.0.0.1"
    return found


class Proxy(Envoy):
    """An Envoy in place of the istio-proxy of a Deployment's pod.

    The environment, the volumes and the labels are those of the pod's template at the API server. `port` is the port
    that takes requests.
    """

    _numbers = itertools.count(3)

    def __init__(self, istiod: Istiod, deployment: str, port: int, kind: str = "router") -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="webhook-guard-")
        self.folder = Path(self._scratch.name)
        self.istiod = istiod
        self.cluster = istiod.cluster
        self.name = f"{deployment}-0"
        self.address = f"127.0.0.{next(self._numbers)}"
        self.process, self.clock = None, None
        self.admin, self._port = 0, port
        found = self.cluster.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{deployment}")
        self.template = found["spec"]["template"]
        self.labels = self.template["metadata"]["labels"]
        (self.container,) = [each for each in self.template["spec"]["containers"] if each["name"] == "istio-proxy"]
        self.env = dict(self._variable(each) for each in self.container.get("env", []))
        self.update_volumes()
        self._create_pod()
        self.document = SimpleNamespace(data=self._bootstrap(kind))

    def update_volumes(self) -> None:
        """Writes the ConfigMaps and Secrets that the container mounts, as the kubelet does."""
        volumes = {each["name"]: each for each in self.template["spec"].get("volumes", [])}
        for mount in self.container.get("volumeMounts", []):
            volume = volumes[mount["name"]]
            files = self._secret(volume["secret"]["secretName"]) if "secret" in volume else None
            project(Path(mount["mountPath"]), files or self._config_map(volume["configMap"]["name"]))

    def filters(self) -> list:
        """The names of the HTTP filters in the listener that takes requests, as istiod has sent them."""
        (found,) = [
            each
            for listener in listeners(self.dump())
            if listener["address"]["socket_address"].get("port_value") == self.port
            for each in filters_of(listener)
        ]
        return found

    def dump(self) -> dict:
        """The configuration that Envoy runs."""
        return json.loads(self.get("/config_dump"))

    def deliver(self, body: bytes = b'{"order": 42}', headers=(), secret: str = "dev-only-webhook-secret", **how):
        """A signed request to the shipped endpoint."""
        return post(self.port, "/webhook", [*default(secret, body), *headers], body, **how)

    def _listener_port(self) -> int:
        def listens() -> bool:
            statuses = json.loads(self.get("/listeners?format=json")).get("listener_statuses", [])
            return self._port in [each["local_address"]["socket_address"]["port_value"] for each in statuses]

        until(listens, what=f"a listener at port {self._port}")
        return self._port

    def _variable(self, entry: dict) -> tuple:
        if "value" in entry:
            return entry["name"], entry["value"]
        source = entry["valueFrom"]["secretKeyRef"]
        return entry["name"], self._secret(source["name"])[source["key"]].decode()

    def _secret(self, name: str) -> dict:
        found = self.cluster.get(f"/api/v1/namespaces/{NAMESPACE}/secrets/{name}")
        return {key: base64.b64decode(value) for key, value in found["data"].items()}

    def _config_map(self, name: str) -> dict:
        found = self.cluster.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/{name}")
        binary = {key: base64.b64decode(value) for key, value in found.get("binaryData", {}).items()}
        return binary | {key: value.encode() for key, value in found.get("data", {}).items()}

    def _create_pod(self) -> None:
        container = {"name": "istio-proxy", "image": "registry.example.com/proxy:1"}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "namespace": NAMESPACE, "labels": self.labels},
            "spec": {"containers": [container]},
        }
        self.cluster.apply([pod])
        ready = [{"type": "Ready", "status": "True"}]
        status = {"phase": "Running", "podIP": self.address, "podIPs": [{"ip": self.address}], "conditions": ready}
        self.cluster.patch_status(f"/api/v1/namespaces/{NAMESPACE}/pods/{self.name}", status)

    def _bootstrap(self, kind: str) -> dict:
        metadata = {
            "CLUSTER_ID": "Kubernetes",
            "ISTIO_VERSION": "1.31.0",
            "NAMESPACE": NAMESPACE,
            "LABELS": self.labels,
            "INSTANCE_IPS": self.address,
            "SERVICE_ACCOUNT": "default",
            "MESH_ID": "cluster.local",
        }
        identity = f"{kind}~{self.address}~{self.name}.{NAMESPACE}~{NAMESPACE}.svc.cluster.local"
        stream = {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
        }
        return {
            "node": {"id": identity, "cluster": f"{self.name}.{NAMESPACE}", "metadata": metadata},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            "dynamic_resources": {
                "ads_config": stream,
                "lds_config": {"ads": {}, "resource_api_version": "V3"},
                "cds_config": {"ads": {}, "resource_api_version": "V3"},
            },
            "static_resources": {"clusters": [xds_cluster(self.istiod.xds)]},
        }


def xds_cluster(port: int) -> dict:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {"explicit_http_config": {"http2_protocol_options": {}}}
    return {
        "name": "xds-grpc",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {options: {"@type": f"type.googleapis.com/{options}", **http2}},
        "load_assignment": {
            "cluster_name": "xds-grpc",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def listeners(dump: dict):
    """The listeners that Envoy uses."""
    for part in dump["configs"]:
        for each in part.get("dynamic_listeners", []):
            if "active_state" in each:
                yield each["active_state"]["listener"]


def filters_of(listener: dict) -> list:
    """The names of the HTTP filters of each connection manager in a listener."""
    chains = [*listener.get("filter_chains", []), listener.get("default_filter_chain", {})]
    return [
        [each["name"] for each in network["typed_config"]["http_filters"]]
        for chain in chains
        for network in chain.get("filters", [])
        if network["name"] == "envoy.filters.network.http_connection_manager"
    ]


def project(folder: Path, files: dict) -> None:
    """Writes files into a volume as the kubelet does: by the swap of one symbolic link."""
    folder.mkdir(parents=True, exist_ok=True)
    version = Path(tempfile.mkdtemp(prefix="..", dir=folder))
    for name, content in files.items():
        (version / name).write_bytes(content)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    (folder / "..new").symlink_to(version.name)
    (folder / "..new").rename(folder / "..data")
