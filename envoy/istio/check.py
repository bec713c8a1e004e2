"""Checks what an Envoy of Istio runs: that no request can reach the router, or the application, past the guard.

    kubectl -n webhooks port-forward deployment/webhook-gateway 15000 &
    python3 envoy/istio/check.py

An argument names another address of the admin interface than http://127.0.0.1:15000. Each finding is one line. The
exit status is 1 if there is a finding.
"""

from __future__ import annotations

import json
import sys
import urllib.request

GUARD, GATE, ROUTER = "webhook_guard", "gate", "envoy.filters.http.router"
# Filters of gateway.yaml and sidecar.yaml that follow the gate.
BEHIND = {"copies", "limit", "strip"}
WASM = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
MANAGER = "envoy.filters.network.http_connection_manager"
ECDS = "extension_config_discovery.http_filter.webhook_guard"
# The guard sets this gauge once it has accepted a configuration.
GENERATION = "wasmcustom.webhook_guard_configuration_generation"
TCP_RULES = "envoy.filters.network.rbac"
REASON = "The pod's log has the reason, after `configuration refused` for a faulty configuration of the guard."


def main() -> int:
    admin = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:15000"
    found = findings(get(admin, "/config_dump"), get(admin, f"/stats?format=json&filter={ECDS}|{GENERATION}"))
    for each in found:
        print(each)
    print(f"{len(found)} findings" if found else "The guard and the gate precede the router in every chain.")
    return 1 if found else 0


def get(admin: str, path: str) -> dict:
    with urllib.request.urlopen(admin + path, timeout=30) as answer:
        return json.load(answer)


def findings(dump: dict, stats: dict) -> list:
    """The faults of an Envoy's configuration, in one sentence each."""
    used, absent, found = listeners(dump)
    discovered = discovered_filters(dump)
    managers = []
    for listener in guarded(used, absent):
        for chain in chains(listener):
            where = f"listener {listener['name']}, chain {chain.get('name', 'without a name')}"
            manager = manager_of(chain)
            managers += [manager] if manager else []
            problems = of_manager(manager, discovered) if manager else of_tcp(listener, chain)
            found += [f"{where}: {each}" for each in problems]
    routes = [each["route_config"] for each in [*section(dump, "dynamic_route_configs"), *managers] if "route_config" in each]
    found += of_routes(routes)
    if any(GUARD == each["name"] for manager in managers for each in manager["http_filters"]):
        found += of_acceptance({each.get("name"): each.get("value") for each in stats["stats"]})
    if not managers and not absent:
        found.append("No listener takes HTTP: check the labels of the pod and the selector of the EnvoyFilter.")
    return found


def listeners(dump: dict) -> tuple:
    """The listeners that Envoy uses, those that it rejected and has no other version of, and a finding for each rejection."""
    entries = section(dump, "dynamic_listeners")
    used = [each["active_state"]["listener"] for each in entries if "active_state" in each]
    errors = [each["error_state"] for each in entries if "error_state" in each]
    # Envoy can have two entries for one rejection.
    rejected = {name_of(each): each for each in errors}
    absent = [each.get("failed_configuration", {}) for name, each in rejected.items() if name not in names(used)]
    found = []
    for name, error in rejected.items():
        runs = "runs the one before" if name in names(used) else "has no other, so the port is closed"
        found.append(f"listener {name}: Envoy rejected its last update, and {runs}: {error.get('details')}. {REASON}")
    return used, absent, found


def name_of(error: dict) -> str:
    return error.get("failed_configuration", {}).get("name", "without a name")


def names(used: list) -> set:
    return {each["name"] for each in used}


def discovered_filters(dump: dict) -> dict:
    """The filters that Envoy has got by ECDS."""
    filters = [each["ecds_filter"] for each in section(dump, "ecds_filters") if "ecds_filter" in each]
    return {each["name"]: each["typed_config"] for each in filters}


def guarded(used: list, absent: list) -> list:
    """Those of incoming requests. Only a sidecar has listeners of the direction INBOUND."""
    inbound = [each for each in used + absent if each.get("traffic_direction") == "INBOUND"]
    return [each for each in used if each in inbound] if inbound else used


def chains(listener: dict) -> list:
    default = listener.get("default_filter_chain")
    return [*listener.get("filter_chains", []), *([default] if default else [])]


def manager_of(chain: dict) -> dict | None:
    for each in chain.get("filters", []):
        if each["name"] == MANAGER:
            return each["typed_config"]
    return None


def of_manager(manager: dict, discovered: dict) -> list:
    """Findings in the HTTP filters of one connection manager."""
    filters = manager["http_filters"]
    names = [each["name"] for each in filters]
    found = []
    if GUARD not in names:
        found.append("The guard is absent: check the labels of the pod and the selector of the EnvoyFilter.")
    if GATE not in names:
        return [*found, "The gate is absent, so requests pass if Envoy cannot load the guard."]
    between = [each for each in names[names.index(GATE) + 1 :] if each not in BEHIND | {ROUTER}]
    if between:
        found.append(f"{', '.join(between)} follow the gate and can change what was verified: lower their priority.")
    if GUARD not in names:
        return found
    if names[names.index(GUARD) + 1] != GATE:
        found.append("The gate does not directly follow the guard: a filter in between sees unverified requests.")
    guard = filters[names.index(GUARD)]
    return found + of_guard(guard.get("typed_config") or discovered.get(GUARD))


def of_guard(config: dict | None) -> list:
    """Findings in the guard's own filter."""
    if config is None:
        return ["The guard has not arrived by ECDS, so Envoy does not serve: check istiod's log."]
    if config["@type"] != WASM:
        return ["Another filter has the place of the guard, so the gate answers 403: istio-proxy got no module."]
    plugin, found = config["config"], []
    if not plugin.get("allow_on_headers_stop_iteration"):
        found.append("The guard lacks allow_on_headers_stop_iteration, so it answers 503: use Istio 1.28 or later.")
    if plugin.get("failure_policy") != "FAIL_RELOAD":
        found.append(f"The guard's failure_policy is {plugin.get('failure_policy')}: set FAIL_RELOAD.")
    return found


def of_acceptance(stats: dict) -> list:
    """Rejections of the guard's configuration. Of those by ECDS, Envoy reports only the number."""
    if GENERATION not in stats:
        return [f"Envoy has accepted no configuration of the guard, so no request passes. {REASON}"]
    if any(stats.get(f"{ECDS}.{each}") for each in ("config_fail", "update_rejected")):
        return [f"Envoy has rejected an update of the guard by ECDS since the pod started, and kept the one before. {REASON}"]
    return []


def of_tcp(listener: dict, chain: dict) -> list:
    """A gateway's chain must be for HTTP. A sidecar's other chains must have the rules of an AuthorizationPolicy."""
    filters = chain.get("filters", [])
    rules = [each["typed_config"].get("rules", {}) for each in filters if each["name"] == TCP_RULES]
    closed = any(each["typed_config"].get("cluster") == "BlackHoleCluster" for each in filters)
    if closed or any(each.get("action") == "DENY" for each in rules):
        return []
    if listener.get("traffic_direction") != "INBOUND":
        return ["This server is not for HTTP and passes everything on: remove it from its Gateway."]
    return ["Traffic that is not HTTP reaches the application: apply the AuthorizationPolicy of sidecar.yaml."]


def of_routes(configs: list) -> list:
    """Routes can disable filters. Those of a sidecar are in its listener."""
    text = [(each.get("name"), json.dumps(each)) for each in configs]
    return [
        f"route configuration {name}: A route has settings of its own for the {what}, which can disable it."
        for name, routes in text
        for what in (GUARD, GATE)
        if f'"{what}": {{"@type"' in routes
    ]


def section(dump: dict, key: str) -> list:
    return [each for part in dump["configs"] for each in part.get(key, [])]


if __name__ == "__main__":
    sys.exit(main())
