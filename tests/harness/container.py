"""Runs one container of a pod, as the kubelet would: arguments, environment, volumes, and a file system of its own."""

from __future__ import annotations

import base64
import itertools
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from harness.process import end
from harness.release import pull

# All that a program needs of the machine. The rest of the container's file system is empty.
SHARED = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/proc", "/dev")


class Container:
    """A process in its own mount namespace, ended by `stop`.

    `spec` is the container and `volumes` the volumes, both of a pod's spec. `fields` are the values that `fieldRef` names.
    """

    def __init__(self, cluster, namespace: str, spec: dict, volumes=(), *, binary, folder: Path, fields, hosts=()):
        self._cluster = cluster
        self._namespace = namespace
        self._spec = spec
        self._volumes = {each["name"]: each for each in volumes}
        self._binary = binary
        self._fields = fields
        self._hosts = hosts
        self._folder = folder
        self._generations = itertools.count(1)
        self.log = folder / "log"
        self.process = None

    def start(self) -> "Container":
        for each in ("root", "etc", "volumes"):
            shutil.rmtree(self._folder / each, ignore_errors=True)
            (self._folder / each).mkdir(parents=True)
        lines = ["127.0.0.1 localhost", *(f"127.0.0.1 {name} {name}." for name in self._hosts)]
        (self._folder / "etc" / "hosts").write_text("\n".join(lines) + "\n")
        (self._folder / "etc" / "nsswitch.conf").write_text("hosts: files\n")
        for name in self._volumes:
            self.update_volume(name)
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", self._script()]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def stop(self) -> None:
        if self.process is not None:
            end(self.process, 10)

    def text(self) -> str:
        """All that the container has written."""
        return self.log.read_text(errors="replace")

    def update_volume(self, name: str) -> None:
        """Writes a volume's present files, in one move as the kubelet does."""
        folder = self._folder / "volumes" / name
        current = folder / f"..{next(self._generations)}"
        current.mkdir(parents=True)
        for file, content in self._files(self._volumes[name]).items():
            (current / file).write_bytes(content)
            link = folder / file
            if not link.is_symlink():
                link.symlink_to(f"..data/{file}")
        (folder / "..new").symlink_to(current.name)
        (folder / "..new").rename(folder / "..data")

    def _files(self, volume: dict) -> dict:
        """The files of a volume: name -> content."""
        if "emptyDir" in volume:
            return {}
        if "image" in volume:
            return pull(volume["image"]["reference"])
        if "secret" in volume:
            found = self._object("secrets", volume["secret"]["secretName"])
            content = {key: base64.b64decode(value) for key, value in found.get("data", {}).items()}
            items = volume["secret"].get("items")
        else:
            found = self._object("configmaps", volume["configMap"]["name"])
            content = {key: value.encode() for key, value in found.get("data", {}).items()}
            content |= {key: base64.b64decode(value) for key, value in found.get("binaryData", {}).items()}
            items = volume["configMap"].get("items")
        return {each["path"]: content[each["key"]] for each in items} if items else content

    def _object(self, resource: str, name: str) -> dict:
        return self._cluster.get(f"/api/v1/namespaces/{self._namespace}/{resource}/{name}")

    def environment(self) -> dict:
        """The variables of the container."""
        return {each["name"]: self._value(each) for each in self._spec.get("env", [])}

    def _value(self, variable: dict) -> str:
        source = variable.get("valueFrom", {})
        if "secretKeyRef" in source:
            found = self._object("secrets", source["secretKeyRef"]["name"])
            return base64.b64decode(found["data"][source["secretKeyRef"]["key"]]).decode()
        if "fieldRef" in source:
            return self._fields.get(source["fieldRef"]["fieldPath"], "")
        return variable.get("value", "")

    def _arguments(self) -> list:
        """The arguments, with each `$(NAME)` that names a variable replaced by its value."""
        known = self.environment()

        def replace(match):
            return known.get(match[1], match[0])

        return [re.sub(r"\$\(([A-Za-z_]\w*)\)", replace, each) for each in self._spec.get("args", [])]

    def _script(self) -> str:
        """Shell commands that make the file system and become the container's process."""
        root = self._folder / "root"
        lines = [f"mount -t tmpfs container {root}"]
        for path in filter(Path.exists, map(Path, SHARED)):
            if path.is_symlink():
                lines.append(f"ln -s {path.readlink()} {root}{path}")
            else:
                lines.append(f"mkdir {root}{path} && mount --rbind {path} {root}{path}")
        lines.append(f"mkdir -m 1777 {root}/tmp && mount -t tmpfs shm {root}/dev/shm")
        lines.append(f"mkdir {root}/etc && cp {self._folder}/etc/* {root}/etc/")
        lines.append(f"touch {root}/program && mount --bind {self._binary} {root}/program")
        for each in self._spec.get("volumeMounts", []):
            source, target = self._folder / "volumes" / each["name"], f"{root}{each['mountPath']}"
            lines.append(f"mkdir -p {target} && mount --bind {source} {target}")
        variables = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", **self.environment()}
        assigned = [f"{name}={value}" for name, value in variables.items()]
        program = ["env", "-i", *assigned, "/program", *self._arguments()]
        lines.append("exec chroot " + shlex.join([str(root), *program]))
        return "\n".join(lines)
