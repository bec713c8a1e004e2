"""The bootstrap that pilot-agent writes for istio-proxy, for an Envoy in its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from harness.ports import free_ports
from harness.tools import file, tool

# The names of statistics that istiod gives to a gateway's cluster and listener: Istio's tags end at the semicolon.
CLUSTER, LISTENER = "outbound|80||app.example;", "outbound_0.0.0.0_8080;"
# In the place of Envoy: keeps the bootstrap and the arguments.
CAPTURE = """#!{python}
import json, sys
json.dump({{"arguments": sys.argv[1:], "bootstrap": json.load(open(sys.argv[2]))}}, open({found!r}, "w"))
"""


def capture(kind: str = "router", override: dict | None = None, metadata: dict | None = None) -> dict:
    """The bootstrap and the arguments with which pilot-agent starts Envoy.

    `override` is the ConfigMap that the annotation `sidecar.istio.io/bootstrapOverride` names.
    """
    with tempfile.TemporaryDirectory(prefix="webhook-guard-") as scratch:
        folder = Path(scratch)
        found = folder / "found.json"
        (folder / "envoy").write_text(CAPTURE.format(python=sys.executable, found=str(found)))
        (folder / "envoy").chmod(0o755)
        environment = {
            "PATH": os.environ["PATH"],
            "POD_NAME": "proxy-0",
            "POD_NAMESPACE": "webhooks",
            "INSTANCE_IP": "127.0.0.1",
            "FILE_MOUNTED_CERTS": "true",  # no certificate authority
            "PROXY_CONFIG": json.dumps({
                "binaryPath": str(folder / "envoy"),
                "configPath": str(folder / "proxy"),
                "discoveryAddress": "127.0.0.1:9",
                "controlPlaneAuthPolicy": "NONE",
                "statusPort": free_ports(1)[0],
            }),
            **(metadata or {}),
        }
        if override:
            (folder / "custom_bootstrap.json").write_text(override["data"]["custom_bootstrap.json"])
            environment["ISTIO_BOOTSTRAP_OVERRIDE"] = str(folder / "custom_bootstrap.json")
        template = file("istio", "envoy_bootstrap.json")
        command = [tool("pilot-agent"), "proxy", kind, f"--templateFile={template}"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
        assert found.exists(), done.stdout[-4000:] + done.stderr[-4000:]
        return json.loads(found.read_text())


def config_yaml(arguments: list) -> dict:
    """The additions of the arguments to the bootstrap."""
    place = arguments.index("--config-yaml") if "--config-yaml" in arguments else None
    return {} if place is None else yaml.safe_load(arguments[place + 1])
