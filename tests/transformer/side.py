"""A whole transformer in this process, without the HTTP in front of it: one side of a canary."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
from prometheus_client import CollectorRegistry

from protocol.codec import decode_rest_request, encode_rest_response
from protocol.release import load_release
from serving.model import RequestInfo
from transformer.config import TransformerConfig
from transformer.metrics import TransformerMetrics
from transformer.model import TranslatorModel, create_model


@dataclass(frozen=True)
class Side:
    release: str
    model: TranslatorModel
    registry: CollectorRegistry

    async def translate(self, text: str) -> str:
        """The translation to Chinese, which must be of this side's release."""
        tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
        body = orjson.dumps({"inputs": [tensor], "parameters": {"source": "en", "target": "zh"}})
        request = decode_rest_request(body, {"content-type": "application/json"}, self.model.name)
        response = await self.model.infer(request, RequestInfo("id", {}, "rest"))
        document = orjson.loads(encode_rest_response(response, request)[0])
        assert document["parameters"]["release"] == self.release
        outputs = {output["name"]: output["data"] for output in document["outputs"]}
        translation: str = outputs["translation"][0]
        return translation

    def searches(self, result: str) -> float:
        """How many searches for this side's release ended so."""
        name = "yiwen_transformer_release_searches_total"
        return self.registry.get_sample_value(name, {"result": result}) or 0.0


@asynccontextmanager
async def opening(
    release: Path, predictor_url: str, *, tagged: tuple[str, ...] = (), release_check_s: float = 60.0
) -> AsyncIterator[Side]:
    """A transformer of the release in directory ``release``, without a cache."""
    config = TransformerConfig(
        release,
        predictor_url,
        predictor_model="tiny",
        predictor_tagged_urls=tagged,
        release_check_s=release_check_s,
        cache_bytes=0,
    )
    release_id, registry = load_release(release).id, CollectorRegistry()
    metrics = TransformerMetrics(registry)
    model = create_model(config, name="tiny", max_deadline_ms=60_000, metrics=metrics)
    await model.open()
    try:
        yield Side(release_id, model, registry)
    finally:
        await model.close()
