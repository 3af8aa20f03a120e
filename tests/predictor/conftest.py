"""A release and a runner small enough to check the engine exactly."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from predictor.batch import Batch, StepOutput
from predictor.sequence import Request, Sequence
from protocol.messages import GenerateRequest, GenerateResponse
from protocol.release import DecoderShape, Limits, Release

VOCAB = 50
STOP = 7


def next_token(tokens: tuple[int, ...]) -> int:
    """The language model of :class:`HashRunner`: any token depends on every token before it."""
    digest = hashlib.blake2b(np.array(tokens, np.int64).tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % VOCAB


class HashRunner:
    """A runner whose K/V cache is the tokens themselves, so that a wrong slot, length or order changes the answer."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.kv_bytes = 0
        self.cache: dict[int, list[int]] = {}
        self.batches: list[Batch] = []
        self.fail_next = 0

    def execute(self, batch: Batch) -> StepOutput:
        self.batches.append(batch)
        if self.fail_next:
            self.fail_next -= 1
            self.cache.clear()
            raise RuntimeError("made to fail")
        live = set(batch.decode_slots.tolist())
        self.cache = {slot: tokens for slot, tokens in self.cache.items() if slot in live}
        rows = []
        for slot, prompt in zip(batch.prefill_slots, batch.prompts, strict=True):
            assert slot not in self.cache, "a slot in use was given away"
            self.cache[slot] = list(prompt)
            rows.append(next_token(prompt))
        for slot, token, length in zip(
            batch.decode_slots.tolist(),
            batch.decode_tokens.tolist(),
            batch.decode_lengths.tolist(),
            strict=True,
        ):
            assert len(self.cache[slot]) == length
            self.cache[slot].append(token)
            rows.append(next_token(tuple(self.cache[slot])))
        ids = np.array([[row, (row + 1) % VOCAB] for row in rows], np.int32).reshape(-1, 2)
        logprobs = np.tile(np.array([-0.5, -1.5], np.float32), (len(rows), 1))
        return StepOutput(ids, logprobs)

    def close(self) -> None:
        self.cache.clear()


def answer_alone(prompt: tuple[int, ...], max_new_tokens: int) -> tuple[int, ...]:
    """What :class:`HashRunner` generates for a prompt that has the engine for itself."""
    tokens = list(prompt)
    for _ in range(max_new_tokens):
        token = next_token(tuple(tokens))
        if token == STOP:
            break
        tokens.append(token)
    return tuple(tokens[len(prompt) :])


def make_request(
    prompts: list[tuple[int, ...]], max_new_tokens: int = 8, deadline: float | None = None
) -> Request:
    message = GenerateRequest(tuple(prompts), (max_new_tokens,) * len(prompts))
    future: Future[GenerateResponse] = Future()
    request = Request(message, deadline, future)
    request.sequences = [
        Sequence(prompt, max_new_tokens, request, frozenset({STOP}), arrived=0.0) for prompt in prompts
    ]
    return request


RELEASE = Release(
    id="0123456789abcdef",
    name="test",
    family="LlamaForCausalLM",
    precision="float32",
    decoder=DecoderShape(layers=1, hidden=8, heads=1, kv_heads=1, head_dim=8, intermediate=8, vocab=VOCAB),
    limits=Limits(max_sequence_tokens=64, candidates=2),
    stop_token_ids=(STOP,),
    languages=("en", "zh"),
    provenance={},
    files={},
)


@pytest.fixture
def release() -> Release:
    return RELEASE


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()
