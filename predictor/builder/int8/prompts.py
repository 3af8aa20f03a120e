"""Texts as prompts of a release, for calibration and for the quality gate.

The texts are those of :mod:`predictor.builder.int8.sample_texts` or of a file. Every other one of a language pair is
for calibration and the rest for the gate, so that no plan is measured with what it was fitted to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from predictor.builder.errors import BrokenText
from predictor.builder.int8.sample_texts import sample_texts
from predictor.builder.release.text_files import TOKENIZER_FILE
from protocol.release import TOKENIZER_DIR, TRANSLATION_FILE, TranslationSpec, load_translation_spec

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One text, ready to be answered."""

    pair: Pair
    """Source and target."""
    token_ids: tuple[int, ...]
    max_new_tokens: int
    """As the release's limits have it for this text."""


@dataclass(frozen=True, slots=True)
class PromptSplit:
    """The prompts of a release, each pair's together."""

    calibration: tuple[Prompt, ...]
    gate: tuple[Prompt, ...]
    without_texts: tuple[Pair, ...]
    """Pairs of the release for which there is no text: nothing is known about them."""


class PromptWriter:
    """Encodes texts as the transformer does, and decodes answers."""

    def __init__(self, release: Path) -> None:
        """Read tokenizer and ``translation.json``.

        Raises:
            BrokenText: the tokenizer cannot be read.
            ReleaseError: ``translation.json`` cannot.
        """
        self.spec = load_translation_spec(release / TRANSLATION_FILE)
        path = release / TOKENIZER_DIR / TOKENIZER_FILE
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # of Rust, of no class of its own
            raise BrokenText(
                f"{path} cannot be read: {error}; check it with `yiwen release verify`"
            ) from error

    def write(self, pair: Pair, text: str) -> Prompt | None:
        """The prompt for a text; None where the text has more tokens than the release takes."""
        before, after = self.spec.template_parts(*pair)
        ids = self._encode(text)
        if not 0 < len(ids) <= self.spec.limits.max_source_tokens:
            return None
        token_ids = (*self._encode(before), *ids, *self._encode(after))
        return Prompt(pair, token_ids, self.spec.limits.new_tokens(len(ids)))

    def read(self, answer: Sequence[int]) -> str:
        """The text of an answer without its stop token."""
        return str(self._tokenizer.decode(list(answer), skip_special_tokens=False))

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids) if text else []


def split_prompts(writer: PromptWriter, texts: Path | None, *, per_pair: int) -> PromptSplit:
    """Prompts for every pair of the release.

    Args:
        writer: of the release.
        texts: a file, see :func:`read_texts`; None takes the built-in samples of the source languages.
        per_pair: most texts of a pair that go to each side, the first ones.

    Raises:
        BrokenText: the file cannot be read, or there is no usable text for any pair.
    """
    spec = writer.spec
    rows = _samples(spec) if texts is None else read_texts(texts, spec)
    by_pair: dict[Pair, list[Prompt]] = defaultdict(list)
    for pair, text in rows:
        if len(by_pair[pair]) < 2 * per_pair and (prompt := writer.write(pair, text)):
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
    """The texts of a UTF-8 file, one per line: ``source⇥target⇥text``, or the text alone for the first pair.

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
    """One of each group, then the next of each: any beginning of the result has all pairs in it."""
    ordered = list(groups)
    longest = max(map(len, ordered), default=0)
    return tuple(group[index] for index in range(longest) for group in ordered if index < len(group))
