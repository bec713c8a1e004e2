"""The first and the last line of each suite's output."""

from __future__ import annotations

import pytest

from harness.envoy import binary


def pytest_report_header() -> str:
    return f"Envoy: {binary()}"


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config) -> None:
    """Closes with one line in the form that all suites here have."""
    reporter = config.pluginmanager.getplugin("terminalreporter")
    if reporter is None or config.option.collectonly:
        return

    def count(*outcomes):
        return sum(len(reporter.stats.get(each, [])) for each in outcomes)

    passed, failed = count("passed", "xpassed"), count("failed", "error")
    print(f"{passed} passed, {failed} failed, {count('skipped', 'xfailed')} skipped", flush=True)
