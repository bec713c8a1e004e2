"""The versions of platforms on the pages are those that the tests run."""

from __future__ import annotations

import re

import pytest

from harness import tools
from harness.envoy import ROOT

VERSION = r"\d+\.\d+(?:\.\d+)?"
SUPPORT, PLATFORMS = "release/README.md", "envoy/platforms.md"


def page(path: str) -> str:
    return (ROOT / path).read_text()


def variable(name: str) -> list:
    """The words of a variable in the Makefile."""
    return re.search(rf"^{name} := (.*)$", page("Makefile"), re.MULTILINE)[1].split()


def row(path: str, start: str) -> list:
    """The cells of the row of a table that starts with this text."""
    (line,) = re.findall(rf"^\| {re.escape(start)} \|.*$", page(path), re.MULTILINE)
    return [cell.strip() for cell in line.strip("|").split("|")]


def versions(text: str) -> list:
    return re.findall(rf"\b{VERSION}\b", text)


def package(name: str) -> str:
    (found,) = [each for each in tools.PACKAGES if each.name == name]
    return found.version.removeprefix("v")


def minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


ENVOYS = [*variable("ENVOY_OTHERS"), *variable("ENVOY_PINNED")]
# The module's version is that of a commit. The comment next to it has the name.
ISTIO = re.search(rf"^ISTIO = .*# ({VERSION})", page("tests/harness/tools.py"), re.MULTILINE)[1]
GATEWAY = tools.ENVOY_GATEWAY[1].removeprefix("v")
KUBERNETES = minor(package("kubernetes"))
GATEWAY_ENVOYS = [each.replace("$(ENVOY_PINNED)", ENVOYS[-1]) for each in variable("GATEWAY_ENVOYS")]


@pytest.mark.parametrize("path, start, expected", [
    (SUPPORT, "Envoy", ENVOYS),
    (SUPPORT, "Istio", [ISTIO]),
    (SUPPORT, "Envoy Gateway", [GATEWAY]),
    (SUPPORT, "Kubernetes", [KUBERNETES]),
    (PLATFORMS, "Envoy", ENVOYS),
    (PLATFORMS, "Envoy, started by func-e", [package("func-e")]),
    (PLATFORMS, "Istio's ingress gateway", [ISTIO, ENVOYS[-1]]),
    (PLATFORMS, "Istio's sidecar", [ISTIO, ENVOYS[-1]]),
    (PLATFORMS, "Kubernetes, by Envoy Gateway", [GATEWAY, *GATEWAY_ENVOYS]),
])
def test_a_row_names_the_versions_of_the_tests(path, start, expected):
    assert versions(row(path, start)[1]) == expected


@pytest.mark.parametrize("path, text", [
    ("README.md", f"Tested on Envoy {', '.join(ENVOYS[:-1])} and {ENVOYS[-1]}."),
    ("CHANGELOG.md", f"Envoy {minor(ENVOYS[0])} to {minor(ENVOYS[-1])}"),
    ("envoy/istio/README.md", f"Tested with istiod {ISTIO}, its injector and kube-apiserver {KUBERNETES}"),
    ("envoy/envoy-gateway/README.md", f"Tested with Envoy Gateway {GATEWAY}, Kubernetes {KUBERNETES}, and Envoy {' and '.join(GATEWAY_ENVOYS)}"),
])
def test_a_page_names_the_versions_of_the_tests(path, text):
    assert text in " ".join(page(path).split())
