"""``reports/precision.json``: how far quantized weights are from the same checkpoint in float16."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np

from predictor.builder.verify.agreement import Continuation, divergence_of_candidates
from protocol.release import Release

PRECISION_FILE = "precision.json"
PRECISION_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class PrecisionReport:
    """Figures over all positions of float16's answers to texts that nothing was calibrated with."""

    release: str
    precision: str
    texts: int
    tokens: int
    next_token_agreement: float
    """Share of positions at which both choose the same token."""
    kl_nats: float
    """Mean Kullback-Leibler divergence from float16, over the candidates that both have and all other tokens taken
    together, which is a lower bound."""
    nats_per_token: float
    """Mean -log-probability of float16's tokens; one that is no candidate counts as the last candidate."""
    reference_nats_per_token: float
    """The same by float16."""
    measured_at: str

    def to_json(self) -> dict[str, Any]:
        """The JSON document."""
        return {"schema": PRECISION_SCHEMA, **asdict(self)}


def measure_precision(
    release: Release, wanted: Sequence[Continuation], found: Sequence[Continuation], *, measured_at: datetime
) -> PrecisionReport:
    """Compare what a release would choose with what float16 chose.

    Args:
        release: that is measured.
        wanted: of float16, for each text.
        found: of the release, after the same tokens.
        measured_at: for the report.
    """
    pairs = list(zip(wanted, found, strict=True))
    same = [a.candidate_ids[:, 0] == b.candidate_ids[:, 0] for a, b in pairs]
    return PrecisionReport(
        release=release.id,
        precision=release.precision,
        texts=len(pairs),
        tokens=sum(map(len, same)),
        next_token_agreement=float(np.concatenate(same).mean()),
        kl_nats=float(np.concatenate([divergence_of_candidates(a, b) for a, b in pairs]).mean()),
        nats_per_token=float(np.concatenate([b.nats for _, b in pairs]).mean()),
        reference_nats_per_token=float(np.concatenate([a.nats for a, _ in pairs]).mean()),
        measured_at=measured_at.isoformat(timespec="seconds"),
    )


def summary(report: PrecisionReport) -> list[str]:
    """The figures, for people."""
    more = report.nats_per_token - report.reference_nats_per_token
    return [
        f"{report.precision}, {report.texts} texts, {report.tokens} tokens that float16 chose: "
        f"{report.next_token_agreement:.1%} are chosen, KL divergence {report.kl_nats:.2e} nats, "
        f"{more:+.4f} nats per token"
    ]
