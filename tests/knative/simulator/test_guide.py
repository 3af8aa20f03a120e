"""The scenarios of docs/guides/capacity.md run, and what the page says of them holds on a shorter load."""

from __future__ import annotations

from pathlib import Path

import pytest

from knative.planner.candidates import make_candidates
from knative.planner.hardware.catalogue import GPUS
from knative.planner.hardware.checkpoint import read_model
from knative.simulator.load.arrivals import generate_arrivals
from knative.simulator.result import Summary
from knative.simulator.scenarios.scenario_file import load_scenario
from knative.simulator.simulation import simulate

FOLDER = Path(__file__).parents[3] / "docs" / "guides" / "capacity"
SCENARIOS = ("published", "one", "from-one", "planned", "h200")


@pytest.fixture(scope="module")
def summaries() -> dict[str, Summary]:
    trace = generate_arrivals("step:from=200,to=1500,at=30,seconds=60", seed=0)
    scenarios = {name: load_scenario(FOLDER / f"{name}.yaml") for name in SCENARIOS}
    return {name: simulate(scenario, trace).summary() for name, scenario in scenarios.items()}


def test_four_slices_serve_next_to_nothing_in_time(summaries: dict[str, Summary]) -> None:
    assert summaries["published"].goodput < 0.01


def test_one_gpu_refuses_what_it_cannot_do(summaries: dict[str, Summary]) -> None:
    assert 0.3 < summaries["one"].goodput < 0.7
    assert summaries["one"].errors_429 > 10_000


def test_a_late_start_costs_some_requests_and_the_planned_number_none(summaries: dict[str, Summary]) -> None:
    assert 0.5 < summaries["from-one"].goodput < 0.97
    for name in ("planned", "h200"):
        assert summaries[name].goodput > 0.999
        p99 = summaries[name].p99
        assert p99 is not None
        assert p99 < 0.8


def test_sixty_seven_billion_parameters_fit_one_whole_a100_in_int8_alone() -> None:
    candidates = make_candidates(read_model(FOLDER / "67b"), [GPUS["a100-80"]], 512, ())
    fitting = {(c.gpu_slice.name, c.precision): c.slots for c in candidates if c.slots}
    assert fitting == {("full", "int8"): 45, ("7g.80gb", "int8"): 13}
