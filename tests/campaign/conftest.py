"""The campaign says at its end how many combinations it ran."""

from __future__ import annotations

from typing import Any

FACES = {
    "test_fault_in_process_is_noticed": "in process",
    "test_fault_over_channel_access_is_noticed": "over Channel Access",
}


def pytest_terminal_summary(terminalreporter: Any) -> None:
    passed = [report.nodeid for report in terminalreporter.stats.get("passed", [])]
    ran = {face: sum(f"::{test}[" in name for name in passed) for test, face in FACES.items()}
    if any(ran.values()):
        told = " and ".join(f"{number} {face}" for face, number in ran.items())
        terminalreporter.write_line(f"fault campaign: every fault noticed in {told}")
