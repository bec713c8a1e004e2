"""A hot restart: parent and child run side by side, and Envoy adds the parent's gauges to the child's."""

from __future__ import annotations

from harness import client, version
from harness.envoy import MODULE, Envoy
from harness.full_config import endpoint, signed
from harness.polling import until

END = 4133980800  # 2101-01-01
SECRET = {"version": "v1", "env": "WEBHOOK_SECRET", "not_after": "2101-01-01T00:00:00Z"}
COMMIT, VERSION = version.labels(MODULE.read_bytes())
CONFIGURATION = {"endpoints": [endpoint("orders", SECRET, path="/webhook")]}
GAUGES = {
    "secret_not_after_seconds.endpoint=orders.version=v1": END,
    "secrets_expire_seconds.endpoint=orders": END,
    "configuration_generation": 1,
    f"build_info.commit={COMMIT}.version={VERSION}": 1,
}


def flush_often(document) -> None:
    """The child adds the parent's statistics when it flushes its own."""
    document.data["stats_flush_interval"] = "0.5s"


def gauges(envoy) -> dict:
    found = envoy.stats("wasmcustom")
    return {name: found.get(f"wasmcustom.webhook_guard_{name}") for name in GAUGES}


def test_gauges_are_not_summed(start, upstream, tmp_path):
    """A sum of two expiry times lies far in the future, so the alerts on secrets that expire would not fire."""
    parent = Envoy(upstream.port, CONFIGURATION)
    parent.identity = ("--use-dynamic-base-id", "--base-id-path", str(tmp_path / "base"))
    child = Envoy(upstream.port, CONFIGURATION, patch=flush_often)
    with parent:
        assert gauges(parent) == GAUGES
        base = (tmp_path / "base").read_text().strip()
        child.identity = ("--base-id", base, "--restart-epoch", "1", "--parent-shutdown-time-s", "15")
        with child:
            loads = "wasmcustom.webhook_guard_configuration_loads"
            until(lambda: child.stats("loads")[loads] > 4, what="the parent's gauges to be added")
            until(lambda: gauges(child) == GAUGES, what="the gauges to be right")
            until(lambda: parent.process.poll() is not None, what="the child to end its parent")
            until(lambda: child.stats("loads")[loads] == 4, what="the parent's gauges to be gone")
            until(lambda: gauges(child) == GAUGES, what="the gauges to be right")
            assert client.post(child.port, "/webhook", signed(b"x"), b"x").status == 200
