"""The predictor's KServe model: decode, check, hand to the engine, encode. All state lives in the engine."""

from __future__ import annotations

import asyncio
import time

from predictor.llm_engine import LLMEngine
from protocol.codec import (
    InferRequest,
    InferResponse,
    generate_request_from_infer,
    infer_from_generate_response,
)
from protocol.errors import InvalidRequest, ReleaseMismatch
from protocol.messages import GenerateRequest
from protocol.release import Release
from protocol.tensors import GENERATE_INPUTS, GENERATE_OUTPUTS
from serving.model import Call, ServedModel


class PredictorModel(ServedModel):
    """Token ids in, token ids out, over the v2 protocol."""

    def __init__(self, name: str, release: Release, engine: LLMEngine, *, max_deadline_s: float) -> None:
        """Serve ``engine`` under ``name``.

        Args:
            name: of the model in the URL.
            release: what the engine runs; requests for another are refused with 409.
            engine: not started yet.
            max_deadline_s: seconds a request may take when it names no deadline, or a later one.
        """
        super().__init__(
            name, GENERATE_INPUTS, GENERATE_OUTPUTS, platform="yiwen_llm", versions=(release.id,)
        )
        self._release = release
        self._engine = engine
        self._max_deadline_s = max_deadline_s

    async def open(self) -> None:
        self._engine.start()

    async def close(self) -> None:
        # The engine finishes its step before it stops: a thread waits for that, not the event loop.
        await asyncio.to_thread(self._engine.stop)

    def is_healthy(self) -> bool:
        return self._engine.is_healthy

    async def infer(self, request: InferRequest, call: Call) -> InferResponse:
        message = generate_request_from_infer(request)
        check_request(message, self._release)
        future = self._engine.submit(message, deadline=self._deadline(message))
        # Cancelling this coroutine cancels the engine's future: that is how a gone caller frees its slots.
        response = await asyncio.wrap_future(future)
        return infer_from_generate_response(response, request)

    def _deadline(self, message: GenerateRequest) -> float:
        seconds = self._max_deadline_s
        if message.deadline_ms is not None:
            seconds = min(seconds, message.deadline_ms / 1000)
        return time.monotonic() + seconds


def check_request(request: GenerateRequest, release: Release) -> None:
    """Refuse what this release cannot run.

    Raises:
        ReleaseMismatch: the ids were made by another release's tokenizer.
        InvalidRequest: an id is outside the vocabulary (the codec refused negative ones).
    """
    if request.release is not None and request.release != release.id:
        raise ReleaseMismatch(
            f"these token ids belong to release {request.release}, this predictor serves {release.id}: "
            "send them to a predictor of their own release",
            serving=release.id,
        )
    vocab = release.decoder.vocab
    for index, prompt in enumerate(request.prompts):
        if max(prompt) >= vocab:
            raise InvalidRequest(
                f"input_ids of sequence {index} holds an id above {vocab - 1}, the vocabulary's last"
            )
