"""Reads the test set that a command names, and chooses the texts that a release translates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from predictor.builder.errors import BrokenSet
from predictor.builder.evaluate.benchmark_sets import flores_texts, sacrebleu_texts
from predictor.builder.evaluate.language_match import match_language
from predictor.builder.evaluate.parallel_texts import Pair, ParallelText, read_parallel_texts
from protocol.translation_spec import TranslationSpec


@dataclass(frozen=True, slots=True)
class SetChoice:
    """A test set, and what of it is used."""

    name: str
    """A file, ``flores:DIR``, or the name of one of sacrebleu's sets."""
    references: Path | None = None
    """Translations of a plain file's lines."""
    pairs: str | None = None
    """Such as ``en-fr,en-zh``; None means all."""
    limit: int | None = None
    """Most texts of a pair, spread evenly over the set."""
    download: bool = False
    """Whether sacrebleu may fetch a set."""


def read_set(
    choice: SetChoice, specs: Sequence[TranslationSpec]
) -> tuple[list[ParallelText], Mapping[Pair, int]]:
    """The texts in pairs that every release translates, and how many there are of each other pair.

    Args:
        choice: of the set.
        specs: of the releases.

    Raises:
        BrokenSet: there is no such set, it cannot be read, or it has no text in those pairs.
    """
    pairs = _pairs(choice.pairs, specs)
    return choose_texts(_read(choice, specs[0], pairs), specs[0], pairs, choice.limit)


def choose_texts(
    texts: Sequence[ParallelText], spec: TranslationSpec, wanted: Sequence[Pair], limit: int | None
) -> tuple[list[ParallelText], dict[Pair, int]]:
    """The texts to translate, in pairs of the release, and how many there are of each pair that it lacks.

    Args:
        texts: of the set.
        spec: of the release.
        wanted: pairs to translate.
        limit: most texts of a pair, spread evenly over the set; None takes all.

    Raises:
        BrokenSet: nothing is left.
    """
    chosen: dict[Pair, list[ParallelText]] = {}
    skipped: dict[Pair, int] = {}
    for each in texts:
        pair = (match_language(each.pair[0], spec.languages), match_language(each.pair[1], spec.languages))
        if (known := next((one for one in wanted if one == pair), None)) is None:
            skipped[each.pair] = skipped.get(each.pair, 0) + 1
        else:
            chosen.setdefault(known, []).append(ParallelText(known, each.text, each.references))
    if not chosen:
        has = ", ".join(" to ".join(pair) for pair in skipped)
        asked = ", ".join(" to ".join(pair) for pair in wanted)
        raise BrokenSet(f"the set translates {has}, and nothing of {asked}")
    return [text for group in chosen.values() for text in _spread(group, limit)], skipped


def _pairs(asked: str | None, specs: Sequence[TranslationSpec]) -> list[Pair]:
    """The pairs to evaluate, which every release translates.

    Raises:
        BrokenSet: a pair that was asked for is not among them, or there is none.
    """
    common = [pair for pair in specs[0].pairs if all(pair in spec.pairs for spec in specs)]
    if asked is None:
        if not common:
            raise BrokenSet("the two releases have no language pair in common")
        return common
    by_name = {"-".join(pair): pair for pair in common}
    names = [name.strip() for name in asked.split(",") if name.strip()]
    if unknown := [name for name in names if name not in by_name]:
        raise BrokenSet(f"--pairs {', '.join(unknown)}: the release translates {', '.join(by_name)}")
    return [by_name[name] for name in names]


def _read(choice: SetChoice, spec: TranslationSpec, pairs: Sequence[Pair]) -> list[ParallelText]:
    """All texts of the set, in any pair."""
    scheme, _, directory = choice.name.partition(":")
    if scheme == "flores":
        if not directory or not Path(directory).is_dir():
            raise BrokenSet(
                f"--set {choice.name} names no directory: it is --set flores:DIR, where DIR holds your copy "
                "of FLORES, with files such as devtest/eng_Latn.devtest. Its publisher asks for "
                "consent to terms, so it is not fetched"
            )
        return flores_texts(Path(directory), pairs, spec.languages)
    path = Path(choice.name)
    if path.is_file():
        only = pairs[0] if choice.pairs is not None and len(pairs) == 1 else None
        return read_parallel_texts(path, references=choice.references, pair=only)
    if path.exists() or "/" in choice.name:
        raise BrokenSet(f"{choice.name} is no file: name a .tsv, .jsonl or plain text file, or flores:DIR")
    return sacrebleu_texts(choice.name, pairs, spec.languages, download=choice.download)


def _spread(group: Sequence[ParallelText], limit: int | None) -> list[ParallelText]:
    if limit is None or len(group) <= limit:
        return list(group)
    return [group[index * len(group) // limit] for index in range(limit)]
