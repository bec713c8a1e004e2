"""Network namespaces in place of a node and its pods, with the iptables rules that Istio gives to each pod."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness import own_network
from harness.polling import until
from harness.process import end
from harness.tools import tool

# The addresses of the node, where the tests and the control plane are, and of the pod.
NODE, POD = "10.77.0.1", "10.77.0.2"
# The group of istio-proxy. The rules do not redirect what processes of this group send.
PROXY_GROUP = 1337
# The arguments of the container istio-init in istiod's injection template.
INIT = (
    "--envoy-port=15001", "--inbound-capture-port=15006", "--proxy-uid=1337", f"--proxy-gid={PROXY_GROUP}",
    "--istio-inbound-interception-mode=REDIRECT", "--istio-service-cidr=*", "--istio-service-exclude-cidr=",
    "--istio-inbound-ports=*", "--istio-local-exclude-ports=15090,15021,15020",
)


def own_node() -> None:
    """Prepares the namespaces that `make test-istio-root` has made, or ends the tests with the reason."""
    # Only root outside of a user namespace has every group.
    if os.geteuid() != 0 or "4294967295" not in Path("/proc/self/gid_map").read_text():
        pytest.exit("these tests set iptables rules and need root: run `sudo make test-istio-root`", returncode=2)
    if not own_network.own_namespace():
        pytest.exit("these tests need namespaces of their own: run `make test-istio-root`", returncode=2)
    own_network.enter()
    own_network.add_address(NODE)


def ip(*arguments: str) -> None:
    subprocess.run([tool("ip"), *arguments], check=True)


class Pod:
    """A network namespace with an address of its own. The end of its `with` ends its processes."""

    def __init__(self) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="webhook-guard-")
        self.folder = Path(self._scratch.name)
        self._processes: list = []
        self._network = None

    def __enter__(self) -> "Pod":
        # The namespaces exist for as long as this process.
        command = ["unshare", "--net", "--mount", "--propagation", "private", "sleep", "infinity"]
        self._pause = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self._processes.append(self._pause)
        try:
            until(self._is_apart, what="the pod's namespaces")
            self._connect()
            # pilot-agent keeps modules in /var/lib/istio.
            self.run("mount", "-t", "tmpfs", "pod", "/var/lib")
            self.run("mkdir", "-p", "/var/lib/istio/data")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        # Also what the processes have started: pilot-agent starts Envoy.
        for process in self._members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for each in self._processes:
            end(each, 10)
        # The kernel would remove the interface with the namespace, but later.
        subprocess.run([tool("ip"), "link", "delete", "pod"], stderr=subprocess.DEVNULL)
        self._scratch.cleanup()

    def _members(self) -> list:
        """The processes in the pod's network namespace, unless that is still the node's."""
        found = []
        for each in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(each / "ns" / "net") == self._network:
                    found.append(int(each.name))
        return found

    def _is_apart(self) -> bool:
        def of(process, kind: str) -> str:
            return os.readlink(f"/proc/{process}/ns/{kind}")

        assert self._pause.poll() is None, "unshare failed: root in a container needs the capability SYS_ADMIN"
        apart = all(of(self._pause.pid, kind) != of("self", kind) for kind in ("net", "mnt"))
        self._network = of(self._pause.pid, "net") if apart else None
        return apart

    def _connect(self) -> None:
        """Connects node and pod by a pair of interfaces, `pod` in the node and `eth0` in the pod."""
        ip("link", "add", "pod", "type", "veth", "peer", "name", "eth0", "netns", str(self._pause.pid))
        ip("link", "set", "pod", "up")
        ip("route", "replace", POD, "dev", "pod", "src", NODE)
        for each in (
            "link set lo up", "link set eth0 up", f"address add {POD}/32 dev eth0",
            f"route add {NODE} dev eth0", f"route add default via {NODE}",
        ):
            self.run(str(tool("ip")), *each.split())

    def redirect(self, *options: str) -> None:
        """Sets the iptables rules of istio-init. Later options override the default ones."""
        rules = tool("iptables-nft").parent
        (libraries,) = rules.glob("root/usr/lib/*/xtables")
        environment = {"PATH": f"{rules}:/usr/sbin:/usr/bin:/sbin:/bin", "XTABLES_LIBDIR": str(libraries)}
        command = ["istio-iptables", *INIT, "--force-iptables-binary=nft", *options]
        self.run(tool("pilot-agent"), *command, env=environment)

    def link_local(self) -> str:
        """The pod's IPv6 address on the link to the node. The kernel gives one to each interface."""
        def found():
            shown = json.loads(self.run(tool("ip"), "-json", "-6", "address", "show", "dev", "eth0"))
            return [each["local"] for each in shown[0]["addr_info"] if not each.get("tentative")] if shown else []

        return f"{until(found, what='an IPv6 address of the pod')[0]}%pod"

    def run(self, *command, env: dict | None = None) -> str:
        """The output of a command in the pod, which must succeed."""
        done = subprocess.run([*self.enter(), *command], env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def start(self, name: str, *command, env: dict | None = None, group: int = 0) -> subprocess.Popen:
        """Starts a process in the pod, whose output is in the file `name`."""
        with open(self.folder / name, "ab") as output:
            process = subprocess.Popen(
                [*self.enter(group), *command], env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self._processes.append(process)
        return process

    def output(self, name: str) -> str:
        return (self.folder / name).read_text(errors="replace")

    def enter(self, group: int = 0) -> list:
        """How to run a command in the pod."""
        # A working directory from before `nsenter` would belong to the mount namespace of the node.
        namespaces = ["nsenter", f"--target={self._pause.pid}", "--net", "--mount", f"--setgid={group}"]
        return [*namespaces, "env", f"--chdir={self.folder}"]
