"""Modules and configurations that change a hundred times under load: each delivery arrives once, and no forgery passes."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from harness import client
from harness.envoy import MODULE, SECRET, Envoy
from harness.exchanges import exchange
from harness.full_config import endpoint, signed
from harness.polling import in_both_workers, until
from harness.senders import Senders
from harness.upstream import Upstream

UPDATES = int(os.environ.get("SOAK_UPDATES", 100))
BODY = b'{"order": 42}'
# The allowed growth of Envoy after the first tenth. A module that stayed in memory would cost more than a megabyte.
MAX_GROWTH = 64 * 1024 * 1024
# Copies of the module keep their code and differ in a custom section, so that Envoy compiles each.
CUSTOM_SECTION, SECTION_NAME = 0, b"number"


def module(folder, number: int) -> dict:
    """The module as another file with another content."""
    file = folder / f"{number}.wasm"
    content = bytes([len(SECTION_NAME)]) + SECTION_NAME + number.to_bytes(2, "big")
    shutil.copyfile(MODULE, file)
    with open(file, "ab") as opened:
        opened.write(bytes([CUSTOM_SECTION, len(content)]) + content)
    return {"code": {"local": {"filename": str(file)}}}


def configuration(number: int) -> dict:
    """The endpoint of the senders, and one that shows which update a worker has."""
    return {"endpoints": [endpoint("orders", path="/webhook"), endpoint("update", path=f"/update/{number}")]}


def has_update(envoy, number: int) -> bool:
    return client.post(envoy.port, f"/update/{number}", [], BODY).status == 401


def test_modules_and_configurations_change_under_load(tmp_path):
    bodies: list = []
    with Upstream(on_request=lambda each: bodies.append(each.body)) as upstream:
        envoy = Envoy(upstream.port, configuration(0))
        file = envoy.document.discover_guard(envoy.folder / "watched")
        with envoy, Senders(envoy.port, SECRET) as senders:
            for number in range(1, UPDATES + 1):
                # Every second update changes the module too.
                changed = module(tmp_path, number) if number % 2 else {}
                envoy.discover(file, configuration(number), **changed)
                until(lambda: in_both_workers(lambda: has_update(envoy, number)), what=f"update {number}")
                assert client.post(envoy.port, "/webhook", signed(BODY, "forged"), BODY).status == 401
                if number > 2:
                    (tmp_path / f"{number - 2}.wasm").unlink(missing_ok=True)
                if number == UPDATES // 10:
                    before = envoy.resident()
            senders.progress()
            after = envoy.resident()
        assert senders.failures == []
        assert set(senders.answers) == {200}
        assert len(bodies) == len(set(bodies)), "a delivery arrived twice"
        assert {json.loads(each)["id"] for each in bodies} == senders.arrived == senders.begun
        assert after - before < MAX_GROWTH
        print(f"{UPDATES} updates, {sum(senders.answers.values())} deliveries, {(after - before) >> 20} MiB more memory")


@pytest.mark.parametrize("how", ["ecds", "lds"])
def test_the_last_release_and_this_tree_change_places(how, tmp_path):
    print(exchange(how, UPDATES, tmp_path))
