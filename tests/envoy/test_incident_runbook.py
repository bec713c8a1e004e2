"""Runs the commands of incidents.md as written, on an Envoy under load."""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest
import yaml

from harness import client
from harness.envoy import ROOT
from harness.full_config import signed
from harness.polling import in_both_workers, until
from harness.rotating import DECOY, DEMO, Rotating
from harness.senders import Senders, identities
from harness.verdict import assert_answer, later

PAGE = (ROOT / "envoy" / "incidents.md").read_text()
SETUP, *STEPS = re.split(r"^## (?:\d\. )?(\w+).*\n", PAGE, flags=re.MULTILINE)
PATHS = ("/before", "/webhook", "/after")
PROBE = b'{"id": "probe"}'
# A body whose length identifies it in the log.
FORGED = b'{"order": "%s"}' % (1000 * b"x")


def commands(heading: str) -> list:
    """The commands under this heading, block by block."""
    section = dict(zip(STEPS[::2], STEPS[1::2]))[heading]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def alert(name: str) -> str:
    """The expression of an alert that the page names."""
    assert f"`{name}`" in PAGE
    groups = yaml.safe_load((ROOT / "envoy" / "monitoring" / "alerts.yaml").read_text())["groups"]
    return next(rule["expr"] for group in groups for rule in group["rules"] if rule["alert"] == name)


class OnCall:
    """An operator who follows the page. The ports differ from those of the page."""

    def __init__(self, envoy: Rotating) -> None:
        self.envoy = envoy
        self.names = {
            "ADMIN": f"http://127.0.0.1:{envoy.admin}",
            "HOOK": f"http://127.0.0.1:{envoy.port}/webhook",
            "LOG": str(envoy.folder / "log"),
            "ACCESS": str(envoy.folder / "access"),
        }
        for name in self.names:
            assert f"\n{name}=" in SETUP

    def run(self, command: str) -> str:
        environment = {"PATH": os.environ["PATH"], **self.names}
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.envoy.watched,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stderr == "", done.stderr
        return done.stdout


@pytest.fixture
def envoy(upstream_alone):
    with Rotating(upstream_alone.port) as running:
        yield running
        shown = running.log() + "".join(map(str, running.access_lines())) + running.prometheus()
        for value in (*running.values, running.held("a"), running.held("b")):
            assert value not in shown, "a secret is shown"


def analysed(on_call: OnCall, command: str, began: str, wanted: int) -> list:
    """The lines that the command finds since `began`, if they are at least as many as wanted."""
    found = on_call.run(command.replace("2026-11-24T03:00", began)).splitlines()
    return found if len(found) >= wanted else []


@pytest.fixture
def on_call(envoy):
    return OnCall(envoy)


def post(envoy, key: str, body: bytes = PROBE):
    return client.post(envoy.port, "/webhook", signed(body, key), body)


def settles(envoy, key: str, wanted: int) -> None:
    """Waits until both workers answer a request that is signed by `key` like this."""
    until(lambda: in_both_workers(lambda: post(envoy, key).status == wanted), what=str(wanted))


def test_a_leak_from_its_detection_to_the_end(envoy, on_call, upstream_alone):
    began = later()
    with Senders(envoy.port, DEMO) as senders:
        senders.progress()

        # An attacker has read the file of the secrets, and tries the decoy and the secret.
        assert_answer(post(envoy, DECOY), "secret_revoked")
        until(lambda: envoy.count("orders", "denied", "secret_revoked") == 1)
        (line,) = on_call.run(commands("Detect")[0]).splitlines()
        assert json.loads(line[line.index("{") :])["secret_version"] == "leaked"
        for _ in range(5):
            assert post(envoy, DEMO, FORGED).status == 200

        disable, check = commands("Disable")
        on_call.run(disable)
        settles(envoy, DEMO, 503)
        assert on_call.run(check) == "503\n"
        senders.progress()
        before = upstream_alone.size()
        senders.progress()
        assert upstream_alone.size() == before, "something went upstream"

        uses, rotate = commands("Rotate")
        counted = on_call.run(uses).splitlines()
        assert [line.rsplit("=", 1)[1] for line in counted if not line.endswith(": 0")] == [
            f"a: {envoy.secret_uses('orders', 'a')}",
            "leaked: 1",
        ]
        secret = on_call.run(rotate).strip()
        assert len(secret) == 64 and secret == envoy.held("b")
        senders.use(secret)

        (analyse,) = commands("Analyse")
        assert "SINCE='2026-11-24T03:00'\n" in analyse
        arrived = len(upstream_alone.requests)
        accepted = until(lambda: analysed(on_call, analyse, began, arrived), what="the access log")
        assert len(accepted) == arrived
        assert on_call.run(analyse.replace("2026-11-24T03:00", "2999-01-01")) == ""
        forged = [line for line in accepted if f'"bytes_received":{len(FORGED)}' in line]
        assert len(forged) == 5
        assert senders.answers[503] > 0

        revoke, opening, verify = commands("Update")
        on_call.run(revoke)
        on_call.run(opening)
        settles(envoy, DEMO, 401)
        refused = "extension_config_discovery.http_filter.webhook_guard."
        assert sorted(on_call.run(verify).splitlines()) == [f"{refused}config_fail: 0", f"{refused}update_rejected: 0"]
        assert_answer(post(envoy, DEMO), "secret_revoked")
        senders.progress(200)
    assert senders.failures == []
    assert set(senders.answers) == {200, 503}, senders.answers
    assert senders.begun == senders.arrived, "something was lost"
    genuine = [each for each in upstream_alone.requests if each.body not in (FORGED, PROBE)]
    assert identities(genuine) == senders.begun
    assert len(genuine) == len(senders.begun), "something came twice"
    versions = {each.get("x-webhook-guard-secret-version") for each in genuine[-50:]}
    assert versions == {"a"}, "both places hold the new secret"


def test_monitor_lets_an_unknown_secret_through_until_enforce(envoy, on_call, upstream_alone):
    """The sender uses a secret that the guard does not have. It is denied, then let through with a mark, then denied."""
    (monitor,) = commands("When")
    enforce = commands("Update")[1]
    with Senders(envoy.port, "a-secret-that-the-guard-does-not-have") as senders:
        senders.progress()
        assert set(senders.answers) == {401}
        on_call.run(monitor)
        settles(envoy, senders.secret, 200)
        before = len(upstream_alone.requests)
        senders.progress()
        on_call.run(enforce)
        settles(envoy, senders.secret, 401)
        senders.answers.clear()
        senders.progress()
    assert senders.failures == []
    assert set(senders.answers) == {401}
    let_through = upstream_alone.requests[before:]
    assert {each.get("x-webhook-guard-verdict") for each in let_through} == {"monitored"}
    assert {each.get("x-webhook-guard-endpoint") for each in let_through} == {None}


def test_a_command_changes_one_endpoint_alone(envoy, on_call):
    """The command works before and after another endpoint, and if that one has no mode."""
    orders = envoy.guard_file.read_text()
    orders = orders[orders.index("          - name: orders") :]
    before, after = (
        orders.replace("orders\n", f"{name}\n").replace("/webhook", f"/{name}") for name in ("before", "after")
    )
    before = before.replace("mode: enforce", "methods: [POST]")
    envoy.change_guard(orders, before + orders + after)

    def answers() -> list:
        return [client.post(envoy.port, path, signed(PROBE, DEMO), PROBE).status for path in PATHS]

    until(lambda: answers() == [200, 200, 200])
    for command, status in ((commands("Disable")[0], 503), (commands("Update")[1], 200)):
        on_call.run(command)
        settles(envoy, DEMO, status)
        assert answers() == [200, status, 200]


@pytest.mark.parametrize(
    "old, new",
    [("mode: enforce", "mode: enforced"), ("resources:", "resources: ["), ("root_id:", "root_ids:")],
    ids=["a word", "no YAML", "a field of Envoy's"],
)
def test_a_faulty_change_changes_nothing_and_shows(old, new, envoy, on_call):
    verify = commands("Update")[2]
    stat = "extension_config_discovery.http_filter.webhook_guard.config_fail"
    with Senders(envoy.port, DEMO) as senders:
        envoy.change_guard(old, new)
        until(lambda: envoy.stats("config_fail").get(stat) == 1, what="the refusal")
        shown = on_call.run(verify)
        assert f"{stat}: 1\n" in shown
        assert ("did you mean `enforce`?" in shown) == (new == "mode: enforced")
        senders.progress(100)
        envoy.change_guard(new, old)
        on_call.run(commands("Disable")[0])
        settles(envoy, DEMO, 503)
    assert senders.failures == []
    assert set(senders.answers) <= {200, 503}
    name = f"envoy_{stat.replace('.', '_')}"
    assert f"\n{name}{{}} 1\n" in envoy.prometheus()
    assert f"increase({name}[" in alert("WebhookConfigurationRefused")


def test_a_start_with_a_faulty_file_lets_nothing_through(upstream_alone):
    envoy = Rotating(upstream_alone.port)
    envoy.change_guard("mode: enforce", "mode: enforced")
    stats = "envoy_extension_config_discovery_http_filter_webhook_guard"
    with upstream_alone.nothing(), envoy:
        assert post(envoy, DEMO).status == 500
        shown = envoy.prometheus()
        assert f"\n{stats}_config_fail{{}} 1\n" in shown and f"\n{stats}_update_success{{}} 0\n" in shown
        envoy.change_guard("mode: enforced", "mode: disabled")
        settles(envoy, DEMO, 503)
        assert f"\n{stats}_update_success{{}} 1\n" in envoy.prometheus()
    assert f"unless on (job, instance) {stats}_update_success > 0" in alert("WebhookConfigurationRefused")


def test_the_alert_counts_uses_of_the_revoked_secret(envoy):
    post(envoy, DECOY)
    name = "webhook_guard_requests_total"
    until(lambda: envoy.count("orders", "denied", "secret_revoked") == 1)
    labels = '{endpoint="orders",verdict="denied",reason="secret_revoked"}'
    assert f"\n{name}{labels} 1\n" in envoy.prometheus()
    assert f'increase({name}{{reason="secret_revoked"}}[' in alert("WebhookRevokedSecretUsed")
