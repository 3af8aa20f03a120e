"""The transformer as KServe sees it: the wire to messages, the pipeline, messages to the wire. Nothing else.

Decoding of bodies, error answers, drain and cancellation are the server's (:mod:`serving`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from protocol.codec import (
    TEXT_SERVICE,
    InferRequest,
    InferResponse,
    decode_text_stream_request,
    document_from_text,
    document_from_text_delta,
    encode_text_delta,
    encode_warming,
    infer_from_translate_response,
    translate_request_from_generate,
    translate_request_from_infer,
)
from protocol.glossary import GLOSSARY_FILE, load_release_glossary
from protocol.messages import TranslateRequest, TranslateResponse
from protocol.prompt_encoder import PromptEncoder
from protocol.release import Release, load_release
from protocol.tensors import TRANSLATE_INPUTS, TRANSLATE_OUTPUTS
from protocol.text_stream import TextDelta, TextEnd
from serving.model import NamedEvent, RequestInfo, ServedModel
from transformer.cache.tiers import TieredCache, create_tiers
from transformer.config import TransformerConfig
from transformer.generation.generator import Generator
from transformer.metrics import TransformerMetrics
from transformer.pipeline import Bounds, Pipeline
from transformer.predictors.client import forwarded_headers
from transformer.predictors.readiness import ColdStartStatus
from transformer.predictors.router import PredictorRouter
from transformer.streaming.streamed_generation import StreamedGenerator
from transformer.streaming.text_stream import TextGeneration
from transformer.texts.glossary import GlossaryMatcher
from transformer.texts.guards import Guards
from transformer.texts.languages import Languages

PLATFORM = "yiwen_transformer"


class TranslatorModel(ServedModel):
    """Serves one release's languages; healthy between :meth:`open` and :meth:`close`."""

    stream_service = TEXT_SERVICE

    def __init__(
        self,
        name: str,
        release: Release,
        pipeline: Pipeline,
        texts: TextGeneration,
        predictor: PredictorRouter,
        cache: TieredCache,
    ) -> None:
        super().__init__(name, TRANSLATE_INPUTS, TRANSLATE_OUTPUTS, PLATFORM, versions=(release.id,))
        self._pipeline = pipeline
        self._texts = texts
        self._predictor = predictor
        self._cache = cache
        self._open = False

    async def infer(self, request: InferRequest, info: RequestInfo) -> InferResponse:
        """Translate the request's texts.

        Raises:
            YiwenError: as :meth:`transformer.pipeline.Pipeline.translate` says.
        """
        wanted = translate_request_from_infer(request)
        info.log_fields["texts"] = len(wanted.texts)
        answer = await self._pipeline.translate(wanted, forwarded_headers(info.request_id, info.headers))
        info.log_fields.update(_counts(answer))
        return infer_from_translate_response(answer, request)

    async def generate(self, body: bytes, info: RequestInfo) -> Mapping[str, object]:
        """Translate the request's one text.

        Raises:
            YiwenError: as :meth:`infer`.
        """
        wanted = translate_request_from_generate(body)
        text, end = await self._texts.whole(wanted, forwarded_headers(info.request_id, info.headers))
        _note(end, info)
        return document_from_text(text, end, self.name)

    async def stream(
        self, body: bytes, info: RequestInfo
    ) -> AsyncGenerator[Mapping[str, object] | NamedEvent, None]:
        """As :meth:`generate`, in pieces. While the predictor is being started, an event ``warming`` says so."""
        async with aclosing(self._stream(translate_request_from_generate(body), info)) as items:
            async for item in items:
                if isinstance(item, ColdStartStatus):
                    yield NamedEvent("warming", {"waited_s": round(item.waited_s, 3)})
                else:
                    yield document_from_text_delta(item, self.name)

    async def stream_messages(self, message: bytes, info: RequestInfo) -> AsyncGenerator[bytes, None]:
        """As :meth:`stream`, in the messages of ``yiwen.v1.TextGeneration``."""
        asked = decode_text_stream_request(message)
        self.check_address(asked.model_name, asked.model_version)
        async with aclosing(self._stream(asked.request, info)) as items:
            async for item in items:
                if isinstance(item, ColdStartStatus):
                    yield encode_warming(item.waited_s)
                else:
                    yield encode_text_delta(item)

    async def _stream(
        self, wanted: TranslateRequest, info: RequestInfo
    ) -> AsyncGenerator[TextDelta | ColdStartStatus, None]:
        headers = forwarded_headers(info.request_id, info.headers)
        async with aclosing(self._texts.stream(wanted, headers)) as items:
            async for item in items:
                if isinstance(item, TextDelta) and item.end is not None:
                    _note(item.end, info)
                yield item

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
        await self._pipeline.close()
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
    tokenizer = PromptEncoder.load(config.release)
    spec = tokenizer.spec
    name = name or release.name
    metrics = metrics or TransformerMetrics(release.id)
    router = PredictorRouter(config, config.predictor_model or name, release.id, metrics)
    guards = Guards(spec)
    generator = Generator(
        release=release.id, tokenizer=tokenizer, guards=guards, predictor=router, metrics=metrics
    )
    cache = create_tiers(config, release.id, metrics)
    pipeline = Pipeline(
        release=release.id,
        bounds=Bounds(config.max_texts, max_deadline_ms, split_always=spec.sentences == "always"),
        languages=Languages(spec),
        tokenizer=tokenizer,
        cache=cache,
        sharing=cache,
        generator=generator,
        metrics=metrics,
        glossaries=GlossaryMatcher.of_release(
            load_release_glossary(config.release / GLOSSARY_FILE, spec.pairs)
        ),
    )
    streamed = StreamedGenerator(
        release=release.id, tokenizer=tokenizer, generator=generator, predictor=router
    )
    texts = TextGeneration(release=release.id, pipeline=pipeline, generator=streamed)
    return TranslatorModel(name, release, pipeline, texts, router, cache)


def _counts(answer: TranslateResponse) -> dict[str, int]:
    counts: dict[str, int] = {}
    for translation in answer.translations:
        counts[translation.cache.value] = counts.get(translation.cache.value, 0) + 1
    return counts


def _note(end: TextEnd, info: RequestInfo) -> None:
    """What the log line of one text says."""
    info.log_fields.update(texts=1, segments=end.usage.segments, generated_tokens=end.usage.generated_tokens)
    info.log_fields[end.cache.value] = 1
