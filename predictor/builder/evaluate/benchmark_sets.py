"""Test sets that are published: a copy of FLORES on this machine, and the sets that sacrebleu knows."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from predictor.builder.errors import BrokenSet
from predictor.builder.evaluate.language_match import match_language
from predictor.builder.evaluate.parallel_texts import Pair, ParallelText, parallel, read_lines
from protocol.translation_spec import Language

_SPLITS = ("devtest", "dev")


def flores_texts(
    directory: Path, pairs: Sequence[Pair], languages: Mapping[str, Language]
) -> list[ParallelText]:
    """The sentences of FLORES-200 or FLORES+ for these pairs; ``devtest`` if the copy has it, otherwise ``dev``.

    Args:
        directory: with ``devtest/eng_Latn.devtest`` and so on, or FLORES+'s ``devtest/eng_Latn.jsonl``.
        pairs: of the release.
        languages: of the release, by tag.

    Raises:
        BrokenSet: there is no such file for any of these pairs, or one cannot be read.
    """
    files: dict[str, Path] = {}
    split = next((name for name in _SPLITS if (directory / name).is_dir()), directory.name)
    for path in sorted((directory / split if (directory / split).is_dir() else directory).iterdir()):
        if path.suffix in (f".{split}", ".jsonl"):
            known = match_language(path.stem, languages)
            if known is not None:
                files.setdefault(known, path)
    texts = {tag: _sentences(path) for tag, path in files.items() if any(tag in pair for pair in pairs)}
    found = [(source, target) for source, target in pairs if source in texts and target in texts]
    if not found:
        raise BrokenSet(
            f"{directory} has no two languages of a pair of this release: it should hold files such as "
            "devtest/eng_Latn.devtest"
        )
    for pair in found:
        if len(texts[pair[0]]) != len(texts[pair[1]]):
            raise BrokenSet(
                f"{files[pair[0]]} and {files[pair[1]]} have different numbers of lines: copy them again"
            )
    return [text for pair in found for text in parallel(texts[pair[0]], texts[pair[1]], pair)]


def sacrebleu_texts(
    name: str, pairs: Sequence[Pair], languages: Mapping[str, Language], *, download: bool
) -> list[ParallelText]:
    """The texts of one of sacrebleu's sets for these pairs, from its cache (``~/.sacrebleu``).

    Args:
        name: of the set, such as ``wmt24``.
        pairs: of the release.
        languages: of the release, by tag.
        download: fetch the set where the cache lacks it.

    Raises:
        BrokenSet: there is no such set, it has none of these pairs, it is not cached, or it cannot be fetched.
    """
    from sacrebleu.dataset import DATASETS

    if name not in DATASETS:
        raise BrokenSet(
            f"{name}: no such file, and no set of sacrebleu's (`sacrebleu --list` prints those, such as wmt24). "
            "For FLORES name the directory of your copy: --set flores:DIR"
        )
    dataset = DATASETS[name]
    texts: list[ParallelText] = []
    for langpair in dataset.langpairs:
        source, target = langpair.split("-")
        wanted = (match_language(source, languages), match_language(target, languages))
        if (pair := next((each for each in pairs if each == wanted), None)) is not None:
            texts += _dataset_texts(dataset, langpair, pair, download=download)
    if not texts:
        raise BrokenSet(
            f"{name} has {', '.join(dataset.langpairs)}, none of which this release is asked to translate"
        )
    return texts


def _dataset_texts(dataset: Any, langpair: str, pair: Pair, *, download: bool) -> list[ParallelText]:  # noqa: ANN401
    """One pair of a set; sacrebleu's class carries no types."""
    fields = dataset.fieldnames(langpair)
    paths = {field: Path(dataset._get_txt_file_path(langpair, field)) for field in fields}
    if not all(path.exists() for path in paths.values()):
        archives = [Path(dataset._rawdir, dataset._get_tarball_filename(url)) for url in dataset.data]
        if not download and not all(archive.is_file() and archive.stat().st_size for archive in archives):
            raise BrokenSet(
                f"{dataset.name} is not in sacrebleu's cache: run again with --download, which fetches it from "
                f"{' and '.join(dataset.data)}"
            )
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                dataset.process_to_text(langpair)
        except (Exception, SystemExit) as error:
            raise BrokenSet(f"sacrebleu cannot provide {dataset.name}: {error}") from error
    sources = read_lines(paths["src"])
    references = [read_lines(path) for field, path in paths.items() if field.startswith("ref")]
    return [
        ParallelText(pair, text.strip(), tuple(each.strip() for each in translations if each.strip()))
        for text, *translations in zip(sources, *references, strict=True)
        if text.strip() and any(each.strip() for each in translations)
    ]


def _sentences(path: Path) -> list[str]:
    lines = read_lines(path)
    if path.suffix != ".jsonl":
        return lines
    try:
        return [str(json.loads(line)["text"]) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenSet(
            f"{path} is not a file of FLORES+: each line should be an object with `text`"
        ) from error
