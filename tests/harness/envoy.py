"""A real Envoy with the shipped configuration, changed where a test needs it to be."""

from __future__ import annotations

import copy
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
import weakref
from pathlib import Path

import yaml

from harness.polling import until
from harness.process import end

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "target" / "wasm32-wasip1" / "release" / "webhook_guard.wasm"
SHIPPED = ROOT / "envoy" / "envoy.yaml"
# The default of WEBHOOK_SECRET.
SECRET = "the-secret-of-all-orders"
STRUCT = "type.googleapis.com/google.protobuf.Struct"
STRING = "type.googleapis.com/google.protobuf.StringValue"


@functools.lru_cache(maxsize=None)
def binary() -> str:
    """The Envoy under test: of ENVOY_VERSION, or the file that ENVOY names."""
    command = [sys.executable, str(ROOT / "envoy" / "fetch.py")]
    if os.environ.get("ENVOY_VERSION"):
        command += ["--version", os.environ["ENVOY_VERSION"]]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@functools.lru_cache(maxsize=None)
def version() -> tuple:
    """The version of Envoy, such as (1, 40, 0)."""
    shown = subprocess.run([binary(), "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return tuple(map(int, re.search(r"/(\d+)\.(\d+)\.(\d+)", shown).groups()))


def reads_secrets() -> bool:
    """Whether it can put secrets of files and of SDS into filter state."""
    return version() >= (1, 38)


class Document:
    """A shipped configuration as data, and names for the parts of it that tests change."""

    def __init__(self, text: str | None = None) -> None:
        self.data = yaml.safe_load(text or SHIPPED.read_text())
        self.listener = self.data["static_resources"]["listeners"][0]
        self.cluster = self.data["static_resources"]["clusters"][0]
        self.manager = self.listener["filter_chains"][0]["filters"][-1]["typed_config"]
        self.filters = self.manager["http_filters"]
        self.virtual_host = self.manager["route_config"]["virtual_hosts"][0]
        self.guard_filter = next(each for each in self.filters if each["name"] == "webhook_guard")
        self.guard_config = self.guard_filter.get("typed_config") or discovered(self.guard_filter)
        self.guard = self.guard_config["config"]

    def localise(self, upstream_port: int) -> None:
        """Free ports, which Envoy reports, the given upstream, and the module by its whole path."""
        self.data["admin"]["address"]["socket_address"]["port_value"] = 0
        self.listener["address"]["socket_address"]["port_value"] = 0
        endpoint = self.cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        endpoint["address"]["socket_address"]["port_value"] = upstream_port
        self.guard["vm_config"]["code"]["local"]["filename"] = str(MODULE)

    def log_everything(self) -> None:
        """Writes a line of the access log for each request, where the shipped files sample some."""
        for log in self.manager["access_log"]:
            for each in log["filter"]["or_filter"]["filters"]:
                if "runtime_filter" in each:
                    each["runtime_filter"]["percent_sampled"]["numerator"] = 100

    def configure(self, configuration, as_text: bool) -> None:
        """Gives the guard its configuration: a dict, or a text to be taken as it is."""
        self.guard["configuration"] = encoded(configuration, as_text)

    def environment(self, names) -> None:
        """The variables that the guard can see."""
        self.guard["vm_config"]["environment_variables"]["host_env_keys"] = sorted(set(names))

    def http2_upstream(self) -> None:
        """Talks HTTP/2 to the upstream, without negotiation."""
        self._speak({"http2_protocol_options": {}})

    def negotiated_upstream(self) -> None:
        """Talks HTTP/2 to the upstream if it offers that in the handshake, else HTTP/1.1."""
        self._speak({}, "auto_config")

    def trailers(self) -> None:
        """Takes trailers over HTTP/1.1 and hands them on; they are dropped otherwise."""
        options = {"enable_trailers": True}
        self.manager["http_protocol_options"] = options
        self._speak({"http_protocol_options": options})

    def _speak(self, protocol: dict, how: str = "explicit_http_config") -> None:
        self.cluster.update(protocol_options(protocol, how))

    def add_cluster(self, name: str, port: int, http2: bool = False, **common) -> None:
        """Another cluster, of one host on the loopback interface. `common` are options of both versions of HTTP."""
        host = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
        hosts = {"cluster_name": name, "endpoints": [{"lb_endpoints": [host]}]}
        cluster = {"name": name, "load_assignment": hosts}
        if http2:
            cluster |= protocol_options({"http2_protocol_options": {}}, common_http_protocol_options=common)
        self.data["static_resources"]["clusters"].append(cluster)

    def remove_filters(self, *names: str) -> None:
        """Takes these away, where they are there."""
        self.filters[:] = [each for each in self.filters if each["name"] not in names]

    @staticmethod
    def switch_off(route: dict, *names: str) -> None:
        """Switches these filters off on a route."""
        off = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
        route["typed_per_filter_config"] = {name: off for name in names}

    def discover_guard(self, folder: Path) -> Path:
        """Moves the guard's filter into a file that is watched in a new folder; returns that file."""
        folder.mkdir()
        file = folder / "guard.json"
        self.data["node"] = {"id": "test", "cluster": "test"}
        write_discovered(file, self.guard_filter.pop("typed_config"))
        self.guard_filter["config_discovery"] = {
            "config_source": watched(file),
            "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"],
        }
        return file

    def discover_listener(self, folder: Path) -> Path:
        """Moves the listener into a file that is watched in a new folder; returns that file."""
        folder.mkdir()
        file = folder / "listener.json"
        self.data["node"] = {"id": "test", "cluster": "test"}
        self.data["static_resources"]["listeners"] = []
        self.data["dynamic_resources"] = {"lds_config": watched(file)}
        self.write_listener(file)
        return file

    def write_listener(self, file: Path) -> None:
        """Puts the listener where Envoy watches for it, as it is in this document now."""
        write_resource(file, {"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", **self.listener})


def watched(file: Path) -> dict:
    """The source of a configuration in a file."""
    return {"path_config_source": {"path": str(file), "watched_directory": {"path": str(file.parent)}}}


def protocol_options(protocol: dict, how: str = "explicit_http_config", **more) -> dict:
    """A cluster's version of HTTP."""
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    typed = {"@type": f"type.googleapis.com/{options}", how: protocol, **more}
    return {"typed_extension_protocol_options": {options: typed}}


def encoded(configuration, as_text: bool = False) -> dict:
    """A plugin configuration as the Any that Envoy wants."""
    if isinstance(configuration, str):
        return {"@type": STRING, "value": configuration}
    if as_text:
        return {"@type": STRING, "value": json.dumps(configuration)}
    return {"@type": STRUCT, "value": configuration}


def discovered(guard_filter: dict) -> dict:
    """The configuration of a filter in a watched file."""
    file = guard_filter["config_discovery"]["config_source"]["path_config_source"]["path"]
    (resource,) = yaml.safe_load((ROOT / file).read_text())["resources"]
    return resource["typed_config"]


def write_discovered(file: Path, filter_config: dict) -> None:
    """Puts a filter's configuration where Envoy watches for it, in one move."""
    resource = {
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": "webhook_guard",
        "typed_config": filter_config,
    }
    write_resource(file, resource)


def write_resource(file: Path, resource: dict) -> None:
    scratch = file.with_suffix(".new")
    scratch.write_text(json.dumps({"resources": [resource]}))
    scratch.rename(file)


# The Envoys that this process has started and not stopped, while something refers to them.
STARTED: weakref.WeakSet = weakref.WeakSet()


class Envoy:
    """One Envoy process on free loopback ports, ended by `stop` or at the end of its `with`."""

    # Additional arguments of the command line.
    arguments: tuple = ()
    # The threads that serve requests.
    workers = 2
    log_levels: tuple = ("-l", "warning", "--component-log-level", "wasm:info")
    # How long Envoy lets connections of an old listener go on.
    drain_seconds = 1
    # Separates this Envoy from others of the machine, or makes it the successor of one.
    identity: tuple = ("--use-dynamic-base-id",)

    def __init__(
        self,
        upstream_port,
        configuration=None,
        *,
        text=None,
        env=None,
        as_text=False,
        patch=None,
        clock=None,
        sampled=False,
        workers=None,
    ):
        self._scratch = tempfile.TemporaryDirectory(prefix="webhook-guard-")
        self.folder = Path(self._scratch.name)
        self.document = Document(text)
        self.document.localise(upstream_port)
        if not sampled:
            self.document.log_everything()
        self.env = {"WEBHOOK_SECRET": SECRET, **(env or {})}
        self.clock = clock
        self.workers = workers or self.workers
        if configuration is not None:
            self.document.configure(configuration, as_text)
            self.document.environment(["ENVIRONMENT", *self.env])
        if patch:
            patch(self.document)
        self.process = None
        self.port = 0
        self.admin = 0
        # Where Prometheus scrapes it, if that is not the admin interface.
        self.scraped = 0
        self._guard_config = copy.deepcopy(self.document.guard_config)

    def __enter__(self) -> "Envoy":
        return self.start()

    def __exit__(self, *_) -> None:
        self.stop()

    def start(self) -> "Envoy":
        """Starts it and waits until it takes requests."""
        self.spawn()
        try:
            until(self._is_ready, what="Envoy to become ready")
            self.port = self._listener_port()
        except BaseException:
            self.stop()
            raise
        return self

    def spawn(self) -> None:
        """Starts it without waiting for anything."""
        config = self.folder / "envoy.json"
        config.write_text(json.dumps(self.document.data))
        command = self.command(config)
        environment = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR") if key in os.environ}
        environment |= self.clock.environment if self.clock else {}
        with open(self.folder / "access", "wb") as access, open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                command, env={**environment, **self.env}, stdin=subprocess.DEVNULL, stdout=access, stderr=log
            )
        STARTED.add(self)

    def command(self, config: Path) -> list:
        """The command line."""
        command = [binary(), "-c", str(config), "--concurrency", str(self.workers), *self.identity]
        command += ["--admin-address-path", str(self.folder / "admin")]
        command += ["--file-flush-interval-msec", "50", "--drain-time-s", str(self.drain_seconds)]
        return [*command, *self.log_levels, *self.arguments]

    def start_refused(self) -> int:
        """Starts it in the expectation that it refuses to; returns its exit code."""
        self.spawn()
        try:
            return self.process.wait(60)
        finally:
            self.stop()

    def stop(self) -> None:
        """Ends the process, if there is one."""
        if self.process is not None:
            end(self.process, 5)
            STARTED.discard(self)

    def status(self) -> str:
        """How the started process is, in words."""
        code = self.process.poll()
        return "running" if code is None else f"ended by itself with {code}"

    # Envoy's admin interface, log and access log.

    def get(self, path: str, method: str = "GET") -> str:
        """An answer of the admin interface."""
        asked = urllib.request.Request(f"http://127.0.0.1:{self.admin}{path}", method=method)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.read().decode()

    def stats(self, filter_text: str = "") -> dict:
        """Counters and gauges by name; `filter_text` is a regular expression."""
        path = "/stats?format=json" + (f"&filter={filter_text}" if filter_text else "")
        found = json.loads(self.get(path))["stats"]
        return {each["name"]: each["value"] for each in found if "name" in each}

    def prometheus(self) -> str:
        """The metrics as Prometheus reads them."""
        return self.get("/stats/prometheus")

    def count(self, endpoint: str, verdict: str, reason: str) -> int:
        """The guard's counter with these labels; 0 where it does not exist yet."""
        name = "wasmcustom.webhook_guard_requests_total"
        name += f".endpoint={endpoint}.verdict={verdict}.reason={reason}"
        return self.stats("wasmcustom").get(name, 0)

    def replay(self, metric: str, endpoint: str) -> int:
        """The guard's metric of its memory, `evictions_total` or `memory_bytes`."""
        name = f"wasmcustom.webhook_guard_replay_{metric}.endpoint={endpoint}"
        return self.stats("wasmcustom")[name]

    def resident(self) -> int:
        """How many bytes of memory the process has."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    def secret_uses(self, endpoint: str, version: str) -> int:
        """The guard's counter of this secret; 0 where it does not exist yet."""
        name = f"wasmcustom.webhook_guard_secret_uses_total.endpoint={endpoint}.version={version}"
        return self.stats("wasmcustom").get(name, 0)

    def log(self, since: int = 0) -> str:
        """Envoy's log from this byte on."""
        return tail(self.folder / "log", since)

    def guard_lines(self, since: int = 0) -> list:
        """The objects that the guard has logged, each with its level."""
        found = []
        for line in self.log(since).splitlines():
            before, _, text = line.partition("wasm log webhook_guard webhook_guard webhook_guard: ")
            if text.startswith("{"):
                found.append({**json.loads(text), "level": before.split("][")[2]})
        return found

    def log_size(self) -> int:
        """Where the log ends at present: for `since`."""
        return (self.folder / "log").stat().st_size

    def access_lines(self, since: str = "") -> list:
        """The access log's objects, of requests that began at this time or later."""
        whole, _, _ = tail(self.folder / "access", 0).rpartition("\n")
        found = [json.loads(line) for line in whole.split("\n") if line]
        return [each for each in found if each["time"] >= since]

    def secrets(self) -> set:
        """Every secret that this Envoy was given."""
        variables = {value for name, value in self.env.items() if name != "ENVIRONMENT"}
        return variables | set(inline_secrets(self.document.guard["configuration"]))

    # A changed configuration, where the test has put the guard's filter into a watched file.

    def discover(self, file: Path, configuration, as_text: bool = False, **vm_config) -> None:
        """Gives a guard that is discovered from `file` another configuration, and other fields of its VM."""
        updated = copy.deepcopy(self._guard_config)
        updated["config"]["configuration"] = encoded(configuration, as_text)
        updated["config"]["vm_config"].update(vm_config)
        write_discovered(file, updated)

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"Envoy ended with {self.process.returncode}:\n{self.log()[-4000:]}")
        address = self.folder / "admin"
        if not address.exists() or ":" not in address.read_text():
            return False
        self.admin = int(address.read_text().rsplit(":", 1)[1])
        try:
            return self.get("/ready").strip() == "LIVE"
        except OSError:
            return False

    def ports(self) -> dict:
        """The ports of its listeners, by name."""
        statuses = json.loads(self.get("/listeners?format=json")).get("listener_statuses", [])
        return {each["name"]: each["local_address"]["socket_address"]["port_value"] for each in statuses}

    def _listener_port(self) -> int:
        return next(iter(until(self.ports, what="a listener").values()))


def tail(file: Path, since: int) -> str:
    with open(file, "rb") as opened:
        opened.seek(since)
        return opened.read().decode(errors="replace")


def inline_secrets(value):
    """The inline secrets in a configuration of whatever form."""
    if isinstance(value, dict):
        if value.get("@type") == STRING:
            value = json.loads(value["value"])
        if "version" in value and "value" in value:
            yield value["value"]
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from inline_secrets(each)
