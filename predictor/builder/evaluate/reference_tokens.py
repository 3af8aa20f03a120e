"""Prompts of a test set with the tokens of their references, which a release and its checkpoint both follow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from predictor.builder.errors import BrokenSet
from predictor.builder.evaluate.parallel_texts import ParallelText
from predictor.builder.int8.prompts import encode_prompt
from protocol.prompt_encoder import PromptEncoder
from protocol.release import load_release

Ids = npt.NDArray[np.int64]


def reference_tokens(directory: Path, texts: Sequence[ParallelText]) -> tuple[list[Ids], list[Ids]]:
    """Prompts and the tokens of each text's first reference, with the first stop token behind it; int64 [S] and [T].

    Texts that the release refuses, or whose reference is too long for it, are left out.

    Args:
        directory: of the release.
        texts: in pairs of the release.

    Raises:
        ReleaseError: the release cannot be read.
        BrokenSet: no text is left.
    """
    encoder, release = PromptEncoder.load(directory), load_release(directory)
    prompts, answers = [], []
    for each in texts:
        prompt = encode_prompt(encoder, each.pair, each.text)
        ids = [*encoder.encode_text(each.references[0]), *release.stop_token_ids[:1]]
        if prompt and len(prompt.token_ids) + len(ids) <= release.limits.max_sequence_tokens:
            prompts.append(np.array(prompt.token_ids, np.int64))
            answers.append(np.array(ids, np.int64))
    if not prompts:
        raise BrokenSet("every text of the set, or its reference, is too long for this release")
    return prompts, answers
