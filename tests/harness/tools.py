"""Installs the programs of the platforms in which the guard is tested: Istio, Envoy Gateway, Kubernetes, and others.

    PYTHONPATH=tests python3 -B -m harness.tools                    every program
    PYTHONPATH=tests python3 -B -m harness.tools istioctl redis-cli these, and the other programs of their packages

Programs in Go are built from the source of their module, and the others are from Debian's packages. Nothing needs
root. A package is in `.tools/NAME-VERSION`.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent.parent / ".tools"
# The oldest Go that builds every module here.
OLDEST_GO = (1, 26, 7)


class Failure(Exception):
    """A program is not available. The text says why and what to do."""


@dataclass(frozen=True)
class GoModule:
    """Programs of a module, each by the folder of its source.

    `files` are copied from modules: the name of the copy, then module, version and pattern of the paths.
    """

    name: str
    module: str
    version: str
    programs: dict
    minutes: float
    files: dict = field(default_factory=dict)

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.version.lstrip('v')}"

    @property
    def cost(self) -> str:
        return f"building, {self.minutes:g} minutes with two cores"

    def install(self, folder: Path, scratch: Scratch) -> None:
        sources = {name: f"{self.module}/{path}".rstrip("/") for name, path in self.programs.items()}
        if sources:
            scratch.go("install", *BUILD, *(f"{each}@{self.version}" for each in sources.values()), GOBIN=str(folder))
        for name, source in sources.items():
            (folder / source.rpartition("/")[2]).rename(folder / name)
        for copy, (module, version, pattern) in self.files.items():
            source = scratch.source(module, version)
            texts = [path.read_text() for path in sorted(source.glob(pattern))]
            (folder / copy).write_text("\n---\n".join(texts))


class Kubernetes(GoModule):
    """Kubernetes replaces modules by folders of its own source, which `go install` refuses; they are published, too."""

    def install(self, folder: Path, scratch: Scratch) -> None:
        rules = (scratch.source(self.module, self.version) / "go.mod").read_text()
        staged = re.findall(r"(k8s\.io/\S+) => \./staging/", rules)
        published = self.version.replace("v1.", "v0.")
        work = scratch.folder / "kubernetes"
        work.mkdir()
        # With the dependencies of Envoy Gateway, the two programs share two thirds of their compiled packages.
        (work / "go.mod").write_text("\n".join([
            "module kubernetes",
            f"go {dotted(OLDEST_GO)}",
            f"require {self.module} {self.version}",
            f"require {' '.join(ENVOY_GATEWAY)}",
            *(f"replace {each} => {each} {published}" for each in staged),
        ]))
        sources = [f"{self.module}/{path}" for path in self.programs.values()]
        scratch.go("build", "-mod=mod", *BUILD, "-o", f"{folder}/", *sources, cwd=work)


@dataclass(frozen=True)
class Debian:
    """Programs of Debian's packages, each by its path there. Their libraries are installed with them.

    `folders` are variables of the environment, each with the folder that it names.
    """

    name: str
    packages: tuple
    programs: dict
    folders: dict = field(default_factory=dict)
    cost = "some seconds"

    @property
    def folder(self) -> str:
        return self.name

    def install(self, folder: Path, scratch: Scratch) -> None:
        archives = scratch.download([*self.packages, *scratch.libraries(self.packages)])
        for archive in archives:
            scratch.run("dpkg", "-x", str(archive), str(folder / "root"))
        libraries = sorted({path.parent.relative_to(folder) for path in (folder / "root").glob("**/*.so.*")})
        for program, path in self.programs.items():
            # Debian 13 has moved `bin` and `sbin` into `usr`.
            place = path if (folder / "root" / path).exists() else f"usr/{path}"
            variables = {
                "LD_LIBRARY_PATH": ":".join(f"$here/{each}" for each in libraries),
                **{variable: f"$here/root/{each}" for variable, each in self.folders.items()},
            }
            (folder / program).write_text(WRAPPER.format(
                exports="".join(f'export {variable}="{value}"\n' for variable, value in variables.items()),
                program=f"root/{place}",
            ))
            (folder / program).chmod(0o755)


# Relative to its own folder, so that the folder can be copied.
WRAPPER = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
{exports}exec "$here/{program}" "$@"
"""

# Without inlining, a build needs a quarter less CPU time. Without tables for debuggers, a program is a third smaller.
BUILD = ("-trimpath", "-gcflags=all=-l", "-ldflags=-s -w")

ISTIO = ("istio.io/istio", "v0.0.0-20260827124520-eed52ebb66ad")  # 1.31, from just before its release
ENVOY_GATEWAY = ("github.com/envoyproxy/gateway", "v1.9.1")

# The small ones are first, so that other commands do not wait for the large ones.
PACKAGES = (
    GoModule(
        "actionlint", "github.com/rhysd/actionlint", "v1.7.12", minutes=0.2,
        programs={"actionlint": "cmd/actionlint"},
    ),
    Debian("gh", ("gh",), {"gh": "usr/bin/gh"}),
    Debian("shellcheck", ("shellcheck",), {"shellcheck": "usr/bin/shellcheck"}),
    GoModule(
        "func-e", "github.com/tetratelabs/func-e", "v1.6.0", minutes=0.5,
        programs={"func-e": "cmd/func-e"},
    ),
    GoModule(
        "ratelimit", "github.com/envoyproxy/ratelimit", "v1.4.1-0.20260122083618-3fb702589d36", minutes=0.5,
        programs={"service_cmd": "src/service_cmd", "config_check_cmd": "src/config_check_cmd"},
    ),
    GoModule(
        "crane", "github.com/google/go-containerregistry", "v0.22.1", minutes=0.5,
        programs={"crane": "cmd/crane"},
    ),
    Debian("etcd", ("etcd-server",), {"etcd": "usr/bin/etcd"}),
    Debian("caddy", ("caddy",), {"caddy": "usr/bin/caddy"}),
    Debian("haproxy", ("haproxy",), {"haproxy": "usr/sbin/haproxy"}),
    Debian("nginx", ("nginx",), {"nginx": "usr/sbin/nginx"}),
    Debian("nghttp2-client", ("nghttp2-client",), {"h2load": "usr/bin/h2load"}),
    Debian("prometheus", ("prometheus",), {"prometheus": "usr/bin/prometheus", "promtool": "usr/bin/promtool"}),
    Debian(
        "valgrind", ("valgrind",), {"valgrind": "usr/bin/valgrind"}, folders={"VALGRIND_LIB": "usr/libexec/valgrind"},
    ),
    Debian("skopeo", ("skopeo",), {"skopeo": "usr/bin/skopeo"}),
    Debian("iproute2", ("iproute2",), {"ip": "bin/ip"}),
    Debian("iptables", ("iptables",), {
        f"{each}-nft{action}": f"usr/sbin/{each}-nft{action}"
        for each in ("iptables", "ip6tables") for action in ("", "-save", "-restore")
    }),
    Debian(
        "redis", ("redis-server", "redis-tools"),
        {"redis-server": "usr/bin/redis-server", "redis-cli": "usr/bin/redis-cli"},
    ),
    GoModule(
        "istio", *ISTIO, minutes=3,
        programs={
            "pilot-discovery": "pilot/cmd/pilot-discovery",
            "pilot-agent": "pilot/cmd/pilot-agent",
            "istioctl": "istioctl/cmd/istioctl",
        },
        files={
            "istio-crds.yaml": (*ISTIO, "manifests/charts/base/files/crd-all.gen.yaml"),
            "gateway-api-crds.yaml": ("sigs.k8s.io/gateway-api", "v1.6.0", "config/crd/standard/gateway*.yaml"),
            "envoy_bootstrap.json": (*ISTIO, "tools/packaging/common/envoy_bootstrap.json"),
        },
    ),
    Kubernetes(
        "kubernetes", "k8s.io/kubernetes", "v1.36.3", minutes=2.5,
        programs={"kube-apiserver": "cmd/kube-apiserver"},
    ),
    GoModule(
        "envoy-gateway", *ENVOY_GATEWAY, minutes=3,
        programs={"envoy-gateway": "cmd/envoy-gateway"},
        files={
            "envoy-gateway-crds.yaml": (*ENVOY_GATEWAY, "charts/gateway-helm/charts/crds/crds/generated/*.yaml"),
            "gateway-api-crds.yaml": (*ENVOY_GATEWAY, "charts/gateway-helm/charts/crds/crds/gatewayapi-crds.yaml"),
        },
    ),
    GoModule(
        "cosign", "github.com/sigstore/cosign/v3", "v3.1.3", minutes=2,
        programs={"cosign": "cmd/cosign"},
    ),
    GoModule(
        "fulcio", "github.com/sigstore/fulcio", "v1.8.8", minutes=0.5,
        programs={"fulcio": ""},
        files={"identity.yaml": ("github.com/sigstore/fulcio", "v1.8.8", "config/identity/config.yaml")},
    ),
    # The last versions of these two that Go 1.26 builds.
    GoModule(
        "rekor", "github.com/sigstore/rekor-tiles/v2", "v2.3.0", minutes=0.5,
        programs={"rekor-server": "cmd/rekor-server/posix"},
    ),
    GoModule(
        "timestamp-authority", "github.com/sigstore/timestamp-authority/v2", "v2.1.3", minutes=0.5,
        programs={"timestamp-server": "cmd/timestamp-server"},
    ),
    GoModule(
        "tesseract", "github.com/transparency-dev/tesseract", "v0.1.1", minutes=0.5,
        programs={"tesseract": "cmd/tesseract/posix"},
    ),
    GoModule(
        "envoy-gateway-bootstrap", *ENVOY_GATEWAY, minutes=0.5, programs={},
        files={"bootstrap.yaml.tpl": (*ENVOY_GATEWAY, "internal/xds/bootstrap/bootstrap.yaml.tpl")},
    ),
)


def tool(name: str) -> Path:
    """The path of a program, which is installed first if necessary."""
    return installed([name])[name]


def crds(package: str, name: str) -> Path:
    """A file with custom resource definitions, as `crds("istio", "istio-crds.yaml")`."""
    return file(package, name)


def file(package: str, name: str) -> Path:
    """Another file of a package."""
    (found,) = [each for each in PACKAGES if each.name == package]
    install_missing([found])
    path = TOOLS / found.folder / name
    if not path.exists():
        raise Failure(f"{path} is missing because an earlier commit installed the folder: remove the folder")
    return path


def installed(names: list) -> dict:
    """The paths of these programs. Missing packages are installed together, so that they share what they download."""
    packages = {name: package for package in PACKAGES for name in package.programs}
    unknown = sorted(set(names) - set(packages))
    if unknown:
        raise Failure(f"{', '.join(unknown)} is not a known program: use {', '.join(packages)}")
    wanted = [package for package in PACKAGES if set(package.programs) & set(names)]
    install_missing(wanted)
    return {name: TOOLS / packages[name].folder / name for name in names}


def install_missing(wanted: list) -> None:
    if not all(present(package) for package in wanted):
        with turn(wanted), Scratch.open() as scratch:
            for package in wanted:
                if not present(package):
                    install(package, scratch)


def present(package) -> bool:
    return (TOOLS / package.folder).is_dir()


def install(package, scratch: Scratch) -> None:
    """Installs next to its place and moves the folder at the end, so that an interrupted installation is not used."""
    say(f"installing {', '.join(package.programs) or package.name} into .tools/{package.folder} ({package.cost})")
    start = time.monotonic()
    new = scratch.folder / package.folder
    new.mkdir()
    package.install(new, scratch)
    new.rename(TOOLS / package.folder)
    say(f"installed .tools/{package.folder} in {time.monotonic() - start:.0f} s")


@contextlib.contextmanager
def turn(wanted: list):
    """Waits until another installation has ended, or has installed these packages."""
    TOOLS.mkdir(exist_ok=True)
    with open(TOOLS / ".tools.lock", "w") as lock:
        waiting = False
        while not all(present(package) for package in wanted):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if not waiting:
                    say("waiting for another installation of tools")
                waiting = True
                time.sleep(1)
        yield


class Scratch:
    """A folder for downloads and intermediate files, up to 5 GB, which is removed at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._go: dict | None = None
        self._apt: list | None = None

    @classmethod
    @contextlib.contextmanager
    def open(cls):
        # Not in /tmp, which is in memory on many machines.
        with tempfile.TemporaryDirectory(dir=TOOLS, prefix=".scratch-") as folder:
            yield cls(Path(folder))

    def run(self, *command: str, env: dict | None = None, cwd: Path | None = None) -> str:
        """The standard output of a command. A failure shows the end of its errors."""
        environment = {**os.environ, **(env or {})}
        process = subprocess.Popen(
            command, env=environment, cwd=cwd or self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            # In the caller's session, because Linux schedules each session on its own, whatever their priorities are.
            text=True, preexec_fn=os.setpgrp,
        )
        try:
            output, errors = process.communicate()
        except BaseException:
            # With the compilers that `go` started, which would otherwise write to this folder during its removal.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if process.returncode != 0:
            lines = [line for line in errors.splitlines() if not line.startswith("go: downloading")]
            shown = "\n".join(lines[-20:] or output.splitlines()[-20:])
            raise Failure(f"`{' '.join(command)}` failed with status {process.returncode}:\n{shown}")
        return output

    def go(self, *arguments: str, cwd: Path | None = None, **env: str) -> str:
        if self._go is None:
            self._go = self._go_environment()
        return self.run("go", *arguments, env={**self._go, **env}, cwd=cwd)

    def source(self, module: str, version: str) -> Path:
        """The folder with a module's source."""
        return Path(json.loads(self.go("mod", "download", "-json", f"{module}@{version}"))["Dir"])

    def _go_environment(self) -> dict:
        """Go's settings. Its caches are in this folder, and it needs no C compiler."""
        needed = dotted(OLDEST_GO)
        if not shutil.which("go"):
            raise Failure(f"`go` is not in PATH: install Go {needed} or later, as https://go.dev/doc/install says")
        found = {
            "GOPATH": str(self.folder / "go"),
            "GOMODCACHE": str(self.folder / "go" / "pkg" / "mod"),
            "GOCACHE": str(self.folder / "go-build"),
            "GOTMPDIR": str(self.folder),
            "GOFLAGS": "-modcacherw -buildvcs=false",
            "GOWORK": "off",
            "CGO_ENABLED": "0",
        }
        # Since 1.21, Go gets the version that a go.mod asks for, unless GOTOOLCHAIN forbids it.
        (self.folder / "go.mod").write_text(f"module tools\n\ngo {needed}\n")
        try:
            version = self.run("go", "env", "GOVERSION", env=found).strip()
        except Failure as failure:
            raise Failure(f"{failure}\ninstall Go {needed} or later, as https://go.dev/doc/install says") from None
        if tuple(map(int, re.findall(r"\d+", version)[:3])) < OLDEST_GO:
            raise Failure(f"`go` in PATH is {version}: install Go {needed} or later, as https://go.dev/doc/install says")
        return found

    def apt(self) -> list:
        """Options that make apt use folders here. It verifies packages by Debian's signatures, and installs nothing."""
        if self._apt is None:
            missing = [each for each in ("apt-get", "apt-cache", "dpkg") if not shutil.which(each)]
            if missing:
                raise Failure(f"{missing[0]} is not in PATH: run this on Debian or Ubuntu")
            lists, cache = self.folder / "lists", self.folder / "cache"
            (lists / "partial").mkdir(parents=True)
            (cache / "archives" / "partial").mkdir(parents=True)
            self._apt = ["-o", "APT::Sandbox::User=", "-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={cache}"]
            self.run("apt-get", "-qq", *self._apt, "update")
        return self._apt

    def download(self, packages: list) -> list:
        """The archives of these packages."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        self.run("apt-get", "-qq", *self.apt(), "download", *packages, cwd=folder)
        return sorted(folder.glob("*.deb"))

    def libraries(self, packages) -> list:
        """The libraries that these packages need, without libc, which has to be the system's, and its symbols."""
        found: set = set()
        new = set(packages)
        while new:
            text = self.run("apt-cache", *self.apt(), "depends", "--no-recommends", "--no-suggests", *sorted(new))
            needed = set(re.findall(r"^ [ |]Depends: ((?:lib(?!js-)|zlib)\S+)$", text, re.MULTILINE))
            new = needed - found - {"libc6", "libc6-dbg"}
            found |= new
        return sorted(found)


def dotted(version: tuple) -> str:
    return ".".join(map(str, version))


def say(text: str) -> None:
    print(f"tools: {text}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Installs programs of the platforms, and prints their paths.")
    parser.add_argument("name", nargs="*", help="a program (default: all)")
    names = parser.parse_args().name or [name for package in PACKAGES for name in package.programs]
    # An exception, so that the folder with downloads is removed.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(f"tools: stopped by {signal.Signals(number).name}"))
    try:
        print(*installed(names).values(), sep="\n")
    except Failure as failure:
        sys.exit(f"tools: {failure}")


if __name__ == "__main__":
    main()
