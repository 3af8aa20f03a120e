"""The transformer as a KServe model: tensors to messages, the pipeline, messages to tensors.

:mod:`serving` decodes bodies, answers errors, drains, and cancels requests whose caller has left.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
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
from protocol.integrity import check_file, release_files
from protocol.messages import TranslateRequest, TranslateResponse
from protocol.prompt_encoder import PromptEncoder
from protocol.release import TOKENIZER_DIR, TRANSLATION_FILE, Release, load_release
from protocol.template_sections import CONTEXT as TEMPLATE_CONTEXT
from protocol.tensors import CONTEXT, TRANSLATE_INPUTS, TRANSLATE_OUTPUTS
from protocol.text_stream import TextDelta, TextEnd
from serving.model import NamedEvent, RequestInfo, ServedModel
from serving.settings import SettingsError
from transformer.cache.redis_client import RedisStore
from transformer.cache.tiers import TieredCache, create_tiers, store_settings
from transformer.callers.admission import CallerAdmission
from transformer.callers.key_file import KeyFileError
from transformer.callers.key_ring import KeyRing
from transformer.callers.usage import MemoryUsage, RedisUsage
from transformer.config import TransformerConfig
from transformer.generation.fair_queue import FairQueue
from transformer.generation.generator import Generator
from transformer.generation.groups import Grouping
from transformer.metrics import TransformerMetrics
from transformer.pipeline import Bounds, Pipeline
from transformer.predictors.client import forwarded_headers
from transformer.predictors.readiness import ColdStartStatus
from transformer.predictors.router import PredictorRouter
from transformer.request_context import EVERYBODY, CallerShare
from transformer.streaming.streamed_generation import StreamedGenerator
from transformer.streaming.text_stream import TextGeneration
from transformer.suggestions.corrections import CorrectionTable
from transformer.text_workers import TextWorkers
from transformer.texts.bounds import TextBounds
from transformer.texts.glossary import GlossaryMatcher
from transformer.texts.guards import Guards
from transformer.texts.languages import Languages

PLATFORM = "yiwen_transformer"
_log = logging.getLogger("yiwen.transformer")


class TranslatorModel(ServedModel):
    """Serves one release's languages; healthy between :meth:`open` and :meth:`close`."""

    component = "transformer"
    stream_service = TEXT_SERVICE

    def __init__(
        self,
        name: str,
        release: Release,
        pipeline: Pipeline,
        texts: TextGeneration,
        predictor: PredictorRouter,
        cache: TieredCache,
        *,
        encoder: PromptEncoder,
        callers: CallerAdmission,
        corrections: CorrectionTable,
        ready_without_predictor: bool = False,
    ) -> None:
        has_context = TEMPLATE_CONTEXT in encoder.spec.all_sections
        inputs = [each for each in TRANSLATE_INPUTS if has_context or each is not CONTEXT]
        super().__init__(name, inputs, TRANSLATE_OUTPUTS, PLATFORM, versions=(release.id,))
        self.encoder = encoder
        """Of the release; its languages are in ``encoder.spec``."""
        self.callers = callers
        self.corrections = corrections
        """Served in place of the model's translations."""
        self._pipeline = pipeline
        self._texts = texts
        self._predictor = predictor
        self._cache = cache
        self._open = False
        self._ready_without_predictor = ready_without_predictor
        self._first_predictor: asyncio.Task[None] | None = None
        self._opening: list[Callable[[], Awaitable[None]]] = []
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self.notices: list[str] = []
        """Logged by :meth:`open`: what the settings mean for who may call, and what is shared."""

    def open_later(self, open_: Callable[[], Awaitable[None]]) -> None:
        """Have ``open_`` called by :meth:`open`."""
        self._opening.append(open_)

    def close_later(self, close: Callable[[], Awaitable[None]]) -> None:
        """Have ``close`` called by :meth:`close`."""
        self._closing.append(close)

    async def infer(self, request: InferRequest, info: RequestInfo) -> InferResponse:
        """Translate the request's texts.

        Raises:
            YiwenError: as :meth:`transformer.pipeline.Pipeline.translate` says.
        """
        message = translate_request_from_infer(request)
        return infer_from_translate_response(await self.translate(message, info), request, message.targets)

    async def translate(
        self, message: TranslateRequest, info: RequestInfo, key: str | None = None
    ) -> TranslateResponse:
        """Translate the texts of a message.

        Args:
            message: the request.
            info: of the request.
            key: the caller's API key where it is not in the headers.

        Raises:
            YiwenError: as :meth:`transformer.pipeline.Pipeline.translate` and
                :meth:`transformer.callers.admission.CallerAdmission.admit` say.
        """
        if self.callers.is_open:
            return await self._translate(message, info, EVERYBODY)
        async with self.callers.admit(message, info.headers, key) as admitted:
            info.log_fields["caller"] = admitted.share.caller
            return await self._translate(admitted.message, info, admitted.share)

    async def _translate(
        self, message: TranslateRequest, info: RequestInfo, share: CallerShare
    ) -> TranslateResponse:
        info.log_fields["texts"] = len(message.texts)
        headers = forwarded_headers(info.request_id, info.headers)
        response = await self._pipeline.translate(message, headers, info.received_at, share)
        statuses = Counter([each.cache for each in response.translations if each.error is None])
        info.log_fields.update({status.value: count for status, count in statuses.items()})
        if failed := len(response.translations) - statuses.total():
            info.log_fields["failed"] = failed
        return response

    async def generate(self, body: bytes, info: RequestInfo) -> Mapping[str, object]:
        """Translate the request's one text.

        Raises:
            YiwenError: as :meth:`infer`.
        """
        request = translate_request_from_generate(body)
        headers = forwarded_headers(info.request_id, info.headers)
        async with self.callers.admit(request, info.headers) as admitted:
            text, end = await self._texts.whole(admitted.message, headers, info.received_at, admitted.share)
        _log_end(end, info)
        return document_from_text(text, end, self.name)

    async def stream(
        self, body: bytes, info: RequestInfo
    ) -> AsyncGenerator[Mapping[str, object] | NamedEvent, None]:
        """As :meth:`generate`, in pieces. While the predictor starts, events ``warming`` are sent."""
        async with aclosing(self.stream_text(translate_request_from_generate(body), info)) as items:
            async for item in items:
                if isinstance(item, ColdStartStatus):
                    yield NamedEvent("warming", {"waited_s": round(item.waited_s, 3)})
                else:
                    yield document_from_text_delta(item, self.name)

    async def stream_messages(self, message: bytes, info: RequestInfo) -> AsyncGenerator[bytes, None]:
        """As :meth:`stream`, in the messages of ``yiwen.v1.TextGeneration``."""
        decoded = decode_text_stream_request(message)
        self.check_address(decoded.model_name, decoded.model_version)
        async with aclosing(self.stream_text(decoded.request, info)) as items:
            async for item in items:
                if isinstance(item, ColdStartStatus):
                    yield encode_warming(item.waited_s)
                else:
                    yield encode_text_delta(item)

    async def stream_text(
        self, request: TranslateRequest, info: RequestInfo, key: str | None = None
    ) -> AsyncGenerator[TextDelta | ColdStartStatus, None]:
        """The translation of one text in pieces; arguments and errors as of :meth:`translate`."""
        headers = forwarded_headers(info.request_id, info.headers)
        async with self.callers.admit(request, info.headers, key) as admitted:
            pieces = self._texts.stream(admitted.message, headers, info.received_at, admitted.share)
            async with aclosing(pieces) as items:
                async for item in items:
                    if isinstance(item, TextDelta) and item.end is not None:
                        _log_end(item.end, info)
                    yield item

    def is_healthy(self) -> bool:
        """True between :meth:`open` and :meth:`close`, whatever the predictor does: a cache hit does not need it."""
        return self._open

    def is_ready(self) -> bool:
        """Whether a predictor of this release was ever ready: until then an older release keeps the traffic.

        What predictors do afterwards does not matter: cache hits are answered without them.
        """
        found = self._first_predictor is not None and self._first_predictor.done()
        return self._open and (found or self._ready_without_predictor)

    async def open(self) -> None:
        """Create the connection pools, and begin to look for a predictor of this release."""
        for notice in self.notices:
            _log.info(notice)
        for open_ in self._opening:
            await open_()
        await self._predictor.open()
        self._first_predictor = asyncio.create_task(self._predictor.wait_for_predictor())
        self._open = True

    async def close(self) -> None:
        """Close the connection pools, after pending writes to the shared cache."""
        self._open = False
        if self._first_predictor is not None:
            self._first_predictor.cancel()
        await self._pipeline.close()
        await self._predictor.close()
        await self._cache.close()
        for close in self._closing:
            await close()


def create_model(
    config: TransformerConfig,
    *,
    name: str | None,
    max_deadline_ms: int,
    default_deadline_ms: int = 30_000,
    metrics: TransformerMetrics | None = None,
) -> TranslatorModel:
    """Load the release and create the parts; nothing is connected yet.

    Args:
        config: this service's settings.
        name: model name in the URLs; None means the release's.
        max_deadline_ms: longest deadline that a request may set.
        default_deadline_ms: deadline of requests that set none.
        metrics: None creates them in the process' default registry.

    Raises:
        ReleaseError: the release cannot be used.
        SettingsError: a file that the settings name cannot be read.
    """
    release = load_release(config.release)
    if config.verify_release:
        for file in release_files(config.release, release, TOKENIZER_DIR, TRANSLATION_FILE, GLOSSARY_FILE):
            check_file(file)
    tokenizer = PromptEncoder.load(config.release)
    spec = tokenizer.spec
    name = name or release.name
    metrics = metrics or TransformerMetrics()
    router = PredictorRouter(config, config.predictor_model or name, release.id, metrics)
    guards = Guards(spec)
    workers = TextWorkers(config.text_threads)
    generator = Generator(
        release=release.id,
        tokenizer=tokenizer,
        guards=guards,
        predictor=router,
        admission=router.admission,
        grouping=Grouping(config.predictor_group_size, config.predictor_groups_in_flight),
        metrics=metrics,
        workers=workers,
        queue=FairQueue(0 if config.api_keys_file is None else config.fair_texts),
    )
    cache = create_tiers(config, release.id, metrics)
    corrections = CorrectionTable()
    pipeline = Pipeline(
        release=release.id,
        bounds=Bounds(
            TextBounds(
                config.max_texts,
                config.max_text_bytes,
                # A longer one may be in the cache, imported.
                max(tokenizer.max_source_bytes, config.redis_max_value_bytes),
                tokenizer.max_context_bytes,
            ),
            max_deadline_ms,
            default_deadline_ms,
            split_always=spec.sentences == "always",
        ),
        languages=Languages(spec),
        tokenizer=tokenizer,
        cache=cache,
        sharing=cache,
        generator=generator,
        metrics=metrics,
        workers=workers,
        glossaries=GlossaryMatcher.of_release(
            load_release_glossary(config.release / GLOSSARY_FILE, spec.pairs)
        ),
        corrections=corrections,
    )
    streamed = StreamedGenerator(
        release=release.id, tokenizer=tokenizer, generator=generator, predictor=router
    )
    texts = TextGeneration(release=release.id, pipeline=pipeline, generator=streamed)
    store = None
    if config.api_keys_file is not None and config.redis_url is not None:
        store = RedisStore(store_settings(config))
    model = TranslatorModel(
        name,
        release,
        pipeline,
        texts,
        router,
        cache,
        encoder=tokenizer,
        callers=_create_callers(config, store, metrics),
        corrections=corrections,
        ready_without_predictor=config.ready_without_predictor,
    )
    if store is not None:
        model.close_later(store.close)
    elif config.api_keys_file is not None:
        model.notices.append("quotas are counted by this process alone: set YIWEN_REDIS_URL to share them")
    else:
        model.notices.append("no API keys are configured: everybody who reaches this service may use it")
    return model


def _create_callers(
    config: TransformerConfig, store: RedisStore | None, metrics: TransformerMetrics
) -> CallerAdmission:
    """The admission of callers, whose usage is counted in ``store``, or in this process.

    Raises:
        SettingsError: the file of keys cannot be used.
    """
    if config.api_keys_file is None:
        return CallerAdmission(None, MemoryUsage(), metrics.callers)
    try:
        ring = KeyRing(config.api_keys_file)
    except KeyFileError as error:
        raise SettingsError(f"YIWEN_API_KEYS_FILE: {error}") from None
    return CallerAdmission(ring, MemoryUsage() if store is None else RedisUsage(store), metrics.callers)


def _log_end(end: TextEnd, info: RequestInfo) -> None:
    """Add what is known of one text's translation to the log line."""
    info.log_fields.update(texts=1, segments=end.usage.segments, generated_tokens=end.usage.generated_tokens)
    info.log_fields[end.cache.value] = 1
