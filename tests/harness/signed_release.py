"""A release that is built from a module, pushed and signed, and what a user does with its files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from harness.envoy import ROOT
from harness.sigstore import REGISTRY
from harness.tools import tool

sys.path.append(str(ROOT / "release"))

import dist
import image
import sign

PAGE = ROOT / "release" / "README.md"
OWNER, NAME = "example", f"{REGISTRY}/webhook-guard"
REPOSITORY = f"{OWNER}/webhook-guard"
WORKFLOW = "release.yml"
PROGRAMS = ("cosign", "crane")
# Of bash, for a command in a pipe.
SHELL = ("bash", "-euo", "pipefail", "-c")


class Release:
    """A clone of the repository with the files of a release."""

    def __init__(self, folder: Path, sigstore, version: str = "0.1.0") -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.version = folder, version
        self.files = folder / "target" / "dist"
        self._sigstore = sigstore
        shutil.copytree(ROOT / "release", folder / "release", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "Cargo.toml").write_text(f'[package]\nversion = "{version}"\n')
        (folder / ".gitignore").write_text("/target\n")
        for command in ("init -q", "add .", "-c user.name=t -c user.email=t@example.com commit -q -m release"):
            subprocess.run(["git", *command.split()], cwd=folder, check=True)

    def build(self, module: bytes) -> None:
        """Writes the files that are signed, and those that the script needs."""
        shutil.rmtree(self.files, ignore_errors=True)
        self.files.mkdir(parents=True)
        (self.files / "webhook_guard.wasm").write_bytes(module)
        digest = image.write(module, self.files / "webhook-guard-image.tar")
        (self.files / "image-digest.txt").write_text(f"{digest}\n")
        self.write_sbom(hashlib.sha256(module).hexdigest())

    def write_sbom(self, digest: str) -> None:
        """Writes an SBOM for a module with this digest, and then SHA256SUMS."""
        (self.files / "webhook_guard.cdx.json").write_text(json.dumps({
            "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
            "metadata": {"component": {
                "type": "application", "name": "webhook_guard", "version": self.version,
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }},
        }))
        self.write_sums()

    def write_sums(self) -> None:
        dist.write_sums(self.files)

    def push(self) -> str:
        """Pushes the image with the version as its tag, and returns its digest."""
        layout = self.folder / "target" / "image"
        digest = image_of((self.files / "webhook_guard.wasm").read_bytes(), layout)
        succeeds(self.run(f"crane push {layout} {NAME}:{self.version}"))
        return digest

    def sign(self, **how: str) -> subprocess.CompletedProcess:
        """`make sign`, as a job of the workflow runs it. `how` changes variables of the job."""
        return self._script("sign.py", {**self.github_environment({**self.job(), **how}), **how})

    def sign_with_key(self, key: Path) -> subprocess.CompletedProcess:
        return self._script("sign.py", {"COSIGN_KEY": str(key), "COSIGN_PASSWORD": ""})

    def verify(self, **how: str) -> subprocess.CompletedProcess:
        """`make verify`."""
        return self._script("verify.py", {"REPOSITORY": REPOSITORY, **how})

    def github_environment(self, job: dict) -> dict:
        """The variables with which cosign gets the identity of a job."""
        return self._sigstore.github.environment(job)

    def job(self) -> dict:
        """The variables that GitHub sets for a job of the workflow at the tag."""
        tag = f"refs/tags/v{self.version}"
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout.strip()
        return {
            "GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_REPOSITORY_ID": "100", "GITHUB_REPOSITORY_OWNER_ID": "10", "GITHUB_REF": tag, "GITHUB_SHA": commit,
            "GITHUB_WORKFLOW": "release", "GITHUB_WORKFLOW_SHA": commit,
            "GITHUB_WORKFLOW_REF": f"{REPOSITORY}/.github/workflows/{WORKFLOW}@{tag}",
            "GITHUB_EVENT_NAME": "push", "GITHUB_RUN_ID": "1000", "GITHUB_RUN_ATTEMPT": "1",
            "RUNNER_ENVIRONMENT": "github-hosted",
        }

    @staticmethod
    def write_for_openssl(folder: Path) -> None:
        sign.write_for_openssl(folder)

    def run(self, script: str, folder: Path | None = None, **variables: str) -> subprocess.CompletedProcess:
        """Runs commands with the programs of a user."""
        return subprocess.run(
            [*SHELL, script], cwd=folder or self.folder, env=self._environment(variables), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
        )

    def _script(self, name: str, variables: dict) -> subprocess.CompletedProcess:
        variables = {"IMAGE": NAME, "COSIGN": str(tool("cosign")), **variables}
        return self.run(f"exec {sys.executable} -B release/{name}", **variables)

    def _environment(self, variables: dict) -> dict:
        path = ":".join(str(tool(each).parent) for each in PROGRAMS)
        inherited = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
        return {"PATH": f"{path}:{os.environ['PATH']}", **inherited, **self._sigstore.environment(), **variables}


def image_of(module: bytes, layout: Path) -> str:
    """Writes the image of a module as an OCI image layout, and returns its digest."""
    layout.mkdir(parents=True, exist_ok=True)
    archive = layout.with_suffix(".tar")
    digest = image.write(module, archive)
    subprocess.run(["tar", "-xf", archive, "-C", layout], check=True)
    return digest


class Page:
    """The commands of the page about releases, by the heading above them."""

    def __init__(self) -> None:
        text = PAGE.read_text()
        self._variables = self._blocks(text, "## Verify")[0]
        self.cosign, self.attestations = self._blocks(text, "### With cosign")
        self.authorities, self.openssl = self._blocks(text, "### With openssl alone")
        (self.image,) = self._blocks(text, "### The image")
        self.mirror = self._blocks(text, "### The image by its digest")[1]

    @staticmethod
    def _blocks(text: str, heading: str) -> list:
        section = re.split(r"^##+ ", text.split(f"\n{heading}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
        return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)

    def commands(self, *blocks: str, version: str = "0.1.0") -> str:
        """Blocks with the values of a release in place of the page's examples."""
        variables = self._variables.replace("OWNER/REPOSITORY", REPOSITORY)
        variables = re.sub("^TAG=.*", f"TAG=v{version}", variables, flags=re.MULTILINE)
        return "\n".join([variables, *blocks])


def succeeds(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 0, done.stdout
    return done.stdout


def fails(done: subprocess.CompletedProcess, reason: str) -> None:
    """The commands ended with an error, for this reason and not for another one."""
    assert done.returncode != 0, done.stdout
    assert reason in done.stdout, done.stdout
