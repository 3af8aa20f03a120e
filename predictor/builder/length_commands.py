"""``yiwen release lengths``: measures how long correct answers are, for the guards of translation.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from predictor.builder.errors import BrokenText

MIN_PAIRS = 100
"""Fewer say little about a variance."""


@dataclass(frozen=True, kw_only=True)
class LengthOptions:
    """Options of ``release lengths``."""

    pairs: Annotated[Path, Argument(metavar="TSV", help="two columns: a text, and its correct translation")]
    source: Annotated[str, Option("--from", metavar="TAG", help="language of the first column")]
    to: Annotated[str, Option(metavar="TAG", help="language of the second column")]


def run_lengths(options: LengthOptions) -> int:
    """Print ``guards`` for both directions; returns the exit code.

    Raises:
        BrokenText: the file cannot be read, or has too few pairs.
    """
    pairs = _read(options.pairs)
    there = [(len(a.encode()), len(b.encode())) for a, b in pairs]
    back = [(b, a) for a, b in there]
    lengths = [
        {"source": source, "target": target, **length_statistics(sizes)}
        for source, target, sizes in (
            (options.source, options.to, there),
            (options.to, options.source, back),
        )
    ]
    print(json.dumps({"guards": {"lengths": lengths}}, indent=2))
    return 0


def length_statistics(sizes: Sequence[tuple[int, int]]) -> dict[str, float]:
    """``ratio`` and ``variance`` of :class:`protocol.translation_spec.PairLengths`, rounded to three digits.

    Args:
        sizes: UTF-8 bytes of texts, and of their translations; none is 0.
    """
    ratio = sum(answer for _, answer in sizes) / sum(text for text, _ in sizes)
    variance = sum((answer - ratio * text) ** 2 / text for text, answer in sizes) / len(sizes)
    return {"ratio": round(ratio, 3), "variance": round(max(variance, 0.001), 3)}


def _read(path: Path) -> list[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise BrokenText(f"{path} cannot be read: {error}") from None
    rows = [line.split("\t") for line in lines]
    pairs = [(row[0].strip(), row[1].strip()) for row in rows if len(row) >= 2]
    pairs = [pair for pair in pairs if all(pair)]
    if len(pairs) < MIN_PAIRS:
        raise BrokenText(f"{path} has {len(pairs)} pairs of texts, at least {MIN_PAIRS} are needed")
    return pairs
