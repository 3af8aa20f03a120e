"""A ``tokenizer.model``: converted ids are those of the SentencePiece library, or the conversion is refused."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer, decoders, models, normalizers

from predictor.builder.commands import app
from predictor.builder.errors import BrokenText
from predictor.builder.release.sentencepiece_check import Prefix, check_same_ids
from predictor.builder.release.sentencepiece_model import read_sentencepiece_model
from predictor.builder.release.sentencepiece_tokenizer import tokenizer_of_sentencepiece
from protocol.command_line import run_app
from protocol.prompt_encoder import PromptEncoder, PromptText
from protocol.release import load_release
from tests.predictor.builder.checkpoints import edit_json
from tests.predictor.builder.release.sentencepiece_files import (
    CORPUS,
    IDENTITY,
    KINDS,
    SHOP_TEXTS,
    VOCAB,
    WITHOUT_ANGLE,
    train,
    trained,
    write_model,
)
from tests.protocol.tokenizer_kinds import TEXTS
from tests.releases import SPECIAL_TOKENS, write_checkpoint

CHARACTERS = "aeinrstAZ 019.,!?'-<>|_/  \n\téßğ№жщаяאبनกあア漢字订单한글👍🏽½ﬁＡ▁"


def random_texts(count: int, seed: int = 0) -> list[str]:
    """Texts that nobody has written, so that no rule is met by chance alone."""
    rng = random.Random(seed)
    mixed = ["".join(rng.choices(CHARACTERS, k=rng.randint(1, 40))) for _ in range(count // 2)]
    cut = [" ".join(rng.choice(SHOP_TEXTS)[rng.randint(0, 5) :] for _ in range(3)) for _ in range(count // 2)]
    return [*mixed, *cut]


def begins_with_word(text: str) -> bool:
    return not text[:1].isspace() and not text.startswith(("▁", "<b>", "[SEP]"))


@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_texts_are_those_of_the_library(tmp_path: Path, kind: str) -> None:
    directory = write_model(tmp_path, kind)
    tokenizer = tokenizer_of_sentencepiece(directory)
    model = read_sentencepiece_model(directory / "tokenizer.model")
    unprefixed = kind == "llama, no prefix"
    library: Any = SentencePieceProcessor(model_proto=model.unprefixed() if unprefixed else model.content)
    tokenizer.encode_special_tokens = True
    texts = [*TEXTS, *SHOP_TEXTS, *random_texts(400)]
    if "legacy false" in kind or kind == "unigram, no bytes":  # see test_legacy
        texts = list(filter(begins_with_word, texts))
    for text in texts:
        if text in KINDS[kind].training.get("user_defined_symbols", ()):
            continue  # alone, it gets no space before it
        ids, expected = tokenizer.encode(text, add_special_tokens=False).ids, library.encode(text)
        in_order = (
            list if not model.is_unigram else sorted
        )  # the same pieces have the same score in any order
        assert in_order(ids) == in_order(expected), text
        if model.unknown not in ids:
            assert tokenizer.decode(ids) == library.decode(ids)
    assert tokenizer.get_vocab_size() == len(model.pieces) == library.get_piece_size()


@pytest.mark.parametrize(
    ("legacy", "behind_token", "before_space"),
    [(None, ["▁a", "▁b"], ["▁", "▁a"]), (True, ["▁a", "▁b"], ["▁", "▁a"]), (False, ["a", "▁b"], ["▁a"])],
)
def test_legacy_says_where_a_space_is_added(
    tmp_path: Path, legacy: bool | None, behind_token: list[str], before_space: list[str]
) -> None:
    tokenizer = tokenizer_of_sentencepiece(write_model(tmp_path, "llama", legacy=legacy))
    assert tokenizer.encode("a b").tokens == ["<s>", "▁a", "▁b"]
    assert tokenizer.encode("<s>a b", add_special_tokens=False).tokens == ["<s>", *behind_token]
    assert tokenizer.encode(" a", add_special_tokens=False).tokens == before_space


def test_settings_add_tokens_and_say_what_begins_a_text(tmp_path: Path) -> None:
    directory = write_model(
        tmp_path,
        "llama",
        added_tokens_decoder={
            "0": {"content": "<unk>", "special": True},
            str(VOCAB + 1): {"content": "<|im_end|>", "special": True, "rstrip": True},
        },
        bos_token={"content": "</s>"},
    )
    (directory / "added_tokens.json").write_text(json.dumps({"<|im_start|>": VOCAB}))
    tokenizer = tokenizer_of_sentencepiece(directory)
    added = {token.content: token for token in tokenizer.get_added_tokens_decoder().values()}
    assert tokenizer.token_to_id("<|im_start|>") == VOCAB
    ids = tokenizer.encode("a<|im_end|>  b").ids
    assert [tokenizer.id_to_token(each) for each in ids] == ["</s>", "▁a", "<|im_end|>", "▁b"]
    assert {text for text, token in added.items() if token.special} == {"<unk>", "<s>", "</s>", "<|im_end|>"}
    settings = json.loads((directory / "tokenizer_config.json").read_text())
    (directory / "tokenizer_config.json").write_text(json.dumps({**settings, "add_bos_token": False}))
    assert tokenizer_of_sentencepiece(directory).encode("a").tokens == ["▁a"]


def with_bytes(content: bytes) -> Callable[[Path], object]:
    return lambda directory: (directory / "tokenizer.model").write_bytes(content)


def trained_with(**options: Any) -> Callable[[Path], object]:
    return lambda directory: with_bytes(train(**options))(directory)


def with_settings(**settings: object) -> Callable[[Path], object]:
    return lambda directory: (directory / "tokenizer_config.json").write_text(json.dumps(settings))


REFUSED = {
    "no protobuf": (with_bytes(b"\x0f\xff nothing"), "is no model of SentencePiece, or is cut short: fetch it again"),
    "cut short": (lambda d: with_bytes(trained("llama")[:-50])(d), "is no model of SentencePiece"),
    "empty": (with_bytes(b""), "has 0 pieces, 0 of them for unknown characters"),
    "tiktoken": (with_bytes(b"IQ== 0\nIg== 1\n"), "is tiktoken's, not SentencePiece's: take the tokenizer.json"),
    "words": (trained_with(model_type="word", vocab_size=100), "its model_type is one that is not converted"),
    "suffixes": (
        trained_with(model_type="bpe", treat_whitespace_as_suffix=True),
        "its treat_whitespace_as_suffix is one that is not converted",
    ),
    "another class": (
        with_settings(tokenizer_class="T5Tokenizer"),
        "tokenizer_class is 'T5Tokenizer'.*known are LlamaTokenizer, .*: take the tokenizer.json",
    ),
    "broken settings": (lambda d: (d / "tokenizer_config.json").write_text("{"), "tokenizer_config.json cannot be"),
    "broken added tokens": (
        with_settings(added_tokens_decoder={"1400": "<|im_end|>"}),
        "added_tokens_decoder, or added_tokens.json, is not as transformers writes it",
    ),
    "another id": (
        with_settings(added_tokens_decoder={"9999": {"content": "<|im_end|>"}}),
        "'<|im_end|>' is to have id 9999, but gets 1400 behind the 1400 pieces",
    ),
    "a name in the vocabulary": (
        with_settings(added_tokens_decoder={"5": {"content": "</s>"}}),
        "'</s>' is to have id 5, but gets 2",
    ),
    # Its control tokens cannot be written as text: a character of their names is unknown, and costs more than they.
    "other ids": (
        trained_with(corpus=WITHOUT_ANGLE, model_type="unigram", byte_fallback=True),
        r"has other ids when converted: \['.*'\] from token \d+ on, and \['.*'\] in SentencePiece: take",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_converted_exactly_is_refused(tmp_path: Path, name: str) -> None:
    change, message = REFUSED[name]
    directory = write_model(tmp_path, "llama")
    change(directory)
    with pytest.raises(BrokenText, match=message.replace("|", r"\|")):
        tokenizer_of_sentencepiece(directory)


def worse_merges(tokenizer: Tokenizer) -> None:
    document = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(pair) for pair in document["merges"]]
    tokenizer.model = models.BPE(
        vocab=document["vocab"], merges=merges[::-1], unk_token="<unk>", fuse_unk=True, byte_fallback=True
    )


def lower_case(tokenizer: Tokenizer) -> None:
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), tokenizer.normalizer])


def no_prefix_behind_tokens(tokenizer: Tokenizer) -> None:
    tokenizer.normalizer = normalizers.Replace(" ", "▁")


def no_bytes(tokenizer: Tokenizer) -> None:
    tokenizer.decoder = decoders.Metaspace()


@pytest.mark.parametrize("spoil", [worse_merges, lower_case, no_prefix_behind_tokens, no_bytes])
def test_a_tokenizer_that_differs_is_found(tmp_path: Path, spoil: Callable[[Tokenizer], None]) -> None:
    directory = write_model(tmp_path, "llama")
    tokenizer, model = (
        tokenizer_of_sentencepiece(directory),
        read_sentencepiece_model(directory / "tokenizer.model"),
    )
    assert check_same_ids(tokenizer, model, Prefix.ALWAYS) > len(model.pieces)
    spoil(tokenizer)
    with pytest.raises(BrokenText, match=r"tokenizer\.model: .*SentencePiece: take the tokenizer\.json"):
        check_same_ids(tokenizer, model, Prefix.ALWAYS)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A random Llama with a ``tokenizer.model`` and no ``tokenizer.json``."""
    options = {"model_type": "unigram", "byte_fallback": True, "character_coverage": 1.0, **IDENTITY}
    model = train([*CORPUS, "| a | b |"], control_symbols=list(SPECIAL_TOKENS), **options)
    directory = tmp_path / "checkpoint"
    directory.mkdir()
    (directory / "tokenizer.model").write_bytes(model)
    (directory / "tokenizer_config.json").write_text(
        '{"add_bos_token": false, "chat_template": "{{ messages[0].content }}"}'
    )
    write_checkpoint(directory, tokenizer=tokenizer_of_sentencepiece(directory))
    (directory / "tokenizer.json").unlink()
    return directory


def test_a_release_has_the_converted_tokenizer(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["build", str(checkpoint), "-o", str(tmp_path / "release")]
    assert run_app(app, arguments, prog="release") == 0
    assert (
        "tokenizer.model was converted; its ids are those of the SentencePiece library"
        in capsys.readouterr().err
    )
    release = load_release(tmp_path / "release")
    assert release.provenance["converted_tokenizer"] == "tokenizer.model"
    assert {"tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"} < set(release.files)
    assert sorted(path.name for path in checkpoint.iterdir()) == [
        "config.json", "model.safetensors", "tokenizer.model", "tokenizer_config.json", "translation.json",
    ]  # fmt: skip
    encoder = PromptEncoder.load(tmp_path / "release")
    library: Any = SentencePieceProcessor(model_file=str(checkpoint / "tokenizer.model"))
    for text in ("Where is my order?", "a</s><|zh|><0x0A><unk>b", "订单\n\n  👍🏽"):
        (prompt,) = encoder.encode([PromptText(text, "en", "zh")])
        opening, *inner, closing = prompt.token_ids
        assert (opening, inner, closing) == (
            library.piece_to_id("<|en|>"), library.encode(text), library.piece_to_id("<|zh|>"),
        )  # fmt: skip
        assert encoder.decode(inner) == text


def test_a_template_is_written_from_the_chat_template(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end = tokenizer_of_sentencepiece(checkpoint).token_to_id("<|end|>")
    edit_json(checkpoint / "config.json", eos_token_id=end)
    assert run_app(app, ["template", str(checkpoint), "--languages", "en,fr"], prog="release") == 0
    assert json.loads(capsys.readouterr().out)["stop_tokens"] == ["<|end|>"]


def test_without_the_package_a_build_names_the_extra(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    arguments = ["build", str(checkpoint), "-o", str(tmp_path / "release")]
    assert run_app(app, arguments, prog="release") == 2
    wanted = (
        "sentencepiece is not installed, but needed: pip install '.[sentencepiece]' in a checkout of Yiwen\n"
    )
    assert capsys.readouterr().err.endswith(wanted)
    assert not (tmp_path / "release").exists()
