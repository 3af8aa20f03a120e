"""The questions that are asked while faults last, and how their answers are written."""

from __future__ import annotations

import math

from benchmarks.monitoring.__main__ import answer
from benchmarks.monitoring.component import panels
from benchmarks.monitoring.phases import PHASES
from benchmarks.monitoring.prometheus import Prometheus, Sample


class _Recorded(Prometheus):
    """Has one sample for each kind of error, one of them without a value."""

    def query(self, expr: str, at: float | None = None) -> list[Sample]:
        if "rejected_total" not in expr:
            return []
        found = {"429": 0.5, "503": 2.0, "504": math.nan}
        return [Sample({"status": status, "code": "x"}, value) for status, value in found.items()]


def test_every_question_of_a_phase_has_one_panel() -> None:
    questions = [panel.question for panel in panels()]
    asked = [panel for phase in PHASES for _, panel in phase.questions]
    assert asked
    assert [questions.count(panel) for panel in asked] == [1] * len(asked)


def test_an_answer_has_the_largest_values_first_or_a_dash() -> None:
    prometheus = _Recorded("http://nowhere")
    assert answer(prometheus, "Which errors are answered?", 0.0) == "503 x: 2/s, 429 x: 0.5/s"
    assert answer(prometheus, "Is it up?", 0.0) == "—"
