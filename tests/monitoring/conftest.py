"""The table of the alerts that faults made fire, at the end of ``make monitoring-test``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.monitoring.installation import FACTOR, FIRED, Fired

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print a row for each alert; nothing where no fault was caused."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    properties = [pair for report in reports for pair in getattr(report, "user_properties", ())]
    rows = {Fired(*value) for name, value in properties if name == FIRED}
    if not rows:
        return
    terminalreporter.section(f"alerts; ranges and `for` divided by {FACTOR:.0f}")
    terminalreporter.write_line("| alert | fault | fired after | ended after |\n|---|---|---|---|")
    for row in sorted(rows):
        terminalreporter.write_line(
            f"| {row.alert} | {row.fault} | {row.fired_s:.1f} s | {row.ended_s:.1f} s |"
        )
