"""How often a canary is judged rightly, over simulated draws."""

from __future__ import annotations

from collections import Counter
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from benchmarks.canary.rollouts import Rollout, detection_table, interruption_table, phase_of, read, write
from benchmarks.canary.routes import WeightedRoute
from benchmarks.canary.simulated import CANARIES, STABLE, SimulatedRelease, outcomes, table
from inferenceservices.canary.judgement import Verdict
from tests.http_servers import open_server, serving

RUNS = 20


class Named(BaseHTTPRequestHandler):
    """Answers with its port."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        content = str(self.connection.getsockname()[1]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


BAD = [name for name in CANARIES if name != "equal"]


@pytest.mark.parametrize("requests", [200, 1000])
def test_an_equal_canary_is_promoted(requests: int) -> None:
    found, looks = outcomes(CANARIES["equal"], requests, 10 * RUNS, seed=2)
    # At most 1 % by design; 7 of 200 or more would have a chance of 0.5 % then.
    assert found[Verdict.ROLL_BACK] <= 6
    assert found[Verdict.PROMOTE] >= 190
    assert looks < 1.5


@pytest.mark.parametrize("name", BAD)
def test_a_worse_canary_is_rolled_back(name: str) -> None:
    found, _ = outcomes(CANARIES[name], 1000, RUNS, seed=3)
    assert found == {Verdict.ROLL_BACK: RUNS, Verdict.PROMOTE: 0, Verdict.HOLD: 0}


def test_a_cold_cache_is_no_fault_of_the_release() -> None:
    found, _ = outcomes(SimulatedRelease(hits=0.0), 1000, RUNS, seed=4)
    assert found[Verdict.PROMOTE] == RUNS
    assert STABLE.hits > 0


def test_too_few_requests_are_waited_for() -> None:
    found, looks = outcomes(CANARIES["equal"], 30, RUNS, seed=5)
    assert found[Verdict.ROLL_BACK] == 0
    assert looks == 5


async def test_a_route_obeys_the_weights_of_the_moment() -> None:
    with serving(open_server(Named)) as first, serving(open_server(Named)) as second:
        ports = [int(url.rpartition(":")[2]) for url in (first, second)]
        weights = dict.fromkeys(ports, 50.0)
        async with (
            WeightedRoute(lambda: weights, Random(1)) as route,
            httpx.AsyncClient(base_url=route.url) as callers,
        ):
            answers = Counter([(await callers.get("/")).text for _ in range(100)])
            assert set(answers) == {str(port) for port in ports}
            assert min(answers.values()) > 30
            weights |= {ports[0]: 100.0, ports[1]: 0.0}
            assert {(await callers.get("/")).text for _ in range(20)} == {str(ports[0])}
            weights.clear()
            assert (await callers.get("/")).status_code == 503
            weights[1] = 1.0  # where nobody listens
            assert (await callers.get("/")).status_code == 503


def rollout(outcome: str, **more: Any) -> Rollout:
    return Rollout(outcome, 10.0, 2, 500, 1, [], **more)


def test_rollouts_of_an_earlier_run_count(tmp_path: Path) -> None:
    found = {"slow": [rollout("rolled back", interruptions={"SIGINT holding": 1})], "equal": []}
    write(tmp_path / "out.json", found)
    assert read(tmp_path / "out.json", ["slow", "equal"]) == found
    assert read(tmp_path / "none.json", ["slow"]) == {"slow": []}


def test_rollouts_are_counted_by_their_outcome_and_interruptions_by_their_phase() -> None:
    kind = "slow"
    runs = {kind: [rollout("promoted"), rollout("promoted"), rollout("rolled back")]}
    assert f"| {kind} | 3 | 1 | 2 | 0 | 2.0 | 10.0 | 10.0 | 1,500 | 3 |" in detection_table(runs)
    ended = rollout(
        "promoted",
        interruptions={"SIGKILL measuring": 1, "SIGINT holding": 2},
        half_states=1,
        is_right=True,
    )
    table = interruption_table({kind: [ended, rollout("rolled back")]})
    assert "| measuring | 0 | 1 |" in table
    assert "2 rollouts, 3 interruptions, 1 half states, 1 right outcomes." in table


@pytest.mark.parametrize(
    ("line", "phase"),
    [
        ("wait: yiwen-predictor-00002 is not ready yet", "waiting for the canary"),
        ("30 %: measured from now on, 4 s between looks", "measuring"),
        ("30 %: hold: 72 requests of the canary", "holding"),
        ("30 %: promote: not worse: errors", "promoting"),
        ("30 %: roll back: worse at level 0.0007", "rolling back"),
        ("roll back: yiwen-predictor-00002 is not ready after 8 s", "rolling back"),
        ("all traffic of yiwen to yiwen-predictor-00002", "after a change of traffic"),
        ("done: 100 % is the last of --to", ""),
    ],
)
def test_a_line_of_a_run_tells_its_phase(line: str, phase: str) -> None:
    assert phase_of(line) == phase


def test_the_table_has_a_row_for_each_canary_and_size() -> None:
    rows = table(runs=2, seed=1).splitlines()[2:]
    assert len(rows) == 3 * len(CANARIES)
    assert all(row.count("|") == 7 for row in rows)
    assert "| dead: all requests fail | 5,000 | 100.0% | 0.0% | 0.0% | 1.0 |" in rows
