"""The commands of release/README.md, with the files of a release alone."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess

import pytest

from harness.client import post
from harness.envoy import ROOT, binary
from harness.func_e import environment
from harness.plain_registry import PlainRegistry
from harness.polling import until
from harness.ports import free_ports
from harness.process import end
from harness.release import push
from harness.sign import default
from harness.tools import tool
from harness.upstream import Upstream

PAGE = (ROOT / "release" / "README.md").read_text()
BODY = b'{"order": 42}'
SIGNATURES = (".sigstore.json", ".sig", ".pem", ".tsr")
UPSTREAM = "python3 envoy/upstream.py &"
FUNC_E = re.compile(r"^WEBHOOK_SECRET=(\S+) func-e run -c envoy/envoy\.yaml$", re.MULTILINE)


def section(heading: str, page: str = PAGE) -> str:
    """The text below a heading, up to the next one."""
    (text,) = re.findall(rf"^{re.escape(heading)}\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    return text


def blocks(text: str) -> list:
    """The commands of a text, block by block."""
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run(folder, *commands: str, **variables: str) -> str:
    """Runs commands in one shell, after assignments of variables."""
    given = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    path = f"{tool('crane').parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join([*given, *commands])], cwd=folder, env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def files(dist, tmp_path):
    """A folder with the files of a release, as a user downloads them."""
    return shutil.copytree(dist, tmp_path / "downloads")


def test_the_table_lists_each_file(dist):
    listed = set(re.findall(r"`([^`]+)`", "".join(re.findall(r"^\|([^|]*)\|", section("## Files"), re.MULTILINE))))
    assert {name for name in listed if not name.endswith(SIGNATURES)} == {file.name for file in dist.iterdir()}


def test_the_sums_fit_until_a_byte_changes(files):
    (command,) = {line for block in blocks(PAGE) for line in block.splitlines() if "sha256sum --check" in line}
    command = command.strip(" &")
    assert run(files, command).count(": OK\n") == len(list(files.iterdir())) - 1
    content = bytearray((files / "webhook_guard.wasm").read_bytes())
    content[len(content) // 2] ^= 1
    (files / "webhook_guard.wasm").write_bytes(content)
    with pytest.raises(AssertionError, match="webhook_guard.wasm: FAILED"):
        run(files, command)


def test_the_notes_have_the_digest_of_the_image(files):
    digest = (files / "image-digest.txt").read_text().strip()
    assert f"@{digest}`" in (files / "RELEASE-NOTES.md").read_text()


def test_envoy_rejects_and_accepts_as_the_page_says(files):
    (block,) = blocks(section("### Envoy and func-e"))
    secret = FUNC_E.search(block)[1]
    assert UPSTREAM in block
    run(files, FUNC_E.sub("", block).replace(UPSTREAM, "python3 envoy/upstream.py --help"))
    with Upstream() as upstream:
        port, admin = free_ports(2)
        ports = {"10000": port, "9901": admin, "8080": upstream.port}
        file = files / "envoy" / "envoy.yaml"
        file.write_text(re.sub(r"(port_value: )(\d+)", lambda each: f"{each[1]}{ports[each[2]]}", file.read_text()))
        command = FUNC_E.search(block)[0] + " --use-dynamic-base-id"
        path = f"{tool('func-e').parent}{os.pathsep}{os.environ['PATH']}"
        env = {**environment(files, ENVOY_PATH=binary()), "PATH": path}
        with open(files / "output", "wb") as output:
            process = subprocess.Popen(["sh", "-c", f"exec env {command}"], cwd=files, env=env, stdout=output, stderr=output)
        try:
            until(lambda: process.poll() is not None or status(port, []), what="Envoy to answer")
            assert status(port, []) == 401, (files / "output").read_text()
            assert upstream.requests == []
            assert status(port, default(secret, BODY)) == 200
            (after_an_upgrade,) = re.findall(r"^ *(curl .*)$", section("## Upgrade"), re.MULTILINE)
            assert "webhook_guard_build_info" in run(files, after_an_upgrade.replace(":9901/", f":{admin}/"))
        finally:
            end(process, 60)


def status(port: int, headers: list) -> int | None:
    with contextlib.suppress(OSError):
        return post(port, "/webhook", headers, BODY).status


def test_the_image_in_a_registry_has_the_module(files, tmp_path):
    pull = blocks(section("### The image by its digest"))[0]
    with PlainRegistry("127.0.0.1", *free_ports(1), tmp_path) as registry:
        name = f"{registry.host}/webhook-guard"
        push.push(files / "webhook-guard-image.tar", name, "0.1.0", str(tool("crane")))
        digest = (files / "image-digest.txt").read_text().strip()
        run(files, pull, IMAGE=name, DIGEST=digest)


def test_the_command_line_checks_the_shipped_file(files):
    run(files, *blocks(section("### Envoy and func-e"))[0].splitlines()[:1])
    (block,) = blocks(section("### The command line"))
    shown = run(files, block)
    assert "0 errors" in shown
    version = json.loads(run(files, section("## Upgrade").split("`")[-2].replace("FILE", "webhook_guard.wasm")))["version"]
    assert f"version: {version}\n" in shown


@pytest.mark.parametrize("heading, page, install", [
    ("### Istio", "envoy/istio/README.md", "## Install on a gateway"),
    ("### Envoy Gateway", "envoy/envoy-gateway/README.md", "## Install"),
])
def test_commands_for_kubernetes_are_those_that_other_tests_run(heading, page, install):
    """The pages of the manifests have the same commands, for a clone. Its module has a longer path."""
    of_a_clone = re.sub(r"^ +(```|\S)", r"\1", section(install, (ROOT / page).read_text()), flags=re.MULTILINE)
    known = {line.strip() for block in blocks(of_a_clone) for line in block.splitlines()}
    known = {line.replace("target/wasm32-wasip1/release/", "") for line in known}
    ours = [line.strip() for block in blocks(section(heading)) for line in block.splitlines()]
    assert len(ours) > 3
    assert [line for line in ours if line not in known] == []


@pytest.mark.parametrize("folder, command", [
    (".", "patch -F0 envoy/istio/gateway-example.yaml envoy/istio/image-volume.patch"),
    ("envoy/envoy-gateway", "patch -p0 -F0 < image-volume.patch"),
])
def test_a_patch_names_the_image_of_the_release_by_its_digest(files, folder, command):
    run(files, "tar -xzf webhook-guard-manifests.tar.gz", f"cd {folder}", command)
    assert command in PAGE
    patched = "".join(path.read_text() for path in (files / "envoy").rglob("*.yaml"))
    assert f"@{(files / 'image-digest.txt').read_text().strip()}" in patched
