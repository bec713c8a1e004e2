"""`envoy/run.py`, which `make run` starts."""

from __future__ import annotations

import os
import subprocess
import sys

from harness.envoy import ROOT, binary
from harness.polling import until
from harness.ports import free_ports
from harness.process import end

RUN = ROOT / "envoy" / "run.py"


class Running:
    """envoy/run.py on ports of its own."""

    def __init__(self, folder, *arguments, **env) -> None:
        self.ports = free_ports(3)
        flags = zip(("--port", "--admin-port", "--upstream-port"), map(str, self.ports))
        self.output = folder / "output"
        environment = {**os.environ, "ENVOY": binary(), **env}
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(RUN), *arguments, *(word for pair in flags for word in pair)],
                cwd=folder,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_) -> None:
        end(self.process, 60)

    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, wanted: str) -> str:
        def is_there() -> bool:
            if wanted in self.text():
                return True
            assert self.process.poll() is None, self.text()
            return False

        until(is_there, what=f"{wanted!r} in the output")
        return self.text()

    def end_by(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)
