"""Prompts for int8 calibration and for the quality gate, made of sample texts.

The texts come from :mod:`predictor.builder.int8.sample_texts` or a file. Those of a language pair are assigned to
calibration and to the gate in turn, so a plan is never measured with the texts that it was calibrated with.
:class:`protocol.prompt_encoder.PromptEncoder` encodes them, as it does when serving.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from predictor.builder.errors import BrokenText
from predictor.builder.int8.sample_texts import sample_texts
from protocol.prompt_encoder import PromptEncoder, PromptText
from protocol.prompt_errors import TextTooLong, UnencodableText
from protocol.translation_spec import TranslationSpec

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Prompt:
    """The prompt of one text."""

    pair: Pair
    """Source and target."""
    token_ids: tuple[int, ...]
    max_new_tokens: int
    """Maximum tokens of the answer, by the release's limits."""


@dataclass(frozen=True, slots=True)
class PromptSplit:
    """A release's prompts, divided into calibration and gate."""

    calibration: tuple[Prompt, ...]
    gate: tuple[Prompt, ...]
    without_texts: tuple[Pair, ...]
    """Language pairs of the release that have fewer than two texts, and are neither calibrated nor measured."""


def encode_prompt(encoder: PromptEncoder, pair: Pair, text: str) -> Prompt | None:
    """Encode the prompt of a text; None if it is too long or cannot be encoded.

    Args:
        encoder: of the release.
        pair: source and target language.
        text: in the source language.
    """
    try:
        (encoded,) = encoder.encode([PromptText(text, *pair)])
    except (TextTooLong, UnencodableText):
        return None
    return Prompt(pair, encoded.token_ids, encoded.max_new_tokens)


def split_prompts(encoder: PromptEncoder, texts: Path | None, *, per_pair: int) -> PromptSplit:
    """Prompts for every pair of the release.

    Args:
        encoder: of the release.
        texts: a file, see :func:`read_texts`; None takes the built-in samples of the source languages.
        per_pair: at most this many texts of each pair go to calibration, and as many to the gate.

    Raises:
        BrokenText: the file cannot be read, or there is no usable text for any pair.
    """
    spec = encoder.spec
    rows = _samples(spec) if texts is None else read_texts(texts, spec)
    by_pair: dict[Pair, list[Prompt]] = defaultdict(list)
    for pair, text in rows:
        if len(by_pair[pair]) < 2 * per_pair and (prompt := encode_prompt(encoder, pair, text)):
            by_pair[pair].append(prompt)
    usable = {pair: prompts for pair, prompts in by_pair.items() if len(prompts) > 1}
    if not usable:
        raise BrokenText(
            f"{texts or 'yiwen'} has no two texts in any language that this release translates from: "
            "bring some with --calibration FILE"
        )
    return PromptSplit(
        calibration=_in_turns(prompts[::2] for prompts in usable.values()),
        gate=tuple(prompt for prompts in usable.values() for prompt in prompts[1::2]),
        without_texts=tuple(pair for pair in spec.pairs if pair not in usable),
    )


def read_texts(path: Path, spec: TranslationSpec) -> list[tuple[Pair, str]]:
    """The texts of a UTF-8 file, one per line: ``source⇥target⇥text``, or only the text for the first pair.

    Args:
        path: of the file.
        spec: of the release.

    Raises:
        BrokenText: it cannot be read, or a line names a pair that the release does not translate.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise BrokenText(f"{path} cannot be read as UTF-8 text: {error}") from error
    rows: list[tuple[Pair, str]] = []
    for number, line in enumerate(lines, 1):
        source, tab, rest = line.partition("\t")
        target, second_tab, text = rest.partition("\t")
        pair = (source, target) if tab and second_tab else spec.pairs[0]
        if pair not in spec.pairs:
            known = ", ".join(" to ".join(each) for each in spec.pairs)
            raise BrokenText(
                f"{path}, line {number}: the release translates {known}, not {source} to {target}"
            )
        if (chosen := (text if second_tab else line).strip()) != "":
            rows.append((pair, chosen))
    return rows


def _samples(spec: TranslationSpec) -> list[tuple[Pair, str]]:
    return [(pair, text) for pair in spec.pairs for text in sample_texts(pair[0])]


def _in_turns(groups: Iterable[Sequence[Prompt]]) -> tuple[Prompt, ...]:
    """Interleave groups: the first of each, then the second of each, so a short prefix covers all pairs."""
    ordered = list(groups)
    longest = max(map(len, ordered), default=0)
    return tuple(group[index] for index in range(longest) for group in ordered if index < len(group))
