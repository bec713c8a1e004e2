"""No client reaches the application of sidecar.yaml without the guard, with the iptables rules of Istio.

Each way around the guard is open without the AuthorizationPolicy of sidecar.yaml.
"""

from __future__ import annotations

import copy

import pytest

from harness.attacked_pod import ATTEMPTS, EMPTY_LINE, EXCLUDED, IPV6, LISTED, OTHER, AttackedPod
from harness.istio import NAMESPACE
from harness.pod import Pod
from harness.polling import in_both_workers, until

NOT_HTTP = "Traffic that is not HTTP reaches the application"
EVERY = [(port, attempt) for port in (LISTED, OTHER) for attempt in ATTEMPTS]
# The sidecar passes these on where no protocol is declared. Each has an application that takes it.
AROUND = [
    (LISTED, EMPTY_LINE),
    (LISTED, "silence before the request"),
    (LISTED, "mutual TLS with the protocol istio"),
    (OTHER, "HTTP/1.2"),
    (OTHER, "HTTP/0.9"),
    (OTHER, "a malformed method"),
]


@pytest.fixture(scope="module")
def attacked(istiod):
    with Pod() as pod:
        yield AttackedPod(pod, istiod)


def changed(attacked, kind: str, *keys, value) -> dict:
    """A document of sidecar.yaml with another value at a place."""
    (found,) = [copy.deepcopy(each) for each in attacked.shipped if each["kind"] == kind]
    *place, last = keys
    inner = found["spec"]
    for key in place:
        inner = inner[key]
    inner[last] = value
    return found


def undeclared(attacked) -> dict:
    return changed(attacked, "Service", "ports", value=[{"name": "web", "port": 80, "targetPort": LISTED}])


class TestWithoutThePolicyAndTheProtocol:
    @pytest.fixture(scope="class", autouse=True)
    def state(self, attacked):
        attacked.use(undeclared(attacked), without="AuthorizationPolicy", tcp={(LISTED, ""), (0, "")}, passes=True)

    @pytest.mark.parametrize("port, attempt", AROUND)
    def test_an_application_receives(self, attacked, port, attempt):
        assert attacked.reaches(port, attempt)


    def test_check_py_reports_it(self, attacked):
        assert NOT_HTTP in attacked.check()


class TestWithAPolicyThatAllowsThePort:
    @pytest.fixture(scope="class", autouse=True)
    def state(self, attacked):
        policy = changed(attacked, "AuthorizationPolicy", "action", value="ALLOW")
        policy["spec"]["rules"] = [{"to": [{"operation": {"ports": [str(LISTED)]}}]}]
        attacked.use(undeclared(attacked), policy, tcp={(LISTED, "ALLOW"), (0, "ALLOW")}, passes=True)

    def test_the_port_is_open(self, attacked):
        assert attacked.reaches(LISTED, EMPTY_LINE)

    def test_check_py_reports_it(self, attacked):
        assert NOT_HTTP in attacked.check()


class TestWithTheProtocolOnly:
    @pytest.fixture(scope="class", autouse=True)
    def state(self, attacked):
        attacked.use(without="AuthorizationPolicy", tcp={(0, "")})

    @pytest.mark.parametrize("attempt", ATTEMPTS)
    def test_the_declared_port_is_closed(self, attacked, attempt):
        assert not attacked.reaches(LISTED, attempt)

    def test_another_port_is_open(self, attacked):
        assert attacked.reaches(OTHER, "HTTP/1.2")


class TestWithAPolicyOfPortsOnly:
    @pytest.fixture(scope="class", autouse=True)
    def state(self, attacked):
        rules = [{"to": [{"operation": {"notPorts": [str(LISTED)]}}]}]
        policy = changed(attacked, "AuthorizationPolicy", "rules", value=rules)
        attacked.use(undeclared(attacked), policy, tcp={(LISTED, "DENY"), (0, "DENY")}, passes=True)

    def test_the_listed_port_is_open_without_a_protocol(self, attacked):
        assert attacked.reaches(LISTED, EMPTY_LINE)

    def test_another_port_is_closed(self, attacked):
        assert not attacked.reaches(OTHER, "HTTP/1.2")


class TestWithThePolicyOnly:
    @pytest.fixture(scope="class", autouse=True)
    def state(self, attacked):
        attacked.use(undeclared(attacked), tcp={(LISTED, "DENY"), (0, "DENY")})

    @pytest.mark.parametrize("port, attempt", EVERY)
    def test_no_application_receives(self, attacked, port, attempt):
        assert not attacked.reaches(port, attempt)

    def test_a_policy_that_allows_everything_opens_nothing(self, attacked):
        policy = {
            "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
            "metadata": {"name": "of-another-team", "namespace": NAMESPACE}, "spec": {"action": "ALLOW", "rules": [{}]},
        }
        (applied,) = attacked.cluster.apply([policy])
        until(lambda: attacked.tcp_chains() == {(LISTED, "ALLOW DENY"), (0, "ALLOW DENY")}, what="both policies")
        assert not [each for each in EVERY if attacked.reaches(*each)]
        assert attacked.sidecar.status() == 200
        attacked.cluster.delete(attacked.cluster.path(applied))


class TestAsShipped:
    @pytest.fixture(scope="class", autouse=True)
    def state(self, attacked):
        attacked.use(tcp={(0, "DENY")})

    @pytest.mark.parametrize("port, attempt", EVERY)
    def test_no_application_receives(self, attacked, port, attempt):
        assert not attacked.reaches(port, attempt)

    @pytest.mark.parametrize("port", [15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090])
    @pytest.mark.parametrize("attempt", ["an ordinary request", EMPTY_LINE])
    def test_no_port_of_istio_leads_to_an_application(self, attacked, port, attempt):
        assert not attacked.reaches(port, attempt)

    def test_check_py_reports_nothing(self, attacked):
        assert attacked.check() == "The guard and the gate precede the router in every chain.\n"

    def test_a_signed_request_is_answered(self, attacked):
        assert attacked.sidecar.status() == 200


    @pytest.mark.parametrize("mode, transports", [("STRICT", {"tls"}), ("DISABLE", {"raw_buffer"})])
    def test_no_mode_of_mutual_tls_opens_a_way(self, attacked, mode, transports):
        policy = {
            "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
            "metadata": {"name": "mode", "namespace": NAMESPACE}, "spec": {"mtls": {"mode": mode}},
        }
        (applied,) = attacked.cluster.apply([policy])
        until(lambda: attacked.transports() == transports, what=f"a listener for {transports}")
        assert not [each for each in EVERY if attacked.reaches(*each)]
        attacked.cluster.delete(attacked.cluster.path(applied))

    def test_a_port_that_is_declared_as_tcp_is_closed(self, attacked):
        declared = [{"name": "tcp-web", "port": 80, "targetPort": LISTED}]
        attacked.cluster.apply([changed(attacked, "Service", "ports", value=declared)])
        until(lambda: (LISTED, "DENY") in attacked.tcp_chains(), what="a chain for TCP")
        until(lambda: in_both_workers(lambda: attacked.sidecar.status() == 0), what="that in both workers")
        assert not [each for each in EVERY if attacked.reaches(*each)]


class TestNotProtected:
    """Traffic that does not pass the sidecar. envoy/istio/README.md says what to do."""

    @pytest.fixture(scope="class", autouse=True)
    def state(self, attacked):
        attacked.use(tcp={(0, "DENY")})

    def test_a_port_that_is_excluded_from_the_redirection(self, attacked):
        assert attacked.reaches(EXCLUDED, "an ordinary request")

    def test_a_client_in_the_pod(self, attacked):
        assert attacked.reaches_from_inside(LISTED)

    def test_an_application_that_listens_on_ipv6_in_a_pod_without_an_ipv6_address(self, attacked):
        assert not attacked.reaches(IPV6, "an ordinary request")
        assert attacked.reaches(IPV6, "an ordinary request", attacked.pod.link_local())
