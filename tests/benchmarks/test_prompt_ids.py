from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain

import pytest

from benchmarks.prompt_ids.__main__ import check
from benchmarks.prompt_ids.prompts import control_tokens, plain_form, prompt_forms
from benchmarks.prompt_ids.published import byte_fallback, byte_level, byte_spelling
from predictor.builder.release.piece_vocabulary import Piece
from predictor.builder.release.recipes import load_recipe
from protocol.prompt_encoder import PromptEncoder
from protocol.prompt_filling import Filling
from tests.predictor.builder.release.test_recipes import PROMPTS, TEXT
from tests.protocol.tokenizer_kinds import KINDS, LLAMA3, SENTENCES, TEXTS


@pytest.mark.parametrize("kind", ["gemma", "unigram"])
def test_prompts_of_all_recipes_have_the_whole_strings_ids(kind: str) -> None:
    row = check(kind, KINDS[kind](), texts=TEXTS[::4], hostile=40)
    assert row.first_difference == ""
    assert row.prompts == row.equal
    assert row.prompts > 500
    assert (row.hostile, row.injected) == (40, 0)


def test_a_tokenizer_that_is_served_differently_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison itself can fail: text and template encoded apart, as they once were."""

    def apart(self: PromptEncoder, fillings: Sequence[Filling]) -> list[list[list[int]]]:
        def ids(filling: Filling) -> list[int]:
            literals = filling.template.spans[0].literals
            parts = (literals[0], filling.text.text, literals[-1])
            return list(chain.from_iterable(self.encode_text(part) for part in parts))

        return [[ids(each)] * len(each.template.spans) for each in fillings]

    monkeypatch.setattr(PromptEncoder, "_span_ids", apart)
    row = check("mistral", KINDS["mistral"](), texts=TEXTS[:3], hostile=0)
    assert row.equal < row.prompts
    assert row.first_difference


def test_whole_strings_are_those_of_the_model_cards() -> None:
    for (name, source, target), prompt in PROMPTS.items():
        assert plain_form(load_recipe(name), source, target).whole(TEXT) == prompt
    assert "<|im_start|>" in control_tokens(load_recipe("qwen3"))


def test_sections_are_written_out() -> None:
    form = next(
        form for form in prompt_forms(load_recipe("smollm2")) if form.asked.context and form.asked.terms
    )
    whole = form.whole("Hello {text}")
    assert "{#" not in whole
    assert "parcel = colis\nNo. 12 = n° 12\n" in whole
    assert whole.endswith(
        "Answer with the translation alone.\n\nHello {text}<|im_end|>\n<|im_start|>assistant\n"
    )


def test_tokens_in_the_order_of_their_ranks_give_a_tokenizer_back() -> None:
    trained = KINDS["llama3"]()
    document = json.loads(trained.to_str())
    spelled = dict(document["model"]["vocab"].items())
    characters = byte_spelling()
    bytes_of = {characters[byte]: byte for byte in characters}
    decoded = {text: bytes(bytes_of[character] for character in text) for text in spelled}
    made = byte_level([decoded[text] for text in sorted(spelled, key=spelled.__getitem__)], LLAMA3)
    for text in TEXTS:
        assert made.encode(text).ids == trained.encode(text, add_special_tokens=False).ids


def test_pieces_with_scores_give_a_tokenizer_back() -> None:
    trained = KINDS["mistral"]()
    vocabulary = json.loads(trained.to_str())["model"]["vocab"]
    pieces = []
    for number, text in enumerate(sorted(vocabulary, key=vocabulary.__getitem__)):
        kind = 2 if text == "<unk>" else 6 if text.startswith("<0x") else 1
        pieces.append(Piece(text, -float(number), kind))
    made = byte_fallback(pieces, prefix=True)
    for text in SENTENCES:
        assert made.decode(made.encode(text).ids) == text
