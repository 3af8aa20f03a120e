"""The predictor's KServe model: decodes a request, checks it, submits it to the engine, encodes the response.

A unary response is the engine's future; a stream is the deltas that the engine publishes before it resolves.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from predictor.errors import RunnerError
from predictor.llm_engine import LLMEngine
from predictor.request_phases import record_phases
from predictor.runners.base import Runner
from predictor.token_stream import TokenStream
from protocol.codec import (
    TOKEN_SERVICE,
    InferRequest,
    InferResponse,
    decode_rest_request,
    decode_token_stream_request,
    document_from_delta,
    encode_token_delta,
    generate_request_from_infer,
    infer_from_generate_response,
)
from protocol.deadline import Deadline
from protocol.error_codes import ErrorCode
from protocol.errors import InvalidRequest, ReleaseMismatch
from protocol.messages import GenerateRequest, TokenDelta
from protocol.priority import urgency_of
from protocol.release import Release
from protocol.tensors import GENERATE_INPUTS, GENERATE_OUTPUTS
from serving.model import RequestInfo, ServedModel

logger = logging.getLogger(__name__)


class PredictorModel(ServedModel):
    """Token ids in, token ids out, over the v2 protocol."""

    component = "predictor"
    stream_service = TOKEN_SERVICE
    error_codes = ErrorCode.of_predictor()

    def __init__(
        self,
        name: str,
        release: Release,
        engine: LLMEngine,
        runner: Runner,
        *,
        max_deadline_ms: int,
        default_deadline_ms: int = 30_000,
    ) -> None:
        """Serve ``engine`` under ``name``.

        Args:
            name: of the model in the URL.
            release: what the engine runs; requests for another are refused with 409.
            engine: not started yet.
            runner: the engine's; closed once the engine has stopped.
            max_deadline_ms: longest deadline that a request may set, milliseconds.
            default_deadline_ms: deadline of requests that set none, milliseconds.
        """
        super().__init__(
            name, GENERATE_INPUTS, GENERATE_OUTPUTS, platform="yiwen_llm", versions=(release.id,)
        )
        self._release = release
        self._engine = engine
        self._runner = runner
        self._max_deadline_ms = max_deadline_ms
        self._default_deadline_ms = default_deadline_ms

    async def open(self) -> None:
        self._engine.start()

    async def close(self) -> None:
        # The engine collects its steps before it stops: a thread waits for that, not the event loop.
        await asyncio.to_thread(self._stop)

    def is_healthy(self) -> bool:
        return self._engine.is_ready

    async def infer(self, request: InferRequest, info: RequestInfo) -> InferResponse:
        message = replace(generate_request_from_infer(request), urgency=urgency_of(info.headers))
        check_request(message, self._release)
        future = self._engine.submit(message, deadline=self._deadline(message, info))
        try:
            # Cancelling this coroutine cancels the engine's future, which frees the slots.
            response = await asyncio.wrap_future(future)
        finally:
            record_phases(future.sequences, time.monotonic())
        return infer_from_generate_response(response, request)

    async def stream(self, body: bytes, info: RequestInfo) -> AsyncGenerator[dict[str, object], None]:
        """Token ids as they are generated; ``body`` is that of an inference request."""
        message = generate_request_from_infer(decode_rest_request(body, info.headers, self.name))
        async with aclosing(self._deltas(message, info)) as deltas:
            async for delta in deltas:
                yield document_from_delta(delta)

    async def stream_messages(self, message: bytes, info: RequestInfo) -> AsyncGenerator[bytes, None]:
        """The same over gRPC, in the messages of ``yiwen.v1.TokenGeneration``."""
        asked = decode_token_stream_request(message)
        self.check_address(asked.model_name, asked.model_version)
        async with aclosing(self._deltas(asked.request, info)) as deltas:
            async for delta in deltas:
                yield encode_token_delta(delta)

    async def _deltas(self, message: GenerateRequest, info: RequestInfo) -> AsyncGenerator[TokenDelta, None]:
        message = replace(message, urgency=urgency_of(info.headers))
        check_request(message, self._release)
        tokens = TokenStream()
        future = self._engine.submit(message, deadline=self._deadline(message, info), subscriber=tokens)
        try:
            async with aclosing(tokens.follow(future)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            record_phases(future.sequences, time.monotonic())

    def _stop(self) -> None:
        self._engine.stop()
        try:
            self._runner.close()
        except RunnerError as error:  # every request is resolved, and the process frees the memory
            logger.warning("the runner could not be closed", extra={"fields": {"error": str(error)}})

    def _deadline(self, message: GenerateRequest, info: RequestInfo) -> Deadline:
        return Deadline.of_request(
            message.deadline_ms,
            default_ms=self._default_deadline_ms,
            max_ms=self._max_deadline_ms,
            received_at=info.received_at,
        )


def check_request(request: GenerateRequest, release: Release) -> None:
    """Refuse token ids that this release cannot run.

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
