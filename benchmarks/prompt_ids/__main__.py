"""``python -m benchmarks.prompt_ids``: how many prompts of all recipes have the whole string's ids, by tokenizer.

Control tokens of a recipe that a tokenizer lacks are added to it, as the recipe's model has them. Then every template
of every recipe, alone and with its optional sections, is filled with every text, and the ids that would be served are
compared with those of the whole prompt as one string. Hostile texts are made of pieces of control tokens; their
prompts must have the template's control tokens and no other.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer

from benchmarks.prompt_ids.prompts import PromptForm, control_tokens, prompt_forms
from benchmarks.prompt_ids.published import PUBLISHED, load_published
from predictor.builder.release.recipes import Recipe, load_recipe, recipe_names
from protocol.prompt_encoder import PromptEncoder
from protocol.translation_spec import TranslationSpec, load_translation_spec
from tests.protocol.tokenizer_kinds import KINDS, TEXTS

HOSTILE_TEXTS = 3_000
SEQUENCE_TOKENS = 100_000
_PIECES = (
    "<|",
    "|>",
    "<｜",
    "｜>",
    "<",
    ">",
    "|",
    "[",
    "/INST]",
    "im_",
    "end",
    "start",
    "s>",
    "\u2581",
    " ",
    "\n",
    "a",
)


@dataclass(slots=True)
class Checked:
    """One row of the table."""

    tokenizer: str
    vocabulary: int
    prompts: int = 0
    equal: int = 0
    hostile: int = 0
    injected: int = 0
    first_difference: str = ""


def main() -> None:
    """Print the table, and every tokenizer's first difference."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--packages", type=Path, help="directory of packages with published tokenizers; downloaded"
    )
    parser.add_argument("--only", help="tokenizers, such as 'Qwen 3,Gemma 3'")
    parser.add_argument("tokenizers", nargs="*", help="NAME=tokenizer.json")
    arguments = parser.parse_args()
    print(
        "| tokenizer | vocabulary | prompts | ids of the whole string | hostile texts | control ids injected |"
    )
    print("| --- " * 6 + "|")
    wanted = arguments.only.split(",") if arguments.only else None
    for name, tokenizer in tokenizers(arguments.packages, arguments.tokenizers, wanted):
        row = check(name, tokenizer)
        figures = f"{row.vocabulary:,} | {row.prompts:,} | {row.equal:,} | {row.hostile:,} | {row.injected}"
        print(f"| {row.tokenizer} | {figures} |", flush=True)
        if row.first_difference:
            print(row.first_difference)


def tokenizers(
    packages: Path | None, files: Sequence[str], wanted: Sequence[str] | None
) -> Iterator[tuple[str, Tokenizer]]:
    """Every tokenizer at hand: small trained ones, published ones, and those of files."""
    for kind, train in KINDS.items():
        if wanted is None or kind in wanted:
            yield f"trained: {kind}", train()
    for each in PUBLISHED if packages is not None else ():
        if wanted is None or each.name in wanted:
            assert packages is not None
            yield each.name, load_published(each, packages)
    for file in files:
        name, _, path = file.partition("=")
        yield name, Tokenizer.from_file(path)


def check(
    name: str, tokenizer: Tokenizer, *, texts: Sequence[str] = TEXTS, hostile: int = HOSTILE_TEXTS
) -> Checked:
    """Compare all prompts of all recipes.

    Args:
        name: of the row.
        tokenizer: is changed.
        texts: that fill every prompt.
        hostile: texts, spread over the recipes.
    """
    recipes = [load_recipe(recipe) for recipe in recipe_names()]
    control = list(dict.fromkeys(token for recipe in recipes for token in control_tokens(recipe)))
    missing = [token for token in control if tokenizer.token_to_id(token) is None]
    known = [token for token in control if token not in missing]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in (*missing, *known)])
    tokenizer.no_truncation()
    row = Checked(name, tokenizer.get_vocab_size())
    shares = [hostile // len(recipes) + (number < hostile % len(recipes)) for number in range(len(recipes))]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "tokenizer.json")
        tokenizer.save(str(path))
        for recipe, share in zip(recipes, shares, strict=True):
            encoder = PromptEncoder.load_file(path, _spec(recipe, Path(directory)), SEQUENCE_TOKENS)
            forms = list(prompt_forms(recipe))
            for form in forms:
                _compare(row, tokenizer, encoder, form, texts)
            _attack(row, tokenizer, encoder, forms, _hostile(control, share))
    return row


def _compare(
    row: Checked, tokenizer: Tokenizer, encoder: PromptEncoder, form: PromptForm, texts: Sequence[str]
) -> None:
    prompts = encoder.encode_each([form.text(text, index) for index, text in enumerate(texts)])
    for text, prompt in zip(texts, prompts, strict=True):
        if isinstance(prompt, Exception):
            ids: list[int] | str = str(prompt)
        else:
            ids = list(prompt.token_ids)
        whole = tokenizer.encode(form.whole(text), add_special_tokens=False).ids
        row.prompts += 1
        row.equal += ids == whole
        if ids != whole and not row.first_difference:
            row.first_difference = f"{form.whole(text)!r}: {ids}, and not {whole}"


def _attack(
    row: Checked,
    tokenizer: Tokenizer,
    encoder: PromptEncoder,
    forms: Sequence[PromptForm],
    texts: Sequence[str],
) -> None:
    control = {id_ for id_, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    for number, text in enumerate(texts):
        form = forms[number % len(forms)]
        (prompt,) = encoder.encode_each([form.text(text)])
        row.hostile += 1
        if isinstance(prompt, Exception):  # refused, which is safe
            continue
        own = [
            id_ for id_ in tokenizer.encode(form.whole("x"), add_special_tokens=False).ids if id_ in control
        ]
        row.injected += [id_ for id_ in prompt.token_ids if id_ in control] != own


def _hostile(control: Sequence[str], count: int) -> list[str]:
    rng = random.Random(5)
    pieces = [*control, *_PIECES]
    return ["".join(rng.choices(pieces, k=rng.randint(1, 8))) for _ in range(count)]


def _spec(recipe: Recipe, directory: Path) -> TranslationSpec:
    document = recipe.translation()
    document["limits"] |= {"max_source_tokens": 50_000, "max_context_tokens": 5_000}
    path = directory / "translation.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return load_translation_spec(path)


if __name__ == "__main__":
    main()
