"""Sends the requests of many guards through one module, in one Envoy, and collects all that users see of the verdicts."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

from harness import client
from harness.clock import Clock
from harness.envoy import Envoy, encoded, write_discovered
from harness.full_config import patch
from harness.polling import until
from harness.upstream import Upstream

from requests_of import NOW, Request

# The header that connects a request with its line of the access log.
CASE = "x-upgrade-case"
# Envoy sets or changes these headers on the way to the upstream, and no guard does.
OF_ENVOY = re.compile(
    r"host|content-length|transfer-encoding|connection|x-request-id|x-real-ip|x-forwarded-(for|proto)|x-envoy-.*"
)
ANSWER_OF_ENVOY = {b"date", b"server", b"connection", b"x-envoy-upstream-service-time"}
# Fields that differ from run to run.
MEASURED = {"time", "duration_ms", "bytes_received", "case"}
REFUSED = re.compile(r"wasm log (\S+) [^:]*: webhook-guard: configuration refused: (.*)")


class Trial:
    """One Envoy with a listener for each guard, whose filter is in a watched file. A refused guard answers 500."""

    def __init__(self, guards: dict, module: Path, folder: Path) -> None:
        self.guards = guards
        self.clock = Clock(folder)
        self.upstream = Upstream()
        variables: dict = {}
        for each in guards.values():
            for name, value in each["variables"].items():
                assert variables.setdefault(name, value) == value, f"two guards need two values of {name}"
        self.envoy = Envoy(self.upstream.port, env=variables, clock=self.clock)
        self._module = module
        self._variables = variables
        # The time at which the clock is stopped.
        self._second = 0
        self._lay_out()

    def __enter__(self) -> "Trial":
        self.upstream.__enter__()
        self._arrive_at(NOW)
        self.envoy.start()
        return self

    def __exit__(self, *_) -> None:
        self.envoy.stop()
        self.upstream.__exit__(None, None, None)

    def _lay_out(self) -> None:
        document = self.envoy.document
        patch(document)
        document.environment(["ENVIRONMENT", *self._variables])
        document.guard["vm_config"]["code"]["local"]["filename"] = str(self._module)
        (log,) = document.manager["access_log"]
        log["typed_config"]["log_format"]["json_format"]["case"] = f"%REQ({CASE})%"
        guard = document.guard_config
        file = document.discover_guard(self.envoy.folder / "watched")
        listeners = document.data["static_resources"]["listeners"]
        first = listeners.pop()
        for name, each in self.guards.items():
            document.guard_filter["config_discovery"]["config_source"]["path_config_source"]["path"] = str(
                file.with_name(f"{name}.json")
            )
            own = copy.deepcopy(guard)
            own["config"] |= {"name": name, "root_id": name, "configuration": encoded(each["configuration"], True)}
            write_discovered(file.with_name(f"{name}.json"), own)
            document.manager["stat_prefix"] = name
            listeners.append({**copy.deepcopy(first), "name": name})

    def refused(self) -> dict:
        """The faults that each refused guard has, without repetitions."""
        found: dict = {}
        for name, fault in REFUSED.findall(self.envoy.log()):
            found.setdefault(name, {})[fault] = True
        return {name: list(faults) for name, faults in found.items()}

    def verdicts(self) -> dict:
        """The verdict of each request, in lists by the guards' names."""
        ports = self.envoy.ports()
        answers = {
            name: [
                self._ask(ports[name], f"{name}/{place}", Request.of(each))
                for place, each in enumerate(guard["requests"])
            ]
            for name, guard in self.guards.items()
        }
        cases = [f"{name}/{place}" for name, each in answers.items() for place in range(len(each))]
        until(lambda: len(self.envoy.access_lines()) >= len(cases), what="the access log")
        access = {line["case"]: unmeasured(line) for line in self.envoy.access_lines()}
        lines = self._lines()
        for name, each in answers.items():
            own = iter(lines.get(name, []))
            for place, answer in enumerate(each):
                answer["access"] = line = access[f"{name}/{place}"]
                # The guard writes no line for a request that it lets pass, or whose event it leaves to the access log.
                if line.get("verdict") not in (None, "passed") and "event" not in line:
                    answer["log"] = next(own, {})
                    assert answer["log"].get("reason") == line["reason"], f"{name}/{place}: {answer}"
            assert next(own, None) is None, f"{name}: a line of the log without its request"
        return answers

    def _ask(self, port: int, case: str, request: Request) -> dict:
        self._arrive_at(request.at)
        before = len(self.upstream.requests)
        headers = [("host", request.host), *request.headers, (CASE, case)]
        if request.trailers:
            pieces = client.chunked(request.path, headers, [request.body], request.trailers, request.method)
        else:
            pieces = [client.request(request.path, headers, request.body, request.method)]
        answer = client.ask(port, *pieces, source=request.source)
        shown = {"status": answer.status, "body": answer.body.decode("latin-1"), "headers": answer_headers(answer)}
        arrived = self.upstream.requests[before:]
        assert len(arrived) <= 1, f"{case}: one request became {len(arrived)}"
        return {**shown, "upstream": upstream_view(request, arrived[0]) if arrived else None}

    def _arrive_at(self, second: int) -> None:
        """Stops the clock at this second, so that no verdict depends on the speed of the machine."""
        if self._second != second:
            self.clock.stop_at(second)
            self._second = second

    def _lines(self) -> dict:
        """The guard's lines of the log, by the guard's name."""
        found: dict = {}
        for line in self.envoy.log().splitlines():
            level, _, text = line.partition("wasm log ")
            name, _, written = text.partition(": ")
            if written.startswith('{"event":"webhook_processed"'):
                fields = unmeasured(json.loads(written))
                found.setdefault(name.split(" ")[0], []).append({**fields, "level": level.split("][")[2]})
        return found

    def metrics(self) -> dict:
        """The guard's metrics: each name with its labels, and the counts of requests."""
        names = re.findall(r"^(webhook_guard_\w+)(?:\{(.*)\})? ", self.envoy.prometheus(), re.MULTILINE)
        shown = {(name, *sorted(re.findall(r'(\w+)="', labels))) for name, labels in names}
        counted = {
            name.removeprefix("wasmcustom."): value
            for name, value in self.envoy.stats("wasmcustom.webhook_guard_.*_total").items()
            if value and "allow_list" not in name
        }
        return {"names": sorted(" ".join(each) for each in shown), "counted": counted}


def unmeasured(line: dict) -> dict:
    return {name: value for name, value in line.items() if name not in MEASURED}


def answer_headers(answer) -> list:
    return sorted(
        f"{name.lower().decode('latin-1')}: {value.decode('latin-1')}"
        for name, value in answer.headers
        if name.lower() not in ANSWER_OF_ENVOY
    )


def upstream_view(request: Request, arrived) -> dict:
    """How the request at the upstream differs from the one that was sent."""
    sent = sorted((name.lower(), latin(value)) for name, value in request.headers)
    came = sorted((name.lower().decode("latin-1"), value.decode("latin-1")) for name, value in arrived.headers)
    came = [(name, value) for name, value in came if name != CASE]
    differences = {
        "added": [f"{name}: {value}" for name, value in without(came, sent) if not OF_ENVOY.fullmatch(name)],
        "removed": [f"{name}: {value}" for name, value in without(sent, came) if not OF_ENVOY.fullmatch(name)],
        "body": None if arrived.body == request.body else arrived.body.decode("latin-1"),
        "start": None if (arrived.method, arrived.path) == (request.method, request.path) else arrived.start.decode("latin-1"),
    }
    return {name: value for name, value in differences.items() if value}


def without(left: list, right: list) -> list:
    rest = list(right)
    return [each for each in left if not (each in rest and (rest.remove(each) or True))]


def latin(value) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def observe(guards: dict, module: Path, folder: Path) -> dict:
    """All that users see of these guards with this module."""
    with Trial(guards, module, folder) as trial:
        verdicts, refused = trial.verdicts(), trial.refused()
        shown = {name: {"refused": refused.get(name, []), "verdicts": verdicts[name]} for name in guards}
        return {"guards": shown, "metrics": trial.metrics()}
