"""The command of the README that starts func-e."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess

from harness.client import post
from harness.envoy import ROOT, SHIPPED, binary
from harness.func_e import environment
from harness.polling import until
from harness.ports import free_ports
from harness.process import end
from harness.sign import default
from harness.tools import tool

COMMAND = re.compile(r"^```sh\n(WEBHOOK_SECRET=(\S+) func-e run -c envoy/envoy\.yaml)\n```$", re.MULTILINE)
BODY = b'{"order": 42}'


def test_it_starts_the_shipped_file(tmp_path, upstream):
    """In the root of the repository. The ports differ, and Envoy is kept apart from others of the machine."""
    command, secret = COMMAND.search((ROOT / "README.md").read_text()).groups()
    port, admin = free_ports(2)
    ports = {"10000": port, "9901": admin, "8080": upstream.port}
    file = tmp_path / "envoy.yaml"
    file.write_text(re.sub(r"(port_value: )(\d+)", lambda each: f"{each[1]}{ports[each[2]]}", SHIPPED.read_text()))
    command = command.replace("envoy/envoy.yaml", f"{file} --use-dynamic-base-id")
    path = f"{tool('func-e').parent}{os.pathsep}{os.environ['PATH']}"
    env = {**environment(tmp_path, ENVOY_PATH=binary()), "PATH": path}
    with open(tmp_path / "output", "wb") as output:
        process = subprocess.Popen(["sh", "-c", f"exec env {command}"], cwd=ROOT, env=env, stdout=output, stderr=output)
    try:
        until(lambda: process.poll() is not None or status(port, []), what="Envoy to answer")
        assert status(port, []) == 401, (tmp_path / "output").read_text()
        assert status(port, default(secret, BODY)) == 200
    finally:
        end(process, 60)


def status(port: int, headers: list) -> int | None:
    with contextlib.suppress(OSError):
        return post(port, "/webhook", headers, BODY).status
