"""``reports/parity.json``: how far a release's answers are from those of the checkpoint it was built from.

The figures are measured by :mod:`predictor.builder.verify.compare`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from predictor.builder.reports import write_json_report

PARITY_FILE = "parity.json"
PARITY_SCHEMA = 1

TIE_MARGIN = 1e-4
"""Tokens whose reference log-probabilities differ by less than this count as equal."""
LOGPROB_TOLERANCES: Mapping[str, float] = {"float32": 1e-3}
"""Largest |log-probability difference| by precision. Rounded or quantized weights have no
bound: their agreement is reported only."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """The first token that differs."""

    prompt: int
    position: int
    """Index of the generated token."""
    margin: float
    """Log-probability of the reference's token minus that of the release's, in the reference."""


@dataclass(frozen=True, slots=True)
class ParityReport:
    """The result of one comparison."""

    release: str
    precision: str
    prompts: int
    tokens: int
    """Positions compared, over all prompts."""
    equal_tokens: int
    """Positions at which the reference chooses the same next token, after the same prefix."""
    ties: int
    """Equal tokens where the reference has a tie."""
    max_logprob_difference: float
    mean_logprob_difference: float
    first_disagreement: Disagreement | None
    kl_nats: float
    """Mean Kullback-Leibler divergence of the release from the reference, over the release's candidates and all
    other tokens taken together, which is a lower bound."""
    nats_per_token: float
    """Mean -log-probability of the tokens that were followed, by the release; one that is no candidate counts as the
    last candidate."""
    reference_nats_per_token: float
    """The same by the reference."""
    followed: str
    """``generated tokens``: the release's own; or ``references``: those of a test set."""
    versions: Mapping[str, str]
    measured_at: str

    @property
    def tolerance(self) -> float | None:
        """Bound of the largest difference; None where the precision has none."""
        return LOGPROB_TOLERANCES.get(self.precision)

    @property
    def passed(self) -> bool:
        """Whether the release is within the bounds of its precision."""
        if self.tolerance is None:
            return True
        return self.equal_tokens == self.tokens and self.max_logprob_difference <= self.tolerance

    @property
    def next_token_agreement(self) -> float:
        """Share of positions at which both choose the same token."""
        return self.equal_tokens / max(1, self.tokens)

    def to_json(self) -> dict[str, Any]:
        """The JSON document."""
        judged = {
            "next_token_agreement": self.next_token_agreement,
            "logprob_tolerance": self.tolerance,
            "passed": self.passed,
        }
        return {"schema": PARITY_SCHEMA, **dataclasses.asdict(self), **judged}


def write_report(report: ParityReport, directory: Path) -> Path:
    """Write ``reports/parity.json`` of the release in ``directory``, atomically; its path.

    Raises:
        OSError: it cannot be written.
    """
    return write_json_report(directory, PARITY_FILE, report.to_json())


def print_report(report: ParityReport, console: Console) -> None:
    """Print the report as a table."""
    table = Table(show_header=False, box=None, pad_edge=False)
    rows = [
        ("release", f"{report.release} ({report.precision})"),
        ("compared", f"{report.prompts} prompts, {report.tokens} tokens, following {report.followed}"),
        (
            "equal next tokens",
            f"{report.equal_tokens} ({report.next_token_agreement:.2%}), {report.ties} of them ties",
        ),
        ("KL divergence", f"{report.kl_nats:.2e} nats"),
        (
            "nats per token",
            f"{report.nats_per_token:.4f}, float32 {report.reference_nats_per_token:.4f} "
            f"({report.nats_per_token - report.reference_nats_per_token:+.4f})",
        ),
        ("largest |log-probability difference|", f"{report.max_logprob_difference:.2e}"),
        ("mean |log-probability difference|", f"{report.mean_logprob_difference:.2e}"),
        (
            "tolerance",
            "none promised" if report.tolerance is None else f"tokens equal, {report.tolerance:.0e}",
        ),
        ("result", _result(report)),
    ]
    if (first := report.first_disagreement) is not None:
        where = f"prompt {first.prompt}, token {first.position}, margin {first.margin:.2e}"
        rows.insert(3, ("first disagreement", where))
    for row in rows:
        table.add_row(*row)
    console.print(table, highlight=False)


def _result(report: ParityReport) -> str:
    if report.tolerance is None:
        return "measured"
    return "passed" if report.passed else "FAILED"
