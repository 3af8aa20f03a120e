"""What generation and streaming ask of the way to the predictor; :mod:`transformer.predictors.router` offers it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

from protocol.messages import GenerateRequest, GenerateResponse, TokenDelta
from transformer.predictors.readiness import ColdStartStatus


class Predictor(Protocol):
    """Who continues prompts."""

    async def generate(self, request: GenerateRequest, headers: Mapping[str, str]) -> GenerateResponse:
        """Have prompts continued."""
        ...


class StreamingPredictor(Predictor, Protocol):
    """Who also continues them token by token."""

    def stream(
        self, request: GenerateRequest, headers: Mapping[str, str]
    ) -> AsyncGenerator[TokenDelta | ColdStartStatus, None]:
        """Have prompts continued, token by token."""
        ...
