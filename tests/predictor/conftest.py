"""A release and a runner small enough to check the engine exactly."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection

import numpy as np
import numpy.typing as npt
import pytest
from prometheus_client import CollectorRegistry

from predictor.batch import Batch, StepOutput
from predictor.errors import RunnerError
from predictor.sampler import sample
from predictor.sequence import RequestState
from protocol.deadline import Deadline
from protocol.messages import GenerateRequest, SamplingParams
from protocol.priority import DEFAULT_URGENCY
from protocol.release import DecoderShape, Limits, Release

VOCAB = 50
STOP = 7
GREEDY = SamplingParams()


Model = Callable[[tuple[int, ...]], int]
"""Tokens so far to the next one."""


def next_token(tokens: tuple[int, ...]) -> int:
    """The language model of :class:`HashRunner`: any token depends on every token before it."""
    digest = hashlib.blake2b(np.array(tokens, np.int64).tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % VOCAB


def looping_token(tokens: tuple[int, ...]) -> int:
    """A language model that falls into a loop: any token depends on the two before it alone."""
    return next_token((0, 0, *tokens)[-2:]) % 12


class HashRunner:
    """A runner whose K/V cache is the tokens themselves, so that a wrong slot, length or order changes the answer.

    Running ahead it works as a device does, which is not before the step is collected, and looks up tokens that
    the host does not know in the output of the step before.
    """

    def __init__(self, slots: int, *, runs_ahead: bool = False, model: Model = next_token) -> None:
        self.slots = slots
        self.model = model
        self.runs_ahead = runs_ahead
        self.kv_bytes = slots * 64
        self.kv_bytes_per_token = 1
        self.launches: dict[str, int] = {}
        self.cache: dict[int, list[int]] = {}
        self.batches: list[Batch] = []
        """All that were launched."""
        self.in_flight: list[Batch] = []
        self.previous = np.empty((0, 2), np.int32)
        """Candidate ids [B, K] of the step collected last."""
        self.failures: dict[int, str] = {}
        """Where a step fails, by its number: "launch", "collect", or in its "output", which is none."""
        self.deepest = 0
        """Most steps that were in flight together."""

    def launch(self, batch: Batch) -> None:
        number = len(self.batches)
        self.batches.append(batch)
        if self.failures.get(number) == "launch":
            self._fail()
        self.in_flight.append(batch)
        self.launches = {"graph": len(self.batches)}
        self.deepest = max(self.deepest, len(self.in_flight))
        assert self.deepest <= (2 if self.runs_ahead else 1), "too many steps in flight"

    def collect(self) -> StepOutput:
        number = len(self.batches) - len(self.in_flight)
        batch = self.in_flight.pop(0)
        if self.failures.get(number) == "collect":
            self._fail()
        live = {*batch.decode_slots.tolist(), *batch.held_slots.tolist()}
        self.cache = {slot: tokens for slot, tokens in self.cache.items() if slot in live}
        rows = []
        for slot, prompt in zip(batch.prefill_slots, batch.prompts, strict=True):
            assert slot not in self.cache, "a slot in use was given away"
            self.cache[slot] = list(prompt)
            rows.append(self.model(prompt))
        for slot, token, length, source in zip(
            batch.decode_slots.tolist(),
            batch.decode_tokens.tolist(),
            batch.decode_lengths.tolist(),
            batch.decode_sources.tolist(),
            strict=True,
        ):
            assert len(self.cache[slot]) == length
            self.cache[slot].append(token if source < 0 else int(self.previous[source, 0]))
            rows.append(self.model(tuple(self.cache[slot])))
        for slot, length in zip(batch.held_slots.tolist(), batch.held_lengths.tolist(), strict=True):
            assert len(self.cache[slot]) == length
        output = StepOutput(*candidates(rows))
        self.previous = output.candidate_ids
        return StepOutput(*candidates([])) if self.failures.get(number) == "output" else output

    def close(self) -> None:
        self.cache.clear()

    def _fail(self) -> None:
        self.cache.clear()
        self.in_flight.clear()
        self.previous = np.empty((0, 2), np.int32)
        raise RunnerError("made to fail")


def candidates(best: list[int]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Ids and log-probabilities [B, 2] of rows with the given best tokens."""
    ids = np.array([[token, (token + 1) % VOCAB] for token in best], np.int32).reshape(-1, 2)
    return ids, np.tile(np.array([-0.5, -1.5], np.float32), (len(best), 1))


def answer_alone(
    prompt: tuple[int, ...],
    max_new_tokens: int,
    *,
    params: SamplingParams = GREEDY,
    stops: Collection[int] = (STOP,),
    model: Model = next_token,
) -> tuple[int, ...]:
    """What :class:`HashRunner` generates for a prompt that has the engine for itself."""
    tokens = list(prompt)
    for position in range(max_new_tokens):
        output = StepOutput(*candidates([model(tuple(tokens))]))
        [token], _ = sample(output, [params], [position])
        if token in stops:
            break
        tokens.append(token)
    return tuple(tokens[len(prompt) :])


def make_request(
    prompts: list[tuple[int, ...]],
    max_new_tokens: int = 8,
    deadline: float | None = None,
    params: SamplingParams = GREEDY,
    urgency: int = DEFAULT_URGENCY,
) -> RequestState:
    message = GenerateRequest(tuple(prompts), (max_new_tokens,) * len(prompts), params, urgency=urgency)
    return RequestState.from_message(
        message,
        deadline=None if deadline is None else Deadline(deadline, timeout_s=deadline),
        subscriber=None,
        stop_token_ids=frozenset({STOP}),
        arrived=0.0,
    )


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
