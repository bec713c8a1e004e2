"""`make run` and `make run-edge`, and how they get Envoy."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from harness import client, version
from harness.envoy import MODULE, ROOT, binary
from harness.full_config import signed
from harness.http2_client import Http2Client
from harness.ports import free_ports
from harness.running import RUN, Running

DEMO_SECRET = "dev-only-webhook-secret"
WATCH = ROOT / "envoy" / "watch.py"


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_the_module_is_where_the_configurations_name_it(tmp_path):
    """Wherever cargo builds by default."""
    if shutil.which("cargo") is None:
        pytest.skip("cargo is not installed")
    elsewhere = {"CARGO_TARGET_DIR": str(tmp_path / "a"), "CARGO_BUILD_TARGET_DIR": str(tmp_path / "b")}
    subprocess.run(["make", "build"], cwd=ROOT, env={**os.environ, **elsewhere}, check=True, timeout=600)
    assert list(tmp_path.iterdir()) == [] and MODULE.exists()


@pytest.mark.parametrize("arguments", [[], ["--edge"]])
def test_its_commands_do_what_it_says(arguments, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    with Running(tmp_path, *arguments) as run:
        text = run.wait_for("Ctrl-C stops everything")
        tries = re.findall(r"^# (\d+) .*\n(curl .*)$", text, re.MULTILINE)
        assert [expected for expected, _ in tries] == ["200", "401", "401", "401"]
        for expected, command in tries:
            ask = f"{command} -s -o {tmp_path}/body -w '%{{http_code}}'"
            done = subprocess.run(["sh", "-c", ask], stdout=subprocess.PIPE, text=True, timeout=60)
            assert done.stdout.endswith(expected), command
        run.wait_for("[upstream] POST /webhook, x-webhook-guard-endpoint: orders")
        run.wait_for('[guard] {"event":"webhook_processed"')
        run.wait_for("[access] ")
        assert run.text().count("[upstream] ") == 1
        assert run.end_by(signal.SIGINT) == 0
        assert "Traceback" not in run.text()
        assert all(map(is_free, run.ports))


def test_its_verdicts_can_be_watched(tmp_path):
    with Running(tmp_path) as run:
        text = run.wait_for("Ctrl-C stops everything")
        said = f"webhook-guard {version.text(MODULE.read_bytes())}: "
        assert text.count(said) == 1, "each thread of Envoy logs the line"
        port, admin, _ = run.ports
        counted = f"http://127.0.0.1:{admin}/stats?usedonly&filter=webhook_guard"
        with urllib.request.urlopen(counted, timeout=30) as shown:
            assert shown.url in text and b"webhook_guard_configuration_generation" in shown.read()
        assert f"make watch PORT={port}" in text
        with subprocess.Popen([sys.executable, str(WATCH), "--port", str(port)], stdout=subprocess.PIPE) as watch:
            assert client.post(port, "/webhook", [], b"{}").status == 401
            assert watch.stdout.readline() == b"watching the verdicts of Envoy on port %d\n" % port
            seen = watch.stdout.readline().split()[1:5]
            assert seen == [b"denied", b"401", b"orders", b"signature_missing"]
            assert client.post(port, "/webhook", signed(b"{}", DEMO_SECRET), b"{}").status == 200
            assert watch.stdout.readline().split()[1:5] == [b"accepted", b"200", b"orders", b"accepted"]
            assert run.end_by(signal.SIGINT) == 0
            assert watch.stdout.read() == b"Envoy has stopped\n"
        assert watch.returncode == 0
    done = subprocess.run([sys.executable, str(WATCH), "--port", str(port)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "make run" in done.stderr


def test_watched_lines_cannot_control_the_terminal():
    """The log is on standard input. Lines without a verdict are skipped."""
    line = {"event": "webhook_processed", "endpoint": "orders", "verdict": "accepted", "reason": "accepted"}
    line |= {"duration_ms": 0.1, "body_bytes": 2, "delivery_id": "\x1b[2J\n\x9b"}
    before = "[2026-11-24 12:00:00.000][1][info][wasm] [context.cc:1] "
    before += "wasm log webhook_guard webhook_guard webhook_guard: "
    log = f"{before}{json.dumps(line)}\n{before}webhook-guard 0.1.0: 1 endpoint\n\xff something else\n"
    log = f"{before}{json.dumps(line)[:50]}\n{before}{{}}\n{log}"
    event = line | {"time": "2026-11-24T12:00:01.000Z", "bytes_received": 2, "path": f"/{before}{json.dumps(line)}"}
    del event["body_bytes"]
    log += f"{json.dumps(event)}\n{json.dumps({**event, 'event': None})}\n"
    command = [sys.executable, str(WATCH), "-"]
    done = subprocess.run(command, input=log.encode("latin-1"), stdout=subprocess.PIPE, timeout=60)
    logged, accessed = done.stdout.splitlines()
    assert logged.startswith(b"12:00:00.000  accepted")
    assert accessed.startswith(b"12:00:01.000  accepted")
    assert all(shown.isascii() and shown.decode().isprintable() for shown in (logged, accessed))


def test_shown_lines_cannot_control_the_terminal(tmp_path):
    """Envoy's access log holds the path unchanged, control characters beyond ASCII too."""
    with Running(tmp_path) as run:
        run.wait_for("Ctrl-C stops everything")
        with Http2Client(run.ports[0]) as connection:
            connection.ask("/\x9b31m\u202e".encode(), [], b"{}")
        run.wait_for("31m")
        assert all(letter.isprintable() for letter in run.text().replace("\n", ""))


def test_sigterm_ends_it_at_any_time(tmp_path):
    for wait in (0.1, 0.4):
        with Running(tmp_path) as run:
            time.sleep(wait)
            code = run.end_by(signal.SIGTERM)
            # Until run.py handles signals, Python itself ends.
            assert code in (0, -signal.SIGTERM), run.text()
            assert "Traceback" not in run.text()
            assert all(map(is_free, run.ports))


def test_a_secret_from_the_environment_is_used_and_not_shown(tmp_path):
    secret = "a-secret-of-ones-own"
    with Running(tmp_path, WEBHOOK_SECRET=secret) as run:
        text = run.wait_for("Ctrl-C stops everything")
        assert secret not in text
        assert "your WEBHOOK_SECRET" in text
        assert run.end_by(signal.SIGTERM) == 0


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_a_port_that_is_taken(taken, tmp_path):
    flags = ["--port", "--admin-port", "--upstream-port"]
    ports = free_ports(3)
    with socket.create_server(("127.0.0.1", ports[taken])):
        command = [sys.executable, str(RUN)]
        for flag, port in zip(flags, ports):
            command += [flag, str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"port {ports[taken]}" in done.stderr
    assert "make run " in done.stderr
    assert "Traceback" not in done.stderr


def test_an_envoy_that_ends_by_itself(tmp_path):
    """`make run` reports the failure, with Envoy's last lines."""
    fake = tmp_path / "envoy"
    fake.write_text(
        "#!/bin/sh\n"
        'case "$1" in --version) echo "envoy  version: 0a1b2c/1.40.0/Clean/RELEASE/BoringSSL"; exit;; esac\n'
        "echo it has had enough >&2\n"
        "exit 3\n"
    )
    fake.chmod(0o755)
    with Running(tmp_path, ENVOY=str(fake)) as run:
        assert run.process.wait(60) == 1
        assert "Envoy ended with status 3" in run.text()
        assert "it has had enough" in run.text()
        assert "Traceback" not in run.text()


class TestFetch:
    """envoy/fetch.py, without an installation."""

    def fetch(self, *arguments, **env):
        command = [sys.executable, str(ROOT / "envoy" / "fetch.py"), *arguments]
        environment = {**os.environ, "ENVOY": "", "ENVOY_PATH": "", **env}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    @pytest.mark.parametrize("variable", ["ENVOY", "ENVOY_PATH"])
    def test_the_one_that_is_there(self, variable):
        done = self.fetch(**{variable: binary()})
        assert (done.returncode, done.stdout) == (0, binary() + "\n")

    def test_envoy_comes_before_envoy_path(self):
        """A user of func-e sets ENVOY_PATH for all projects, and ENVOY for this one."""
        done = self.fetch(ENVOY=binary(), ENVOY_PATH="/bin/sh")
        assert (done.returncode, done.stdout) == (0, binary() + "\n")

    @pytest.mark.parametrize("variable", ["ENVOY", "ENVOY_PATH"])
    def test_a_file_that_is_not_an_envoy(self, variable, tmp_path):
        for path in ("/bin/sh", str(tmp_path / "missing")):
            done = self.fetch(**{variable: path})
            assert (done.returncode, done.stdout) == (1, "")
            assert f"{variable}={path} is not an Envoy" in done.stderr

    def test_one_that_is_too_old(self, tmp_path):
        old = tmp_path / "envoy"
        old.write_text('#!/bin/sh\necho "envoy  version: 0a1b2c/1.35.9/Clean/RELEASE/BoringSSL"\n')
        old.chmod(0o755)
        done = self.fetch(ENVOY=str(old))
        assert (done.returncode, done.stdout) == (1, "")
        assert "1.35.9" in done.stderr and "1.36" in done.stderr

    def test_func_e_is_asked_first(self, tmp_path):
        """fetch.py checks the version of the Envoy that func-e names."""
        func_e = tmp_path / "func-e"
        func_e.write_text(f'#!/bin/sh\n[ "$1" = which ] && echo "{binary()}"\n')
        func_e.chmod(0o755)
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        version = subprocess.run([binary(), "--version"], stdout=subprocess.PIPE, text=True).stdout
        version = re.search(r"/(\d+\.\d+\.\d+)/", version).group(1)
        done = self.fetch("--version", version, PATH=path)
        assert (done.returncode, done.stdout, done.stderr) == (0, binary() + "\n", "")
