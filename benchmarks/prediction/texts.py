"""Titles for the load, with the lengths in tokens that the simulator gets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from benchmarks.transformer_stages.job import LoadRequest, Target
from benchmarks.transformer_stages.setting import SOURCE, TARGET, infer_body, titles
from knative.simulator.load.trace import Trace
from protocol.prompt_encoder import PromptEncoder, PromptText
from protocol.release import TOKENIZER_DIR


@dataclass(frozen=True, slots=True)
class Texts:
    """Titles and their lengths in tokens. Every load takes them in order from the first one."""

    texts: tuple[str, ...]
    prompt_tokens: tuple[int, ...]
    new_tokens: tuple[int, ...]
    """Tokens of each answer, with the stop token."""

    def requests(self, target: Target, count: int, texts: int = 1) -> tuple[LoadRequest, ...]:
        """Translation requests of ``texts`` titles each."""
        order = self._order(count, texts).tolist()
        return tuple(LoadRequest(target, infer_body([self.texts[index] for index in row])) for row in order)

    def lengths_of(self, trace: Trace, texts: int = 1) -> Trace:
        """The trace with the mean of the real lengths of each request's titles."""
        order = self._order(len(trace), texts)
        prompts, answers = np.array(self.prompt_tokens)[order], np.array(self.new_tokens)[order]
        return dataclasses.replace(
            trace,
            prompt_tokens=np.rint(prompts.mean(axis=1)).astype(np.int64),
            new_tokens=np.rint(answers.mean(axis=1)).astype(np.int64),
        )

    def _order(self, requests: int, texts: int) -> npt.NDArray[np.int64]:
        """[requests, texts] number of each title."""
        return np.arange(requests * texts).reshape(requests, texts) % len(self.texts)


def encode_titles(release: Path, count: int) -> Texts:
    """Titles of the demo model's grammar, with the tokens of their prompts and of their correct answers."""
    encoder = PromptEncoder.load(release)
    plain = Tokenizer.from_file(str(release / TOKENIZER_DIR / "tokenizer.json"))
    pairs = list(islice(titles(), count))
    wanted = [PromptText(text, SOURCE, TARGET, index) for index, (text, _) in enumerate(pairs)]
    prompts = tuple(len(prompt.token_ids) for prompt in encoder.encode(wanted))
    answers = tuple(len(plain.encode(answer, add_special_tokens=False).ids) + 1 for _, answer in pairs)
    return Texts(tuple(text for text, _ in pairs), prompts, answers)
