"""gateway.yaml and gateway-example.yaml, as a newcomer applies them."""

from __future__ import annotations

import json
import re

import pytest

from harness.client import post
from harness.edge import EDGE
from harness.envoy import Document
from harness.polling import until

EXAMPLE = b'{"order": 42}'
# The signature that the README shows for the body above.
SIGNATURE = "ab6f080b77ac852eeb1a7ad582cb11e487261a58e64063dc6fcba97610f63f18"


def test_the_check_after_installing_shows_401_and_200(gateway):
    assert post(gateway.port, "/webhook", [], EXAMPLE).status == 401
    answer = post(gateway.port, "/webhook", [("x-webhook-signature", SIGNATURE)], EXAMPLE)
    assert (answer.status, answer.body) == (200, b"verified\n")


@pytest.mark.parametrize(
    "status, request_of",
    [
        (401, lambda gateway: gateway.deliver(secret="another secret")),
        (200, lambda gateway: gateway.deliver(b"x" * 1_000_000)),
        (413, lambda gateway: gateway.deliver(b"x" * 2_000_000)),
        (404, lambda gateway: post(gateway.port, "/other", [], EXAMPLE)),
        (405, lambda gateway: gateway.deliver(method="GET")),
    ],
    ids=["forged", "1 MB", "too large", "another path", "another method"],
)
def test_the_gateway_answers(gateway, status, request_of):
    assert request_of(gateway).status == status


def test_the_filters_have_the_order_of_the_shipped_file(gateway):
    shipped = [each["name"] for each in Document(EDGE.read_text()).filters]
    assert gateway.filters()[-len(shipped) :] == shipped


def test_each_request_has_one_line_in_the_access_log(gateway):
    def lines():
        return [each for each in (gateway.folder / "access").read_text().splitlines() if marker in each]

    marker = "/webhook-of-one-line"
    assert post(gateway.port, marker, [], EXAMPLE).status == 404
    (line,) = until(lines, what="a line in the access log")
    assert re.search('"reason":"unmatched"', line)


def test_an_accepted_request_has_its_event_in_the_access_log(gateway):
    def events():
        found = map(json.loads, (gateway.folder / "access").read_text().splitlines())
        return [each for each in found if each.get("bytes_received") == len(body) and "event" in each]

    body = b"x" * 1234
    assert gateway.deliver(body).status == 200
    (event,) = until(events, what="the event")
    assert (event["event"], event["verdict"]) == ("webhook_processed", "accepted")
