"""`func-e run` with the shipped envoy.yaml: which Envoy it starts, and how it ends."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess

import pytest

from harness.client import Client, post, request
from harness.envoy import ROOT, SECRET, binary
from harness.func_e import Versions, command_of, environment, install, installed, version
from harness.tools import tool
from harness.http1 import Closed
from harness.polling import until
from harness.sign import default

BODY = b'{"order": 42}'
SIGNED = default(SECRET, BODY)
ACTIVE = "http.webhooks.downstream_rq_active"


def assert_guarded(running, upstream) -> None:
    with upstream.nothing():
        assert post(running.port, "/webhook", [], BODY).status == 401
        assert post(running.port, "/webhook", default("not the secret", BODY), BODY).status == 401
    assert post(running.port, "/webhook", SIGNED, BODY).status == 200
    assert [each.body for each in upstream.requests] == [BODY]


class TestWhichEnvoy:
    def test_the_file_of_envoy_path(self, start, upstream):
        running = start(ENVOY_PATH=binary())
        assert command_of(running.envoy) == binary()
        assert_guarded(running, upstream)

    def test_a_version_that_is_installed(self, start, upstream, tmp_path):
        envoy = install(tmp_path)
        running = start(ENVOY_VERSION=version())
        assert command_of(running.envoy) == str(envoy)
        assert_guarded(running, upstream)

    def test_a_version_that_a_server_offers(self, start, upstream, tmp_path, versions):
        running = start(ENVOY_VERSION=version(), ENVOY_VERSIONS_URL=versions.url)
        assert versions.asked == ["/", f"/{versions.name}"]
        assert command_of(running.envoy) == str(installed(tmp_path) / "bin" / "envoy")
        assert_guarded(running, upstream)

    def test_after_a_wrong_checksum_the_folder_of_the_version_must_go(self, tmp_path, versions):
        """A bug of func-e 1.6: the refused binary stays, and counts as installed."""
        versions.sha256 = "0" * 64

        def which() -> subprocess.CompletedProcess:
            env = environment(tmp_path, ENVOY_VERSION=version(), ENVOY_VERSIONS_URL=versions.url)
            return subprocess.run([tool("func-e"), "which"], env=env, capture_output=True, text=True, timeout=60)

        refused = which()
        assert refused.returncode == 1 and "expected SHA-256 sum" in refused.stderr
        assert which().returncode == 0
        shutil.rmtree(installed(tmp_path))
        assert which().returncode == 1


@pytest.fixture
def versions(tmp_path):
    with Versions(tmp_path) as server:
        yield server


class TestEnd:
    """Envoy holds a request that has half of its body, and has the line of another one in a buffer."""

    @pytest.fixture
    def running(self, start):
        running = start(ENVOY_PATH=binary())
        assert post(running.port, "/webhook", [], BODY).status == 401
        until(lambda: statuses(running) == [401], what="the first line of the access log")
        assert post(running.port, "/webhook", SIGNED, BODY).status == 200
        return running

    @pytest.fixture
    def held(self, running):
        whole = request("/webhook", SIGNED, BODY)
        with Client(running.port, timeout=60) as client:
            client.send(whole[:-5])
            until(lambda: running.stats(ACTIVE)[ACTIVE] == 1, what="the request")
            client.rest = whole[-5:]
            yield client

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
    def test_a_signal_kills_envoy_at_once(self, number, running, held):
        """The held request and the buffered lines of the access log are lost."""
        running.process.send_signal(number)
        assert running.process.wait(60) == 0
        with pytest.raises((Closed, ConnectionError)):
            held.ask(held.rest)
        assert statuses(running) == [401]
        assert "caught" not in running.log()

    def test_envoy_itself_reports_a_signal(self, running):
        """The control of the test above."""
        subprocess.run(["kill", str(running.envoy)], check=True)
        running.process.wait(60)
        assert "caught ENVOY_SIGTERM" in running.log()
        assert statuses(running) == [401, 200]

    def test_draining_first_loses_nothing(self, running, held, upstream):
        """The steps of the page, with the drain time of this Envoy."""
        steps = drain_steps().replace(":9901", f":{running.admin}").replace("sleep 31", "sleep 2")
        with subprocess.Popen(["sh", "-ec", steps]) as draining:
            until(lambda: refuses(running.port), what="the end of the listener")
            assert running.stats(ACTIVE)[ACTIVE] == 1
            assert held.ask(held.rest).status == 200
            assert draining.wait(60) == 0
        assert running.process.wait(60) == 0
        assert len(upstream.requests) == 2
        assert statuses(running) == [401, 200, 200]


def drain_steps() -> str:
    page = (ROOT / "envoy" / "platforms.md").read_text()
    (steps,) = re.findall(r"^```sh\n(curl [^\n]*/drain_listeners.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return steps


def statuses(running) -> list:
    return [each["status"] for each in running.accesses()]


def refuses(port: int) -> bool:
    try:
        with Client(port):
            return False
    except ConnectionRefusedError:
        return True
