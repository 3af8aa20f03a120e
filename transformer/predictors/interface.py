"""Interfaces of the predictor for generation and streaming; :mod:`transformer.predictors.router` implements them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

from protocol.messages import GenerateRequest, GenerateResponse, TokenDelta
from transformer.predictors.readiness import ColdStartStatus


class Predictor(Protocol):
    """Generates completions of prompts."""

    async def generate(self, request: GenerateRequest, headers: Mapping[str, str]) -> GenerateResponse:
        """Generate a completion of each prompt."""
        ...


class StreamingPredictor(Predictor, Protocol):
    """Also streams them."""

    def stream(
        self, request: GenerateRequest, headers: Mapping[str, str]
    ) -> AsyncGenerator[TokenDelta | ColdStartStatus, None]:
        """Stream the generated tokens."""
        ...
