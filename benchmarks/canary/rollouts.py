"""How rollouts went: their phases, outcomes and tables."""

from __future__ import annotations

import json
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

BACK, PROMOTED, HELD = "rolled back", "promoted", "held"


@dataclass
class Rollout:
    """How one rollout went."""

    outcome: str
    seconds: float
    looks: int
    requests: int
    failed: int
    lines: list[str]
    interruptions: dict[str, int] = field(default_factory=dict)
    """By signal and the phase in which it came."""
    is_right: bool = False
    """Whether the outcome is the one that the canary deserves."""
    half_states: int = 0
    """Interruptions after which the two components had different shares."""


def phase_of(line: str) -> str:
    """The phase of a run that a line of it begins; empty for another line."""
    for pattern, phase in (
        ("wait: ", "waiting for the canary"),
        (r"\d+ %: measured", "measuring"),
        (r"\d+ %: hold", "holding"),
        (r"\d+ %: promote", "promoting"),
        (r"(\d+ %: )?roll back", "rolling back"),
        (".* traffic", "after a change of traffic"),
    ):
        if re.match(pattern, line):
            return phase
    return ""


def outcome_of(shares: Sequence[Mapping[str, int]]) -> str:
    """What became of a canary, by the shares of both components."""
    if all(share == {"00001": 100} for share in shares):
        return BACK
    return PROMOTED if all(share == {"00002": 100} for share in shares) else HELD


def detection_table(rollouts: Mapping[str, Sequence[Rollout]]) -> str:
    """The rollouts of each kind of canary, as Markdown."""
    lines = [
        "| canary | runs | rolled back | promoted | still held | looks | median, s | most, s | requests | failed |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for kind, runs in rollouts.items():
        if not runs:
            continue
        found = Counter(each.outcome for each in runs)
        seconds = [each.seconds for each in runs]
        looks = statistics.fmean(each.looks for each in runs)
        lines.append(
            f"| {kind} | {len(runs)} | {found[BACK]} | {found[PROMOTED]} | {found[HELD]} | {looks:.1f} | "
            f"{statistics.median(seconds):.1f} | {max(seconds):.1f} | {sum(each.requests for each in runs):,} | "
            f"{sum(each.failed for each in runs):,} |"
        )
    return "\n".join(lines)


def interruption_table(rollouts: Mapping[str, Sequence[Rollout]]) -> str:
    """Interruptions by signal and phase, half states, and outcomes, as Markdown."""
    runs = [each for of_kind in rollouts.values() for each in of_kind]
    counts: Counter[str] = sum((Counter(each.interruptions) for each in runs), Counter())
    right = sum(each.is_right for each in runs)
    phases = sorted({name.partition(" ")[2] for name in counts})
    lines = ["| interrupted while | SIGINT | SIGKILL |", "|---|---:|---:|"]
    lines += [f"| {phase} | {counts[f'SIGINT {phase}']} | {counts[f'SIGKILL {phase}']} |" for phase in phases]
    half = sum(each.half_states for each in runs)
    lines += [
        "",
        f"{len(runs)} rollouts, {counts.total()} interruptions, {half} half states, {right} right outcomes.",
    ]
    return "\n".join(lines)


def read(path: Path, kinds: Sequence[str]) -> dict[str, list[Rollout]]:
    """The rollouts of some kinds in a file that :func:`write` wrote; none where there is no file."""
    documents = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {kind: [Rollout(**each) for each in documents.get(kind, [])] for kind in kinds}


def write(path: Path, rollouts: Mapping[str, Sequence[Rollout]]) -> None:
    """Write rollouts by kind as JSON."""
    documents = {kind: [asdict(each) for each in runs] for kind, runs in rollouts.items()}
    path.write_text(json.dumps(documents, indent=1) + "\n", encoding="utf-8")
