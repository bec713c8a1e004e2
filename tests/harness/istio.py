"""Istio's control plane, and Envoys that get their configuration from it, in place of istio-proxy."""

from __future__ import annotations

import base64
import copy
import itertools
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import yaml

from harness.client import post
from harness.edge import apply
from harness.envoy import MODULE, ROOT, Envoy
from harness.http1 import Closed
from harness.kubernetes import Cluster, documents
from harness.polling import until
from harness.ports import free_ports
from harness.process import end
from harness.release import pull
from harness.sign import default
from harness.tools import crds, tool

FOLDER = ROOT / "envoy" / "istio"
NAMESPACE = "webhooks"
MANAGER = "envoy.filters.network.http_connection_manager"

# Off: the filter istio.stats, which plain Envoy lacks, and mTLS, which needs the agent's certificates.
MESH = {
    "rootNamespace": "istio-system",
    "defaultProviders": {"metrics": []},
    "enableAutoMtls": False,
    "accessLogFile": "/dev/stdout",
    "defaultConfig": {"tracing": {"sampling": 100}},
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
    """istiod for a cluster, with its resource definitions and the namespace of the manifests.

    Envoys connect to `address`. `settings` are variables of istiod's environment.
    """

    _markers = itertools.count()

    def __init__(self, cluster: Cluster, mesh: dict | None = None, address: str = "127.0.0.1", **settings: str) -> None:
        self.cluster = cluster
        self.address = address
        self._scratch = tempfile.TemporaryDirectory(prefix="webhook-guard-")
        self.folder = Path(self._scratch.name)
        self.mesh = {**MESH, **(mesh or {})}
        self.settings = settings
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
        ports = {"grpcAddr": f"{self.address}:{self.xds}", "httpAddr": f"127.0.0.1:{self.http}"}
        off = {"monitoringAddr": "", "secureGRPCAddr": "", "httpsAddr": "", "ctrlz_port": "0", "profile": "false"}
        files = {"kubeconfig": self.cluster.kubeconfig, "meshConfig": self.folder / "mesh"}
        where = {"networksConfig": "/dev/null", "namespace": "istio-system", "clusterID": "Kubernetes"}
        options = {**ports, **off, **files, **where, "domain": "cluster.local"}
        command = [tool("pilot-discovery"), "discovery", *(f"--{name}={value}" for name, value in options.items())]
        environment = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR") if key in os.environ} | ENVIRONMENT
        # istiod takes a client of the loopback address for an authenticated one, and no other without TLS.
        environment["XDS_AUTH_PLAINTEXT"] = str(self.address == "127.0.0.1").lower()
        environment |= self.settings
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(command, env=environment, cwd=self.folder, stdout=log, stderr=log)
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

    def apply(self, objects: list) -> None:
        """Applies objects, and waits until istiod sends what follows from them to each Envoy that connects.

        istiod reads each kind by a watch of its own, and computes its configuration some time later. So first all
        objects must be in its store, and then a later one in the computed configuration.
        """
        applied = {key(each) for each in self.cluster.apply(objects) if "istio.io" in each["apiVersion"]}
        until(lambda: applied <= {key(each) for each in json.loads(self.get("/debug/configz"))}, what="the objects")
        marker = {
            "apiVersion": "telemetry.istio.io/v1",
            "kind": "Telemetry",
            "metadata": {"name": f"marker-{next(self._markers)}", "namespace": "default"},
            "spec": {},
        }
        self.cluster.apply([marker])
        until(lambda: marker["metadata"]["name"] in self.get("/debug/telemetryz"), what="the computed configuration")
        self.cluster.delete(self.cluster.path(marker))

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")


class Injecting(Istiod):
    """istiod with its injector and its controller of Deployments, with the templates that `istioctl install` uses."""

    def __init__(self, cluster: Cluster) -> None:
        settings = {"INJECT_ENABLED": "true", "PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER": "true"}
        super().__init__(cluster, **settings, INJECTION_WEBHOOK_CONFIG_NAME="")
        folder = self.folder / "var" / "lib" / "istio" / "inject"
        folder.mkdir(parents=True)
        image = ["--set", "hub=registry.example.com/istio", "--set", "tag=1.31.0"]
        command = [tool("istioctl"), "manifest", "generate", *image]
        generated = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        (found,) = [
            each["data"]
            for each in documents(generated)
            if (each["kind"], each["metadata"]["name"]) == ("ConfigMap", "istio-sidecar-injector")
        ]
        for name in ("config", "values"):
            (folder / name).write_text(found[name])

    def injected(self, deployment: dict) -> dict:
        """The pod of a Deployment as the injector changes it."""
        template = deployment["spec"]["template"]
        metadata = {**template["metadata"], "name": "pod", "namespace": NAMESPACE}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        asked = {"uid": "1", "operation": "CREATE", "namespace": NAMESPACE, "object": pod}
        asked |= {"kind": {"group": "", "version": "v1", "kind": "Pod"}}
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http}/inject", json.dumps(review).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            response = json.load(answer)["response"]
        for each in json.loads(base64.b64decode(response["patch"])):
            change(pod, each)
        return pod


def change(document: dict, operation: dict) -> None:
    """Applies one operation of a JSON patch."""
    *path, last = [each.replace("~1", "/").replace("~0", "~") for each in operation["path"].split("/")[1:]]
    for each in path:
        document = document[int(each)] if isinstance(document, list) else document[each]
    last = int(last) if isinstance(document, list) else last
    if operation["op"] == "remove":
        del document[last]
    elif operation["op"] == "add" and isinstance(document, list):
        document.insert(last, operation["value"])
    else:
        document[last] = operation["value"]


def key(document: dict) -> tuple:
    """A version of an object."""
    metadata = document["metadata"]
    return document["kind"], metadata.get("namespace"), metadata["name"], metadata.get("resourceVersion")


def module_config_map() -> dict:
    """The ConfigMap that `kubectl create configmap` makes of the module."""
    content = base64.b64encode(MODULE.read_bytes()).decode()
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "webhook-guard", "namespace": NAMESPACE},
        "binaryData": {"plugin.wasm": content},
    }


class Installation:
    """A context manager: the module and shipped manifests at the API server, until the end of the block.

    Paths of the container are below `folder`, and its ports are free ones of the loopback address. `patches` are names
    of patches for the first manifest.
    """

    def __init__(self, istiod: Istiod, folder: Path, *manifests: str, patches=()) -> None:
        self.istiod = istiod
        self.folder = folder
        self.port, self.tls_port = free_ports(2)
        self.applied = [module_config_map(), *self._shipped(manifests[0], patches)]
        for name in manifests[1:]:
            self.applied += self._shipped(name)

    def __enter__(self) -> "Installation":
        self.istiod.apply(self.applied)
        return self

    def __exit__(self, *_) -> None:
        for each in self.applied:
            self.istiod.cluster.delete(self.istiod.cluster.path(each))

    def object(self, kind: str) -> dict:
        """A copy of the only object of a kind, to be changed and applied."""
        (found,) = [each for each in self.applied if each["kind"] == kind]
        return copy.deepcopy(found)

    def _shipped(self, name: str, patches=()) -> list:
        text = patched(name, *patches).replace("/etc/webhook", f"{self.folder}/webhook")
        found = documents(text.replace("8080", str(self.port)).replace("8443", str(self.tls_port)))
        for each in found:
            if each["kind"] == "Gateway" and "servers" in each["spec"]:
                for server in each["spec"]["servers"]:
                    server["bind"] = "127.0.0.1"
        return found


def application(host: str, port: int) -> dict:
    """A Service of the mesh, as an entry with a port of loopback."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "orders", "namespace": NAMESPACE},
        "spec": {
            "hosts": [host],
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "resolution": "STATIC",
            "endpoints": [{"address": "127.0.0.1", "ports": {"http": port}}],
        },
    }


def patched(name: str, *patches: str) -> str:
    """A manifest with patches."""
    text = (FOLDER / name).read_text()
    for each in patches:
        text = apply(text, (FOLDER / f"{each}.patch").read_text(), anywhere=True)
    return text


def patch_of(envoy_filter: dict, name: str, kind: str = "HTTP_FILTER") -> dict:
    """The value of the patch in an EnvoyFilter that adds the filter of a name."""
    patches = [each for each in envoy_filter["spec"]["configPatches"] if each["applyTo"] == kind]
    return next(each["patch"]["value"] for each in patches if each["patch"]["value"]["name"] == name)


def guard_of(envoy_filter: dict) -> dict:
    """The plugin of the guard in an EnvoyFilter, inline or by ECDS."""
    kinds = {each["applyTo"] for each in envoy_filter["spec"]["configPatches"]}
    kind = "EXTENSION_CONFIG" if "EXTENSION_CONFIG" in kinds else "HTTP_FILTER"
    return patch_of(envoy_filter, "webhook_guard", kind)["typed_config"]["config"]


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
        number = next(self._numbers)
        self.name, self.address = f"{deployment}-{number}", f"127.0.0.{number}"
        self.process, self.clock = None, None
        self.admin, self._port = 0, port
        found = self.cluster.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{deployment}")
        self.template = found["spec"]["template"]
        self.labels = self.template["metadata"]["labels"]
        self.account = self.template["spec"].get("serviceAccountName", "default")
        (self.container,) = [each for each in self.template["spec"]["containers"] if each["name"] == "istio-proxy"]
        self.env = dict(self._variable(each) for each in self.container.get("env", []) if known(each))
        self.update_volumes()
        self._create_pod()
        self.document = SimpleNamespace(data=self._bootstrap(kind))

    def stop(self) -> None:
        super().stop()
        self.cluster.delete(f"/api/v1/namespaces/{NAMESPACE}/pods/{self.name}")

    def update_volumes(self) -> None:
        """Writes the ConfigMaps and Secrets that the container mounts, as the kubelet does."""
        volumes = {each["name"]: each for each in self.template["spec"].get("volumes", [])}
        for mount in self.container.get("volumeMounts", []):
            if not mount["name"].startswith("webhook-"):
                continue  # a volume of istio-proxy itself
            project(Path(mount["mountPath"]), self._files(volumes[mount["name"]]))

    def filters(self) -> list:
        """The names of the HTTP filters in the listener that takes requests, as istiod has sent them."""
        return [each["name"] for each in self.manager()["http_filters"]]

    def manager(self) -> dict:
        """The HTTP connection manager of that listener."""
        (found,) = [
            each
            for listener in listeners(self.dump())
            if listener["address"]["socket_address"].get("port_value") == self.port
            for each in managers(listener)
        ]
        return found

    def answers(self) -> bool:
        """Whether the admin interface answers, though Envoy may not be ready."""
        address = self.folder / "admin"
        if address.exists() and ":" in address.read_text():
            self.admin = int(address.read_text().rsplit(":", 1)[1])
        return self.admin != 0

    def dump(self) -> dict:
        """The configuration that Envoy runs."""
        return json.loads(self.get("/config_dump"))

    def deliver(self, body: bytes = b'{"order": 42}', headers=(), secret: str = "dev-only-webhook-secret", **how):
        """A signed request to the shipped endpoint."""
        return post(self.port, "/webhook", [*default(secret, body), *headers], body, **how)

    def signed_status(self) -> int:
        """The status of a signed request; 0 if Envoy replaces the listener just now, and closes the connection."""
        try:
            return self.deliver().status
        except (Closed, OSError):
            return 0

    def _listener_port(self) -> int:
        # istiod takes more than a minute on a machine that other suites keep busy.
        until(lambda: self._port in self.ports().values(), 180, f"a listener at port {self._port}")
        return self._port

    def _variable(self, entry: dict) -> tuple:
        if "value" in entry:
            return entry["name"], entry["value"]
        source = entry["valueFrom"]["secretKeyRef"]
        return entry["name"], self._secret(source["name"])[source["key"]].decode()

    def _files(self, volume: dict) -> dict:
        """The files of a volume: name -> content."""
        if "image" in volume:
            return pull(volume["image"]["reference"])
        if "secret" in volume:
            return self._secret(volume["secret"]["secretName"])
        return self._config_map(volume["configMap"]["name"])

    def _secret(self, name: str) -> dict:
        found = self.cluster.get(f"/api/v1/namespaces/{NAMESPACE}/secrets/{name}")
        return {key: base64.b64decode(value) for key, value in found["data"].items()}

    def _config_map(self, name: str) -> dict:
        found = self.cluster.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/{name}")
        binary = {key: base64.b64decode(value) for key, value in found.get("binaryData", {}).items()}
        return binary | {key: value.encode() for key, value in found.get("data", {}).items()}

    def _token(self) -> str:
        """A token of the pod's service account. istiod gives certificates only to a proxy that it can identify."""
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": self.account, "namespace": NAMESPACE},
        }
        self.cluster.apply([account])
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{self.account}/token"
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": ["istio-ca"]},
        }
        return self.cluster.post(path, asked)["status"]["token"]

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
            "SERVICE_ACCOUNT": self.account,
            "MESH_ID": "cluster.local",
        }
        identity = f"{kind}~{self.address}~{self.name}.{NAMESPACE}~{NAMESPACE}.svc.cluster.local"
        stream = {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [{
                "envoy_grpc": {"cluster_name": "xds-grpc"},
                "initial_metadata": [{"key": "authorization", "value": f"Bearer {self._token()}"}],
            }],
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


def known(entry: dict) -> bool:
    """Whether a variable is a value or from a Secret. The others are for pilot-agent."""
    return "value" in entry or "secretKeyRef" in entry.get("valueFrom", {})


def check(proxy: Proxy) -> list:
    """The findings of check.py for what an Envoy runs."""
    command = [sys.executable, "-B", str(FOLDER / "check.py"), f"http://127.0.0.1:{proxy.admin}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.stderr, done.stderr
    *found, _ = done.stdout.splitlines()
    assert done.returncode == bool(found), done.stdout
    return found


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


def managers(listener: dict) -> list:
    """The HTTP connection managers of a listener."""
    chains = [*listener.get("filter_chains", []), listener.get("default_filter_chain", {})]
    filters = [each for chain in chains for each in chain.get("filters", [])]
    return [each["typed_config"] for each in filters if each["name"] == MANAGER]


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
