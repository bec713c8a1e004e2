"""Envoy Gateway's real controller on a real API server, and the Envoy that its Deployment describes."""

from __future__ import annotations

import base64
import copy
import functools
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import yaml

from harness.client import post
from harness.container import Container
from harness.edge import apply
from harness.envoy import MODULE, ROOT, SECRET
from harness.kubernetes import APPLY, ApiError, Cluster, documents
from harness.polling import until
from harness.sign import default
from harness.tools import crds, tool

FOLDER = ROOT / "envoy" / "envoy-gateway"
# Where the controller is, and where it runs Envoy.
SYSTEM = "envoy-gateway-system"
NAMESPACE = "webhooks"
POLICIES = f"/apis/gateway.envoyproxy.io/v1alpha1/namespaces/{NAMESPACE}"
# The object that makes the API server refuse policies that replace the lock.
BINDING = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/webhook-guard-lock"
ROUTES = f"/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/httproutes"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
# A SecurityPolicy that replaces the lock, although its author wants nothing of that kind.
CORS = {"cors": {"allowOrigins": ["https://example.com"]}}
# Envoys that the manifests are tested with. Envoy Gateway 1.9.1 itself installs 1.39.1.
ENVOYS = ("1.39.3", "1.40.0")
# How long the controller and a starting Envoy may take on a busy machine.
PATIENCE = 60

# The controller's configuration as a user sets it, except for ports that collide in one network namespace.
CONFIGURATION = {
    "apiVersion": "gateway.envoyproxy.io/v1alpha1",
    "kind": "EnvoyGateway",
    "gateway": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
    "extensionApis": {"enableEnvoyPatchPolicy": True},
    "provider": {
        "type": "Kubernetes",
        "kubernetes": {
            "leaderElection": {"disable": True},
            # Otherwise Envoy waits 15 s for the endpoints of its own Service, which a cluster with pods has.
            "proxyTopologyInjector": {"disabled": True},
        },
    },
    # Envoy has the ports 19000 and 19001.
    "admin": {"address": {"host": "127.0.0.1", "port": 19100}},
    "telemetry": {"metrics": {"prometheus": {"disable": True}}},
}


@functools.lru_cache(maxsize=None)
def envoy_binary(version: str) -> str:
    command = [sys.executable, str(ROOT / "envoy" / "fetch.py"), "--version", version]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


class Controller:
    """The controller, started and ended by `start` and `stop`."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._container = None

    def install(self) -> None:
        """Creates the objects that its Helm chart creates: definitions, a namespace, certificates."""
        for name in ("gateway-api-crds.yaml", "envoy-gateway-crds.yaml"):
            self._cluster.crds(crds("envoy-gateway", name))
        self._cluster.namespace(SYSTEM)
        environment = {
            **os.environ,
            "KUBECONFIG": str(self._cluster.kubeconfig),
            "ENVOY_GATEWAY_NAMESPACE": SYSTEM,
        }
        command = [tool("envoy-gateway"), "certgen", "--disable-topology-injector"]
        subprocess.run(command, check=True, env=environment, capture_output=True)

    def start(self, **changes) -> "Controller":
        config = {"envoy-gateway.yaml": json.dumps({**CONFIGURATION, **changes})}
        self._cluster.apply([config_map("envoy-gateway-config", data=config)])
        self._cluster.apply([config_map("kubeconfig", data={"config": self._kubeconfig()})])
        variables = {"ENVOY_GATEWAY_NAMESPACE": SYSTEM, "KUBECONFIG": "/kubeconfig/config"}
        mounts = {"config": "/config", "certs": "/certs", "cache": "/var/lib/eg/wasm", "kubeconfig": "/kubeconfig"}
        spec = {
            "args": ["server", "--config-path=/config/envoy-gateway.yaml"],
            "env": [{"name": name, "value": value} for name, value in variables.items()],
            "volumeMounts": [{"name": name, "mountPath": path} for name, path in mounts.items()],
        }
        volumes = [
            {"name": "config", "configMap": {"name": "envoy-gateway-config"}},
            {"name": "certs", "secret": {"secretName": "envoy-gateway"}},
            {"name": "cache", "emptyDir": {}},
            {"name": "kubeconfig", "configMap": {"name": "kubeconfig"}},
        ]
        self._container = Container(
            self._cluster, SYSTEM, spec, volumes, binary=tool("envoy-gateway"), folder=self._folder, fields={},
            hosts=["registry.example.com"],
        ).start()
        return self

    def stop(self) -> None:
        if self._container is not None:
            self._container.stop()

    def restart(self, **changes) -> None:
        """Starts it again, with changes of its configuration."""
        self.stop()
        self.start(**changes)

    def log(self) -> str:
        return self._container.text()

    def _kubeconfig(self) -> str:
        """The cluster's, without paths, because the controller has a file system of its own."""
        config = yaml.safe_load(self._cluster.kubeconfig.read_text())
        for each in config["clusters"]:
            authority = Path(each["cluster"].pop("certificate-authority")).read_bytes()
            each["cluster"]["certificate-authority-data"] = base64.b64encode(authority).decode()
        return json.dumps(config)


class Proxy:
    """The Envoy of the shipped Gateway, started as its Deployment says."""

    admin = 19000

    def __init__(self, cluster: Cluster, folder: Path, version: str, port: int = 10080) -> None:
        self._cluster = cluster
        self._folder = folder
        self._binary = envoy_binary(version)
        self._container = None
        self._settled = itertools.count()
        self.port = port

    def start(self, *, listening: bool = True) -> "Proxy":
        """Starts it, and waits until it serves what the controller sends."""
        found = deployment(self._cluster)
        self._report_ready(found["metadata"]["name"])
        pod = found["spec"]["template"]["spec"]
        spec = next(each for each in pod["containers"] if each["name"] == "envoy")
        self._container = Container(
            self._cluster, SYSTEM, spec, pod["volumes"],
            binary=self._binary,
            folder=self._folder,
            fields={"metadata.namespace": SYSTEM, "metadata.name": "envoy-0"},
            hosts=[f"envoy-gateway.{SYSTEM}.svc.cluster.local"],
        ).start()
        until(self._is_live, PATIENCE, "Envoy to become live")
        if listening:
            until(lambda: self.status() is not None, PATIENCE, "a listener")
        return self

    def stop(self) -> None:
        if self._container is not None:
            self._container.stop()

    def restart(self, **how) -> "Proxy":
        self.stop()
        return self.start(**how)

    def at(self, port: int) -> "Proxy":
        """The same Envoy, for requests to another port."""
        other = copy.copy(self)
        other.port = port
        return other

    def update_volume(self, name: str) -> None:
        """Brings the files of a volume up to date, as the kubelet does within a minute or two."""
        self._container.update_volume(name)

    def is_ready(self) -> bool:
        """Whether the kubelet's readiness probe succeeds, as the Deployment defines it."""
        pod = deployment(self._cluster)["spec"]["template"]["spec"]
        spec = next(each for each in pod["containers"] if each["name"] == "envoy")
        try:
            socket.create_connection(("127.0.0.1", spec["readinessProbe"]["tcpSocket"]["port"]), 10).close()
        except ConnectionRefusedError:
            return False
        return True

    def _report_ready(self, name: str) -> None:
        """Writes what the controllers of Kubernetes would: an address of the Service, and the Deployment's replicas."""
        services = f"/api/v1/namespaces/{SYSTEM}/services"
        selector = f"metadata.name={name}"
        until(lambda: self._cluster.get(services, fieldSelector=selector)["items"], PATIENCE, "a Service")
        self._cluster.patch_status(f"{services}/{name}", {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}})
        replicas = {"replicas": 1, "readyReplicas": 1, "availableReplicas": 1, "updatedReplicas": 1}
        self._cluster.patch_status(f"/apis/apps/v1/namespaces/{SYSTEM}/deployments/{name}", replicas)

    def _is_live(self) -> bool:
        if self._container.process.poll() is not None:
            raise AssertionError(f"Envoy ended with {self._container.process.returncode}:\n{self.log()[-4000:]}")
        try:
            return self.get("/ready").strip() == "LIVE"
        except OSError:
            return False

    # Requests.

    def post(self, path: str = "/webhook", headers=(), body: bytes = b"{}", **how):
        return post(self.port, path, headers, body, **how)

    def status(self, *request, **how) -> int | None:
        """The status of an answer, or None if the connection is refused."""
        try:
            return self.post(*request, **how).status
        except ConnectionRefusedError:
            return None

    def deliver(self, body: bytes = b"{}", secret: str = SECRET, path: str = "/webhook", **how) -> int | None:
        """The status of a signed request."""
        return self.status(path, default(secret, body), body, **how)

    # The admin interface, and the log.

    def get(self, path: str, port: int | None = None, method: str = "GET") -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{port or self.admin}{path}", method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def stat(self, name: str) -> int:
        """A counter or a gauge; 0 where it does not exist yet."""
        found = json.loads(self.get(f"/stats?format=json&filter=^{name}$"))["stats"]
        return next((each["value"] for each in found if "value" in each), 0)

    def manager(self) -> dict:
        """The connection manager of the Gateway's listener, as Envoy runs it."""
        for each in self._dump("dynamic_listeners"):
            if each["name"] == f"{NAMESPACE}/{NAMESPACE}/{NAMESPACE}":
                listener = each["active_state"]["listener"]
        chain = listener.get("default_filter_chain") or listener["filter_chains"][0]
        return chain["filters"][-1]["typed_config"]

    def settle(self, installation: "Installation") -> None:
        """Waits until Envoy has everything that was applied before: adds a route, and waits for that."""
        name = f"settled-{next(self._settled)}"
        installation.cluster.apply([route(name, f"/{name}")])
        until(lambda: name in json.dumps(self.routes()), PATIENCE, "the next update")

    def routes(self) -> dict:
        """The only route configuration."""
        return self._dump("dynamic_route_configs")[0]["route_config"]

    def _dump(self, resource: str) -> list:
        return json.loads(self.get(f"/config_dump?resource={resource}"))["configs"]

    def log(self) -> str:
        return self._container.text()


def patched_files(*names: str) -> dict:
    """The two manifests with the changes of each NAME.patch: file name -> text."""
    files = {name: (FOLDER / name).read_text() for name in ("gateway.yaml", "guard.yaml")}
    for name in names:
        _, *parts = re.split(r"^--- (\S+)\n", (FOLDER / f"{name}.patch").read_text(), flags=re.MULTILINE)
        for file, patch in zip(parts[::2], parts[1::2]):
            files[file] = apply(files[file], patch, anywhere=len(names) > 1)
    return files


def deployment(cluster: Cluster) -> dict:
    """The Deployment that the controller has made for the Gateway."""
    path = f"/apis/apps/v1/namespaces/{SYSTEM}/deployments"
    selector = f"gateway.envoyproxy.io/owning-gateway-name={NAMESPACE}"
    return until(lambda: cluster.get(path, labelSelector=selector)["items"], PATIENCE, "a Deployment")[0]


class Installation:
    """The shipped manifests on the cluster, with an application behind the Gateway."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def gateway(self, change=lambda document: None, text: str | None = None) -> None:
        """Creates what gateway.yaml refers to, and applies it. `change` is called with each document."""
        self.module(MODULE.read_bytes())
        self.secret(orders=SECRET)
        self._apply(text or (FOLDER / "gateway.yaml").read_text(), change)

    def guard(self, change=lambda document: None, text: str | None = None) -> None:
        self._apply(text or (FOLDER / "guard.yaml").read_text(), change)

    def module(self, content: bytes, name: str = "webhook-guard-1") -> None:
        self.cluster.apply([config_map(name, binaryData={"plugin.wasm": encoded(content)})])

    def secret(self, **values: str) -> None:
        data = {name.replace("_", "-"): encoded(value.encode()) for name, value in values.items()}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "webhook-secrets", "namespace": SYSTEM}}
        self.cluster.apply([{**secret, "data": data}])

    def application(self, address: str, port: int) -> None:
        """The Service `app` with one pod, which is the upstream."""
        metadata = {"name": "app", "namespace": NAMESPACE}
        self.cluster.apply([
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata,
             "spec": {"ports": [{"port": 8080, "targetPort": port}]}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
             "metadata": {**metadata, "labels": {"kubernetes.io/service-name": "app"}},
             "addressType": "IPv4", "ports": [{"name": "", "port": port, "protocol": "TCP"}],
             "endpoints": [{"addresses": [address], "conditions": {"ready": True}}]},
        ])

    def condition(self, kind: str, name: str, condition: str) -> dict:
        """A condition of a policy, as `condition("envoypatchpolicies", "webhook-guard", "Programmed")`."""
        found = self.cluster.get(f"{POLICIES}/{kind}/{name}").get("status", {})
        conditions = [each for ancestor in found.get("ancestors", []) for each in ancestor["conditions"]]
        return next((each for each in conditions if each["type"] == condition), {"status": "absent"})

    def own_policy(self, kind: str, spec: dict) -> None:
        """Gives the route a policy of its own, `own`, which replaces the Gateway's unless its `mergeType` is set."""
        self.cluster.apply([policy("own", kind, spec)])

    def refusal(self, name: str, spec: dict) -> str:
        """Why the API server would refuse a SecurityPolicy of the route, or an empty string."""
        where = f"{POLICIES}/securitypolicies/{name}"
        query = {"dryRun": "All", "fieldManager": "test", "force": "true"}
        try:
            self.cluster.request("PATCH", where, policy(name, "SecurityPolicy", spec), kind=APPLY, query=query)
        except ApiError as error:
            assert error.status == 422, error
            return str(error)
        return ""

    def allow_policies(self) -> None:
        """Deletes the binding, so that policies can replace the lock. `gateway` creates the binding again."""
        self.cluster.delete(BINDING)
        until(lambda: not self.refusal("own", CORS), PATIENCE, "the end of the admission policy")

    def delete(self, kind: str, name: str) -> None:
        self.cluster.delete(f"{POLICIES}/{kind}/{name}")

    def remove(self) -> None:
        """Deletes all objects of the manifests, routes first."""
        kinds = ["envoypatchpolicies", "envoyextensionpolicies", "securitypolicies", "clienttrafficpolicies"]
        kinds += ["backendtrafficpolicies", "envoyproxies"]
        gateways = f"/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}"
        for base in (ROUTES, f"{gateways}/gateways", *(f"{POLICIES}/{kind}" for kind in kinds)):
            for each in self.cluster.get(base)["items"]:
                self.cluster.delete(f"{base}/{each['metadata']['name']}")
        until(self._has_no_deployment, PATIENCE, "the end of the Deployment")

    def _has_no_deployment(self) -> bool:
        return not self.cluster.get(f"/apis/apps/v1/namespaces/{SYSTEM}/deployments")["items"]

    def _apply(self, text: str, change) -> None:
        found = documents(text)
        for each in found:
            change(each)
        self.cluster.apply(found)


def policy(name: str, kind: str, spec: dict) -> dict:
    """A policy of the route `app`."""
    target = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "app"}
    return {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"targetRefs": [target], **spec},
    }


def route(name: str, path: str) -> dict:
    """Another route to the application."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "parentRefs": [{"name": NAMESPACE}],
            "rules": [{"matches": [{"path": {"type": "Exact", "value": path}}],
                       "backendRefs": [{"name": "app", "port": 8080}]}],
        },
    }


def config_map(name: str, **content) -> dict:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": SYSTEM}, **content}


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def patched(document: dict, filter_name: str) -> dict:
    """The value of the patch that inserts a filter."""
    for each in document["spec"]["jsonPatches"]:
        value = each["operation"].get("value")
        if isinstance(value, dict) and value.get("name") == filter_name:
            return value
    raise AssertionError(f"no patch inserts {filter_name}")
