"""What a request waited for in the engine: a slot, its prompts, its tokens. For its log line and its trace."""

from __future__ import annotations

from collections.abc import Sequence as Seq

from predictor.sequence import Sequence
from serving.stages import count, past_stage


def phases(sequences: Seq[Sequence], ended: float) -> list[tuple[str, float, float]]:
    """Name, start and end of each phase that a request reached, monotonic seconds; they follow one another.

    ``queue`` ends when the last sequence has a slot, ``prefill`` when the last one has its first token, ``decode`` at
    the end.

    Args:
        sequences: of the request; at least one.
        ended: when the request did.
    """
    found = []
    begin = sequences[0].arrived
    for name, times in (
        ("queue", [sequence.started for sequence in sequences]),
        ("prefill", [sequence.first_token_at for sequence in sequences]),
    ):
        if not all(times):
            found.append((name, begin, ended))  # the request ended in this phase
            return found
        found.append((name, begin, max(times)))
        begin = max(times)
    return [*found, ("decode", begin, max(begin, ended))]


def record_phases(sequences: Seq[Sequence], ended: float) -> None:
    """Add the phases and the tokens of a request to its log line and its trace; arguments as of :func:`phases`."""
    for name, start, end in phases(sequences, ended):
        past_stage(name, start, end)
    count("sequences", len(sequences))
    count("prompt_tokens", sum(len(sequence.prompt) for sequence in sequences))
    count("generated_tokens", sum(sequence.num_generated for sequence in sequences))
