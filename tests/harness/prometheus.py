"""A real Prometheus with envoy/monitoring. Minutes are seconds, so that no test waits for an hour."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import yaml

from harness import tools
from harness.envoy import ROOT
from harness.polling import until
from harness.ports import free_ports
from harness.process import end

FOLDER = ROOT / "envoy" / "monitoring"
ALERTS = yaml.safe_load((FOLDER / "alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
# A duration in an expression, but not in a quoted string.
DURATION = re.compile(r'"[^"]*"|\b(\d+)([smhd])\b')
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# The tests divide all durations by this.
SCALE = 60


def tool(name: str) -> str:
    """The path of `prometheus` or `promtool`, in the folder that PROMETHEUS names or in `.tools`."""
    folder = os.environ.get("PROMETHEUS")
    return str(Path(folder) / name if folder else tools.tool(name))


def scaled(text: str) -> str:
    """An expression or a duration with all durations divided by `SCALE`; none is shorter than a second."""

    def shorter(found: re.Match) -> str:
        if found[1] is None:
            return found[0]
        seconds = int(found[1]) * SECONDS[found[2]]
        return f"{max(1, seconds // SCALE)}s"

    return DURATION.sub(shorter, text)


def scaled_alerts() -> dict:
    """alerts.yaml with its durations shortened, and nothing else changed."""

    def shorter(rule: dict) -> dict:
        return {key: scaled(value) if key in ("expr", "for") else value for key, value in rule.items()}

    return {"groups": [{**group, "rules": [*map(shorter, group["rules"])]} for group in ALERTS["groups"]]}


def discovered(pod: dict) -> dict:
    """The target that Prometheus makes of a pod, with the labels of its documentation."""
    metadata = pod["metadata"]
    labels = {"pod_name": metadata["name"], "namespace": metadata["namespace"], "pod_ip": pod["status"]["podIP"]}
    for kind in ("annotation", "label"):
        for name, value in (metadata.get(f"{kind}s") or {}).items():
            sanitized = re.sub(r"\W", "_", name)
            labels |= {f"pod_{kind}_{sanitized}": value, f"pod_{kind}present_{sanitized}": "true"}
    return {
        "targets": [pod["status"]["podIP"]],
        "labels": {f"__meta_kubernetes_{name}": value for name, value in labels.items()},
    }


class Prometheus:
    """Scrapes the Envoys that `watch` names, once a second. `config` is its file.

    `labels` are those that the file's relabeling would take from Kubernetes. For `pods`, which replace the targets, the
    relabeling runs. Debian's Prometheus cannot list pods, so it gets what its discovery would know of them.
    """

    def __init__(self, config: str = "prometheus.yaml", labels: dict | None = None, pods: list | None = None) -> None:
        self._config = config
        self._labels = labels or {}
        self._pods = pods
        self._scratch = tempfile.TemporaryDirectory(prefix="webhook-guard-")
        self.folder = Path(self._scratch.name)
        self.process = None
        self._targets: list = []

    def __enter__(self) -> "Prometheus":
        config = yaml.safe_load((FOLDER / self._config).read_text())
        config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        (scrape,) = config["scrape_configs"]
        for each in ("static_configs", "kubernetes_sd_configs", *([] if self._pods else ["relabel_configs"])):
            scrape.pop(each, None)
        scrape["file_sd_configs"] = [{"files": ["targets.json"]}]
        (self.folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        (self.folder / "alerts.yaml").write_text(yaml.safe_dump(scaled_alerts()))
        self._write_targets()
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        command = [tool("prometheus"), "--config.file=prometheus.yaml", "--storage.tsdb.path=data"]
        command += [f"--web.listen-address={self.address}", "--log.level=warn"]
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            until(self._is_ready, what="Prometheus to become ready")
        except BaseException:
            end(self.process, 10)
            raise
        return self

    def __exit__(self, *_) -> None:
        end(self.process, 10)

    def watch(self, *envoys) -> None:
        """Scrapes these Envoys, and no others."""
        self._targets = [f"127.0.0.1:{envoy.scraped or envoy.admin}" for envoy in envoys]
        self._write_targets()

    def _write_targets(self) -> None:
        scratch = self.folder / "targets.new"
        targets = [{"targets": self._targets, "labels": self._labels}]
        scratch.write_text(json.dumps([*map(discovered, self._pods)] if self._pods else targets))
        scratch.rename(self.folder / "targets.json")

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=30):
                return True
        except OSError:
            return False

    def query(self, expression: str, **more) -> list:
        """The result of an expression, over a range if `start`, `end` and `step` are given."""
        path = "query_range" if "start" in more else "query"
        form = urllib.parse.urlencode({"query": expression, **more})
        try:
            with urllib.request.urlopen(f"http://{self.address}/api/v1/{path}?{form}", timeout=60) as answer:
                return json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from error

    def firing(self) -> set:
        """The names of the alerts that fire now."""
        return {each["metric"]["alertname"] for each in self.query('ALERTS{alertstate="firing"}')}
