from __future__ import annotations

import subprocess
import sys

from prometheus_client import CollectorRegistry

from serving.metrics import ProcessMetrics
from serving.start_times import StartTimes


def phases(registry: CollectorRegistry) -> dict[str, float | None]:
    name = "yiwen_cold_start_seconds"
    return {
        phase: registry.get_sample_value(name, {"phase": phase}) for phase in ("import", "load", "warm_up")
    }


def test_each_phase_ends_where_the_next_begins_and_only_the_first_probe_counts() -> None:
    now = 100.0
    start = StartTimes(2.5, lambda: now)
    now = 107.0
    start.loaded()
    registry = CollectorRegistry()
    start.publish(ProcessMetrics(version="", revision="", release="", registry=registry))
    assert phases(registry) == {"import": 2.5, "load": 7.0, "warm_up": None}
    now = 110.0
    start.ready()
    now = 200.0
    start.ready()
    assert phases(registry) == {"import": 2.5, "load": 7.0, "warm_up": 3.0}


def test_the_age_of_a_process_is_that_since_its_start() -> None:
    program = (
        "import time; time.sleep(0.3); from serving.start_times import process_age_s; print(process_age_s())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None" if sys.platform != "linux" else float(done.stdout) > 0.29
