"""Every configuration in envoy/: Envoy accepts it, it listens on loopback, and the guard is always on."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess

import pytest
import yaml

from harness.edge import FOLDER, VARIANTS, apply, variant, with_secrets
from harness.envoy import MODULE, ROOT, Document, binary, reads_secrets
from harness.secret_sources import sds
from harness.tls import Authority

# The files, and each patch with each file that it may change.
FILES = [file.name for file in sorted(FOLDER.iterdir()) if file.suffix in (".yaml", ".patch")]
PLAIN = [name for name in FILES if not name.startswith("secrets-")]
CHANGED = [name for name in PLAIN if name == "envoy.yaml" or name.startswith("edge")]
NAMES = PLAIN + [f"{secrets} {name}" for secrets in FILES if secrets not in PLAIN for name in CHANGED]
# Of the files for several machines, this one has only what it explains.
OMITTED = {"global-ratelimit.yaml": ("health_check", "copies")}
# The filters before and after the guard. A rewriter before it would change the signed bytes, and a router before it would
# skip all checks. A decompressor is only in the file for senders that sign the uncompressed body.
ORDER = {
    "plain": [
        "envoy.filters.http.set_filter_state",
        "admitted",
        "webhook_guard",
        "gate",
        "strip",
        "envoy.filters.http.router",
    ],
    "edge": [
        "envoy.filters.http.set_filter_state",
        "health_check",
        "shield",
        "admitted",
        "webhook_guard",
        "gate",
        "copies",
        "limit",
        "strip",
        "envoy.filters.http.router",
    ],
}


def text(name: str) -> str:
    """A shipped configuration; a variant is edge.yaml with its changes."""
    changes, _, name = name.rpartition(" ")
    if name.endswith(".patch"):
        found = variant(name[len("edge-") : -len(".patch")])
    else:
        found = (FOLDER / name).read_text()
    return with_secrets(found, changes[len("secrets-") : -len(".patch")]) if changes else found


def guard_of(name: str) -> dict:
    """The guard's configuration in a shipped file, inline or in a file of its own."""
    return Document(text(name)).guard


def filter_of(name: str, which: str) -> dict:
    """The filter of this name."""
    (found,) = [each for each in Document(text(name)).filters if each["name"] == which]
    return found


def filter_names(name: str) -> list:
    return [each["name"] for each in Document(text(name)).filters]


def is_live(name: str) -> bool:
    """Whether it needs an Envoy that reads secrets while it runs."""
    return name.startswith("secrets-") or name == "rotating.yaml"


def is_decompressed(name: str) -> bool:
    """Whether Envoy decompresses bodies before the guard."""
    return name.endswith("edge-compressed.patch")


def remove_decompressor(config: dict) -> None:
    """Removes the filter right before the guard that is off except on one route, and what enables it there."""
    (manager,) = [each for each in everything(config) if "http_filters" in each]
    at = [each["name"] for each in manager["http_filters"]].index("webhook_guard") - 1
    filter_ = manager["http_filters"].pop(at)
    assert filter_["name"] == "decompress" and filter_["disabled"] is True
    assert filter_["typed_config"]["response_direction_config"]["common_config"]["enabled"]["default_value"] is False
    first, last = manager["route_config"]["virtual_hosts"][0]["routes"]
    enabled = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}}
    assert first.pop("typed_per_filter_config") == {"decompress": enabled}
    assert list(first["match"]) == ["path"] and first["route"] == last["route"]


def everything(value):
    """Every mapping in a configuration, however deep."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from everything(each)


def test_there_are_some():
    assert len(FILES) >= 10
    assert len(VARIANTS) == 7


@pytest.mark.parametrize("name", NAMES)
class TestEach:
    def test_envoy_accepts_it_without_a_warning(self, name, tmp_path):
        file = tmp_path / "config.yaml"
        # Where `make run-edge` was never run, there are no certificates yet.
        Authority().write(tmp_path, "localhost")
        file.write_text(re.sub("target/(secrets|edge)", str(tmp_path), text(name)))
        for each in ("orders-a", "orders-b"):
            (tmp_path / each).write_text("some-secret-for-validation")
            (tmp_path / f"{each}.yaml").write_text(sds(each, "some-secret-for-validation"))
        command = [binary(), "--mode", "validate", "-c", str(file), "-l", "warning"]
        environment = {**os.environ, "WEBHOOK_SECRET": "some-secret-for-validation"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
        if is_live(name) and not reads_secrets():
            assert done.returncode != 0 and "extensions.formatter." in done.stderr
            return
        assert done.returncode == 0, done.stderr
        assert "OK" in done.stdout
        assert [line for line in done.stderr.splitlines() if line.strip()] == []

    def test_it_listens_on_the_loopback_interface_alone(self, name):
        config = yaml.safe_load(text(name))
        listening = [config["admin"], *config["static_resources"]["listeners"]]
        assert {each["address"]["socket_address"]["address"] for each in listening} == {"127.0.0.1"}

    def test_every_route_passes_the_guard_in_its_place(self, name):
        """There is one chain of filters, and nothing switches one of them off."""
        config = yaml.safe_load(text(name))
        if is_decompressed(name):
            remove_decompressor(config)
        (manager,) = [each for each in everything(config) if "http_filters" in each]
        filters = [each["name"] for each in manager["http_filters"]]
        is_plain = "envoy.yaml" in name or name == "rotating.yaml"
        wanted = ORDER["plain" if is_plain else "edge"]
        assert filters == [each for each in wanted if each not in OMITTED.get(name, ())]
        for each in everything(config):
            assert "disabled" not in each and "typed_per_filter_config" not in each, each

    def test_the_guard_fails_closed(self, name):
        guard = guard_of(name)
        assert guard["allow_on_headers_stop_iteration"] is True
        assert guard["failure_policy"] == "FAIL_RELOAD"
        # test_host_failures.py shows that the gate of envoy.yaml closes.
        assert filter_of(name, "gate") == filter_of("envoy.yaml", "gate")

    def test_envoy_and_the_guard_name_the_same_health_check(self, name):
        """The filter before the guard fails the check while Envoy drains, and otherwise leaves it to the guard."""
        configured = guard_of(name)["configuration"]["value"].get("health_check")
        found = [each["typed_config"] for each in Document(text(name)).filters if each["name"] == "health_check"]
        assert bool(configured) == bool(found)
        for each in found:
            assert each["pass_through_mode"] is True and "cache_time" not in each
            assert each["headers"] == [
                {"name": ":path", "string_match": {"exact": configured["path"]}},
                {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}},
            ]

    def test_it_removes_headers_that_applications_trust_too_easily(self, name):
        """The filter `strip` is the same in each file; `TestStrip` says what it removes."""
        assert filter_of(name, "strip") == filter_of("envoy.yaml", "strip")
        (added,) = Document(text(name)).virtual_host["request_headers_to_add"]
        assert added["header"]["key"] == "x-real-ip" and added["append_action"] == "OVERWRITE_IF_EXISTS_OR_ADD"

    def test_every_buffer_is_larger_than_the_guards_limit(self, name):
        """Every limit of a held body is above the guard's own, by default 1 MiB."""
        numbers = re.findall(r"(?:buffer_limit_bytes|window_size|body_buffer_limit): (\d+)", text(name))
        assert len(numbers) == 5
        # The upstream's buffer holds answers. A connection handles its buffered bytes before other connections get a turn.
        # Where a decompressor is, they grow first.
        small = 3 if is_decompressed(name) else 2
        assert sorted(map(int, numbers)) == small * [65536] + (5 - small) * [1114112]

    def test_what_a_client_writes_has_a_length_in_the_access_log(self, name):
        """Otherwise one connection could fill the disk, because HPACK repeats a long path with one byte."""
        (log,) = Document(text(name)).manager["access_log"]
        fields = log["typed_config"]["log_format"]["json_format"]
        written = [each for each in fields.values() if re.search("REQ|PATH|delivery_id|HEADER|QUERY", each)]
        assert len(written) == 3
        for each in written:
            length = re.fullmatch(r"%\w+\(.*\):(\d+)%", each)
            assert length and int(length[1]) <= 200, each

    def test_what_is_refused_before_the_guard_is_sampled_in_the_access_log(self, name):
        (log,) = Document(text(name)).manager["access_log"]
        admitted, sampled = log["filter"]["or_filter"]["filters"]
        if filter_names(name).count("health_check"):
            admitted, but_health_checks = admitted["and_filter"]["filters"]
            assert list(but_health_checks) == ["not_health_check_filter"]
        assert admitted["metadata_filter"]["match_if_key_not_found"] is False
        assert sampled["runtime_filter"]["percent_sampled"] == {"numerator": 1, "denominator": "HUNDRED"}
        # Otherwise a client could choose by x-request-id what is sampled.
        assert sampled["runtime_filter"]["use_independent_randomness"] is True


@pytest.mark.parametrize("other", [each.name for each in VARIANTS if each.name != "edge-compressed.patch"])
def test_a_sender_that_compresses_may_be_behind_any_load_balancer(other):
    """The patch applies after each other one."""
    both = Document(apply(text(other), (FOLDER / "edge-compressed.patch").read_text(), anywhere=True))
    assert "decompress" in [each["name"] for each in both.filters]
    (endpoint,) = both.guard["configuration"]["value"]["endpoints"]
    assert endpoint["decompressed"] is True
    assert both.listener["per_connection_buffer_limit_bytes"] == 65536


class TestStrip:
    """The unsigned headers that reach an application."""

    BELIEVED = """forwarded true-client-ip cf-connecting-ip cf-connecting-ipv6 fastly-client-ip client-ip x-client-ip x-real-ip
        x-cluster-client-ip x-azure-clientip x-azure-socketip x-appengine-user-ip x-originating-ip x-remote-ip x-remote-addr
        fly-client-ip do-connecting-ip x-nf-client-connection-ip x-proxyuser-ip wl-proxy-client-ip proxy-client-ip
        x-original-url x-original-uri x-original-host x-original-method x-original-forwarded-for x-rewrite-url
        x-http-method x-http-method-override x-method-override x-http-host-override x-host-override x-host x-url-scheme
        x-middleware-subrequest x-middleware-rewrite x-nextjs-data x-matched-path x-now-route-matches x-invoke-path
        x-forwarded-host x-forwarded-port x-forwarded-prefix x-forwarded-scheme x-forwarded-ssl x-forwarded-protocol
        x-forwarded-server x-forwarded-user x-forwarded-email x-forwarded-client-cert x-forwarded x-vercel-forwarded-for
        x-accel-mapping x-sendfile-type remote-user remote-groups x-remote-user x-authenticated-user x-auth-request-user
        x-webauth-user proxy proxy-authorization x-proxy-user ssl-client-cert ssl-client-verify x-ssl-client-dn
        x-client-cert x-client-verify front-end-https x-arr-ssl x-arr-clientcert x-waws-unencoded-url
        ms-aspnetcore-token ms-aspnetcore-clientcert x-amzn-oidc-identity x-ms-client-principal-name x-goog-iap-jwt-assertion
        x-goog-authenticated-user-email cf-access-authenticated-user-email tailscale-user-login x-envoy-original-path
        x-envoy-internal x-envoy-external-address grpc-timeout surrogate-capability""".split()
    NEEDED = """host content-type content-length content-encoding accept user-agent authorization cookie traceparent x-request-id
        x-forwarded-for x-forwarded-proto x-webhook-guard-endpoint x-webhook-guard-secret-version x-webhook-guard-delivery
        x-webhook-guard-verdict x-github-event x-github-delivery x-github-hook-id x-gitlab-event x-gitlab-token
        x-shopify-topic x-shopify-shop-domain x-shopify-webhook-id x-event-key x-hook-uuid x-goog-channel-id
        x-goog-resource-state x-atlassian-webhook-identifier x-wc-webhook-topic x-twilio-signature i-twilio-idempotency-token
        tailscale-webhook-signature sentry-hook-resource stripe-signature linear-event x-zm-trackingid""".split()

    MUTATIONS = filter_of("envoy.yaml", "strip")["typed_config"]["mutations"]["request_mutations"]
    EXPRESSIONS = [re.compile(each["remove_on_match"]["key_matcher"]["safe_regex"]["regex"]) for each in MUTATIONS]

    def removes(self, name: str) -> bool:
        return any(expression.fullmatch(name) for expression in self.EXPRESSIONS)

    def test_headers_that_applications_trust_are_removed_and_the_rest_stays(self):
        assert [name for name in self.BELIEVED if not self.removes(name)] == []
        assert [name for name in self.NEEDED if self.removes(name)] == []

    def test_no_header_of_any_sender_goes(self):
        vectors = [json.loads(file.read_text()) for file in (ROOT / "tests" / "vectors").glob("*.json")]
        names = {name.lower() for each in vectors for vector in each for name in dict(vector["headers"])}
        assert len(names) > 100
        assert [name for name in names if self.removes(name)] == []

    def test_of_x_forwarded_only_two_stay(self):
        """A regular expression cannot exclude a name, so that each letter of the two is spelled out."""
        tails = {"", "-"} | {
            "-" + "".join(letters) for size in range(1, 7) for letters in itertools.product("fprotx", repeat=size)
        }
        stay = [tail for tail in tails if not self.removes("x-forwarded" + tail)]
        assert sorted(stay) == ["-for", "-proto"]


def test_the_module_is_small():
    assert MODULE.stat().st_size < 590_000
