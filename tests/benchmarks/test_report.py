from __future__ import annotations

from typing import Any

import pytest

from benchmarks.transformer_stages import report
from benchmarks.transformer_stages.hits import TRIALS

SPREAD = {"p50_ms": 0.5, "p95_ms": 0.9, "p99_ms": 1.5}


def hits(ratio: float = 1.5) -> dict[str, Any]:
    return {
        "requests_per_s": {name: [100.0, 120.0, 110.0] for name in TRIALS},
        "server_cpu_ms": {name: [0.2, 0.3, 0.1] for name in TRIALS},
        "generator_cpu_share": 0.2,
        "ratios": {
            "one_to_echo": ratio,
            "grpc_to_echo": 0.9,
            "deepl_to_one": 0.85,
            "texts_many_to_one": 21.0,
        },
        "ratios_by_cpu": {
            "one_to_echo": 1.4,
            "grpc_to_echo": 0.7,
            "deepl_to_one": 0.84,
            "texts_many_to_one": 19.0,
        },
        "latency": {
            "requests_per_s": 1800.0,
            "rounds": {name: [SPREAD, SPREAD] for name in ("echo", "one", "generator")},
            "generator_late_p99_ms": 0.3,
            "p99_one_to_echo": 0.8,
        },
    }


def misses(first_token: dict[str, float] | None) -> dict[str, Any]:
    miss = {"latency_transformer_ms": 9.0, "latency_predictor_ms": 7.0, "latency_added_ms": 2.1, "pairs": 60}
    return {"miss": miss, "first_token": first_token}


def load_steps(p99_ms: float | None) -> dict[str, Any]:
    row = {
        "slots": 16,
        "cache": "on",
        "unscaled_per_s": 1500,
        "offered_per_s": 480.4,
        "achieved_per_s": 470.1,
        "hit_share": 0.345,
        "shared_share": 0.011,
        "p50_ms": 20.4,
        "p95_ms": 1234.5,
        "p99_ms": p99_ms,
        "too_late": 3,
        "unanswered": 1,
        "refused": 2,
        "other": 0,
    }
    return {
        "rows": [row],
        "scale": 0.321,
        "capacity_titles_per_s": 344.0,
        "exponent": 0.8,
        "catalogue": 200_000,
        "wanted_hits": 0.35,
        "step_s": 9.0,
        "deadline_ms": 3000,
    }


def results(*, busy: float = 0.0, **stages: Any) -> dict[str, Any]:
    return {
        "date": "2026-01-01 00:00 UTC",
        "command": "python -m benchmarks.transformer --release demo",
        "machine": {"cpu": "a processor", "cores": 2, "python": "3.11.7"},
        "versions": {"kserve": "0.21.0"},
        "others_busy_cores": busy,
        "stages": stages,
    }


@pytest.mark.parametrize(("ratio", "word"), [(0.75, "reached"), (0.74, "missed")])
def test_a_target_is_reached_or_missed(ratio: float, word: str) -> None:
    (line,) = [
        line
        for line in report.markdown(results(hits=hits(ratio))).splitlines()
        if line.startswith("| Hits, one text")
    ]

    assert line.endswith(f"| at least 0.75 | {ratio:.2f} | 1.40 | {word} |")


def test_every_system_has_its_row() -> None:
    text = report.markdown(results(hits=hits()))

    assert text.count("| 110 | 100 | 120 | 0.200 |") == len(TRIALS)


def test_stages_that_did_not_run_are_left_out() -> None:
    text = report.markdown(results(misses=misses(None)))

    assert "## Misses" in text
    assert "## Hits" not in text
    assert "slots" not in text


def test_a_transformer_without_streams_is_reported() -> None:
    assert "this transformer streams no text" in report.markdown(results(misses=misses(None)))

    measured = {"first_transformer_ms": 4.0, "first_predictor_ms": 2.5, "first_added_ms": 1.25, "pairs": 60}
    assert "| first token of a stream | 4.00 | 2.50 | 1.25 | 60 |" in report.markdown(
        results(misses=misses(measured))
    )


def test_load_steps_name_their_scale_and_count_failures() -> None:
    text = report.markdown(results(load_steps=load_steps(None)))

    assert "times 0.321" in text
    assert "| 16 | on | 1500 | 480.4 | 470.1 | 34% | 1% | 20 | 1234 | > 3000 | 4 | 2 | 0 |" in text


def test_tracing_is_compared_with_none() -> None:
    figures = {"cpu_ms": {"off": 0.15, "5 %": 0.153}, "ratios": {"off": 1.0, "5 %": 1.02}}

    assert "| 5 % | 0.1530 | 1.020 |" in report.markdown(results(tracing=figures))


def test_figures_of_a_busy_machine_are_not_for_publication() -> None:
    assert "Not for publication" in report.markdown(results(busy=0.2, load_steps=load_steps(1.0)))
    assert "Not for publication" not in report.markdown(results(busy=0.1, load_steps=load_steps(1.0)))
