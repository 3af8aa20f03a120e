"""The transformer as KServe sees it: tensors to messages, the pipeline, messages to tensors. Nothing else.

Decoding of bodies, error answers, drain and cancellation are the server's (:mod:`serving`).
"""

from __future__ import annotations

from protocol.codec import (
    InferRequest,
    InferResponse,
    infer_from_translate_response,
    translate_request_from_infer,
)
from protocol.messages import TranslateResponse
from protocol.release import TRANSLATION_FILE, Release, load_release, load_translation_spec
from protocol.tensors import TRANSLATE_INPUTS, TRANSLATE_OUTPUTS
from serving.model import Call, ServedModel
from transformer.client import PredictorClient, travelling_headers
from transformer.config import TransformerConfig
from transformer.generation import Generator
from transformer.guards import Guards
from transformer.languages import Languages
from transformer.metrics import TransformerMetrics
from transformer.pipeline import Bounds, Pipeline
from transformer.tiers import TieredCache, create_tiers
from transformer.tokenizer import load_tokenizer

PLATFORM = "yiwen_transformer"


class TranslatorModel(ServedModel):
    """Serves one release's languages; healthy between :meth:`open` and :meth:`close`."""

    def __init__(
        self,
        name: str,
        release: Release,
        pipeline: Pipeline,
        predictor: PredictorClient,
        cache: TieredCache,
    ) -> None:
        super().__init__(name, TRANSLATE_INPUTS, TRANSLATE_OUTPUTS, PLATFORM, versions=(release.id,))
        self._pipeline = pipeline
        self._predictor = predictor
        self._cache = cache
        self._open = False

    async def infer(self, request: InferRequest, call: Call) -> InferResponse:
        """Translate the request's texts.

        Raises:
            YiwenError: as :meth:`transformer.pipeline.Pipeline.translate` says.
        """
        wanted = translate_request_from_infer(request)
        call.notes["texts"] = len(wanted.texts)
        answer = await self._pipeline.translate(wanted, travelling_headers(call.request_id, call.headers))
        call.notes.update(_counts(answer))
        return infer_from_translate_response(answer, request)

    def is_healthy(self) -> bool:
        """True while requests can be taken. The predictor's health is its own: a cache hit needs none of it."""
        return self._open

    async def open(self) -> None:
        """Make the connection pool."""
        await self._predictor.open()
        self._open = True

    async def close(self) -> None:
        """Close the connection pools, after what waits for the shared cache is written to it."""
        self._open = False
        await self._predictor.close()
        await self._cache.close()


def create_model(
    config: TransformerConfig,
    *,
    name: str | None,
    max_deadline_ms: int,
    metrics: TransformerMetrics | None = None,
) -> TranslatorModel:
    """Load the release and put the parts together; nothing is connected yet.

    Args:
        config: this service's settings.
        name: model name in the URLs; None takes the release's.
        max_deadline_ms: deadline of requests that bring none, and the longest allowed.
        metrics: None makes them in the process' own registry.

    Raises:
        ReleaseError: the release cannot be used.
        SettingsError: a file that the settings name cannot be read.
    """
    release = load_release(config.release)
    spec = load_translation_spec(config.release / TRANSLATION_FILE)
    tokenizer = load_tokenizer(config.release, spec, release.limits.max_sequence_tokens)
    name = name or release.name
    metrics = metrics or TransformerMetrics(release.id)
    predictor = PredictorClient(config, config.predictor_model or name, metrics)
    cache = create_tiers(config, release.id, metrics)
    pipeline = Pipeline(
        release=release.id,
        bounds=Bounds(config.max_texts, max_deadline_ms, split_always=spec.sentences == "always"),
        languages=Languages(spec),
        tokenizer=tokenizer,
        cache=cache,
        generator=Generator(
            release=release.id,
            tokenizer=tokenizer,
            guards=Guards(spec),
            predictor=predictor,
            metrics=metrics,
        ),
        metrics=metrics,
    )
    return TranslatorModel(name, release, pipeline, predictor, cache)


def _counts(answer: TranslateResponse) -> dict[str, int]:
    counts: dict[str, int] = {}
    for translation in answer.translations:
        counts[translation.cache.value] = counts.get(translation.cache.value, 0) + 1
    return counts
