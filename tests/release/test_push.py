"""`make push`: the reference that it prints, tags that never move, and registries that ask for a password."""

from __future__ import annotations

import os
import subprocess

import pytest

from harness.envoy import ROOT
from harness.plain_registry import PlainRegistry
from harness.ports import free_ports
from harness.registry_proxy import RegistryProxy
from harness.release import archive as archives
from harness.release import image, push
from harness.tools import tool

CRANE = str(tool("crane"))


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with PlainRegistry("127.0.0.1", *free_ports(1), tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def name(registry, request):
    """The name of an image that only this test pushes."""
    return f"{registry.host}/{request.node.originalname}"


@pytest.fixture
def archive(tmp_path):
    """An archive with the image of another module: `archive(module)`."""

    def archive(module: bytes):
        image.write(module, tmp_path / "image.tar")
        return tmp_path / "image.tar"

    return archive


def crane(*arguments: str) -> str:
    return subprocess.run([CRANE, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def test_make_push_prints_the_reference_and_sets_the_version_as_the_only_tag(name, archive):
    file = archive(b"module")
    command = ["make", "--no-print-directory", "push", f"IMAGE={name}", f"ARCHIVE={file}"]
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{name}@{image.write(b'module', file)}\n"
    (tag,) = crane("ls", name).splitlines()
    assert f"{name}@{crane('digest', f'{name}:{tag}')}\n" == done.stdout
    assert f'version = "{tag}"' in (ROOT / "Cargo.toml").read_text()


def test_a_released_version_never_changes(name, archive):
    first = push.push(archive(b"first"), name, "0.1.0", CRANE)
    with pytest.raises(push.Failure, match="a released version never changes"):
        push.push(archive(b"second"), name, "0.1.0", CRANE)
    assert f"{name}@{crane('digest', f'{name}:0.1.0')}" == first
    assert push.push(archive(b"second"), name, "0.2.0", CRANE) != first


@pytest.mark.parametrize("faulty", ["registry.example.com/guard:1", "registry.example.com/guard@sha256:00", "guard", ""])
def test_a_name_with_a_tag_or_without_a_registry_is_refused(faulty, archive):
    with pytest.raises(push.Failure, match="write it without tag"):
        push.push(archive(b"module"), faulty, "0.1.0", CRANE)


@pytest.mark.parametrize("target", ["dist", "login", "push"])
def test_no_part_of_the_name_is_run(target, tmp_path):
    """The workflow takes the name from a variable of the repository."""
    name = f"a.test/b;touch {tmp_path}/1;$(shell touch {tmp_path}/2)$$(touch {tmp_path}/3)`touch {tmp_path}/4`"
    env = {**os.environ, "IMAGE": name, "PYTHON": "false", "REGISTRY_TOKEN": ""}
    done = subprocess.run(["make", "-e", target], cwd=ROOT, env=env, check=False, capture_output=True)
    assert done.returncode != 0 and not list(tmp_path.iterdir())


def test_an_absent_archive_is_an_error(name, tmp_path):
    with pytest.raises(push.Failure, match="run `make dist` first"):
        push.push(tmp_path / "absent.tar", name, "0.1.0", CRANE)


@pytest.mark.parametrize("changed", [
    {"../../outside": b"x"},
    {"/outside": b"x"},
    {"index.json": b"{}"},
    {"index.json": b"[]"},
    {"index.json": b'{"manifests": []}'},
    {"oci-layout": b"{}"},
    {"blobs/sha256/0": b"x"},
])
def test_another_archive_is_refused_and_writes_nothing(tmp_path, changed):
    """A crate that runs during the build could write the archive, and must not get the rights of the job that pushes."""
    layout = image.layout(b"module")
    (tmp_path / "image.tar").write_bytes(archives.tar({**layout, **changed}))
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    with pytest.raises(push.Failure, match="is not an image of a module alone"):
        push.unpack(tmp_path / "image.tar", str(folder))
    assert not list(folder.iterdir()) and not (tmp_path / "outside").exists()


@pytest.mark.parametrize("content", [b"", b"x" * 1024, b"\0" * 1024])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "image.tar").write_bytes(content)
    with pytest.raises(push.Failure, match="is not an image of a module alone"):
        push.unpack(tmp_path / "image.tar", str(tmp_path / "folder"))


def test_a_registry_that_does_not_listen_is_an_error(archive):
    with pytest.raises(push.Failure, match="connection refused"):
        push.push(archive(b"module"), "127.0.0.1:1/webhook-guard", "0.1.0", CRANE)


@pytest.mark.parametrize("password, pushed", [("secret", True), ("wrong", False), (None, False)])
def test_the_credentials_are_those_of_docker(password, pushed, registry, archive, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with RegistryProxy(registry.host, "127.0.0.1", *free_ports(1), tmp_path) as proxy:
        if password:
            proxy.credentials(tmp_path, password)
        if pushed:
            name = f"{proxy.host}/guarded"
            assert push.push(archive(b"module"), name, "0.1.0", CRANE).startswith(f"{name}@sha256:")
            assert crane("ls", f"{registry.host}/guarded") == "0.1.0"
        else:
            with pytest.raises(push.Failure, match="401"):
                push.push(archive(b"module"), f"{proxy.host}/refused", "0.1.0", CRANE)
            assert "refused" not in crane("catalog", registry.host)


def test_a_registry_with_a_fault_is_not_one_without_the_tag(registry, archive, tmp_path):
    """crane first sends HEAD, which the registry answers with 404, and then GET."""
    rule = "return status 403 if { method GET } { path_sub /manifests/ }"
    with RegistryProxy(registry.host, "127.0.0.1", *free_ports(1), tmp_path, rule) as proxy:
        with pytest.raises(push.Failure, match="403"):
            push.push(archive(b"module"), f"{proxy.host}/faulty", "0.1.0", CRANE)
    assert "faulty" not in crane("catalog", registry.host)
