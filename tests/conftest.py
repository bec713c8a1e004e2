"""The first and the last line of each suite's output, and what Envoys logged before a failure."""

from __future__ import annotations

import pytest

from harness.envoy import STARTED, binary

# How much of a log a failure shows.
TAIL = 2000


def pytest_report_header() -> str:
    return f"Envoy: {binary()}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Adds the log of each running Envoy to the report of a failure, because it may not happen again."""
    report = yield
    if report.failed:
        for envoy in list(STARTED):
            report.sections.append((f"Envoy on port {envoy.port}: {envoy.status()}", envoy.log()[-TAIL:]))
    return report


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
