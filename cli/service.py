"""A client of a running service over v2 REST: texts in, results in the same order.

It writes request bodies itself: :mod:`protocol.codec` imports the KServe SDK, which takes two seconds.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import random
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from documents.interface import TextUnit
from protocol.error_codes import ErrorCode
from protocol.messages import CacheStatus, OnError, TextFormat
from protocol.tensors import (
    CACHE,
    CONFIDENCE,
    CONTEXT,
    ERROR,
    FLAGS,
    SOURCE,
    TARGET,
    TEXT,
    TRANSLATION,
    TensorSpec,
)

_LINE_END = re.compile(r"\r\n|\r|\n")
_TOO_MUCH = (httpx.codes.REQUEST_ENTITY_TOO_LARGE, httpx.codes.GATEWAY_TIMEOUT)
"""Statuses of requests that may do in halves."""
BATCH_CHARACTERS = 12_000
"""A batch ends behind the text with which it has so many."""
TRIES = 6
"""Attempts of one request while the service answers 429 or 503, or its connections break."""
LONGEST_PAUSE_S = 30.0
FIRST_PAUSE_S = 0.2
"""The longest pause after a first connection that broke; doubled each time: 3 to 6 seconds in all."""
BROKEN_CONNECTION = (
    httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError,
)  # fmt: skip
"""Errors of a connection; a translation may be asked for again."""
ANSWER_TIMEOUT_S = 120.0


class TranslateError(Exception):
    """The service refused a request, or its response cannot be used."""

    def __init__(self, message: str, *, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        """HTTP status; 0 if there is no answer."""
        self.code = code
        """As in docs/errors.md; empty if the answer has none."""


class ServiceUnreachable(TranslateError):
    """No connection to the service."""


@dataclass(frozen=True, slots=True)
class TranslateJob:
    """The service to call, and parameters and bounds of the requests."""

    url: str
    model: str | None
    """None: the first one that the service lists."""
    parameters: Mapping[str, object]
    """Of every request; names are :data:`protocol.tensors.BATCH_PARAMETERS`."""
    batch: int
    """Texts in one request."""
    in_flight: int
    """Requests at a time."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """HTTP headers of every request."""

    @property
    def skips_errors(self) -> bool:
        """Whether a text that cannot be translated leaves the others alone."""
        return self.parameters.get("on_error") == OnError.PER_TEXT.value


@dataclass(frozen=True, slots=True)
class TextBatch:
    """The texts of one request, of one format."""

    units: list[TextUnit]
    first: int
    """Number of the first text, from 0."""
    only: bool
    """Whether there is no other batch."""

    def place(self) -> str:
        """Prefix of error messages that says which texts the batch holds."""
        return "" if self.only else f"in texts {self.first} to {self.first + len(self.units) - 1}: "

    @property
    def has_contexts(self) -> bool:
        """Whether the documents say something about the texts."""
        return any(unit.context for unit in self.units)

    def without_contexts(self) -> TextBatch:
        """The texts alone."""
        return dataclasses.replace(self, units=[dataclasses.replace(unit, context="") for unit in self.units])

    def halves(self) -> tuple[TextBatch, TextBatch]:
        """The texts in two batches."""
        middle = len(self.units) // 2
        return (
            TextBatch(self.units[:middle], self.first, only=False),
            TextBatch(self.units[middle:], self.first + middle, only=False),
        )


@dataclass(frozen=True, slots=True)
class TextResult:
    """One text and its translation."""

    text: str
    translation: str
    source: str
    confidence: float
    cache: str
    flags: tuple[str, ...] = ()
    """Faults that the guards found (docs/texts.md)."""
    error: Mapping[str, str] | None = None
    """``code`` and ``error`` (its words) of a text that has no translation."""
    target: str = ""
    """Tag of the language variant that was served; empty where it is the one that was asked for."""

    @classmethod
    def of_error(cls, text: str, error: TranslateError) -> TextResult:
        """The result of a text that has no translation."""
        reason = {"code": error.code or f"http_{error.status}", "error": str(error)}
        return cls(text, "", "", 0.0, CacheStatus.NONE.value, error=reason)

    def as_line(self) -> str:
        """The translation; a text of one line gives one line."""
        if "\n" in self.text:
            return self.translation
        return _LINE_END.sub(" ", self.translation.rstrip("\r\n"))

    def as_json(self) -> str:
        """All fields as a JSON object in one line."""
        document = dataclasses.asdict(self) | {"confidence": round(self.confidence, 6)}
        if self.error is None:
            del document["error"]
        if not self.target:
            del document["target"]
        return json.dumps(document, ensure_ascii=False)


async def translate_all(
    job: TranslateJob, texts: Iterable[str | TextUnit]
) -> AsyncGenerator[list[TextResult], None]:
    """Translate ``texts``; yields results of one batch after the other, in the order of ``texts``.

    At most ``job.in_flight`` requests run, and ``texts`` is read no further ahead than that. A batch that the service
    finds too large, or that takes it too long, is sent in halves. A text that is too large alone has an error where
    the job skips errors.

    Raises:
        ServiceUnreachable: there is no connection to the service.
        TranslateError: the service refuses a request.
    """
    batches = _batches(texts, job.batch)
    async with _client(job) as http:
        model_path = f"/v2/models/{quote(job.model or await _first_model(http), safe='')}"
        takes_contexts: bool | None = False if CONTEXT.name in job.parameters else None
        running: deque[asyncio.Task[list[TextResult]]] = deque()
        try:
            while True:
                # In a thread: reading a pipe may block.
                batch = await asyncio.to_thread(next, batches, None)
                if batch is not None and batch.has_contexts:
                    if takes_contexts is None:
                        takes_contexts = await _takes_contexts(http, model_path)
                    batch = batch if takes_contexts else batch.without_contexts()
                if batch is not None:
                    running.append(asyncio.create_task(_translate(http, f"{model_path}/infer", batch, job)))
                while running and (batch is None or len(running) >= job.in_flight):
                    yield await running.popleft()
                if batch is None:
                    return
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


@asynccontextmanager
async def _client(job: TranslateJob) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of the service that raises TranslateError."""
    try:
        async with httpx.AsyncClient(
            base_url=job.url, headers=dict(job.headers), timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=5.0)
        ) as http:
            yield http
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise ServiceUnreachable(
            f"no service at {job.url}; start one with `yiwen serve --release DIR`, or give --url"
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TranslateError(f"{job.url}: {error or type(error).__name__}") from error


async def _first_model(http: httpx.AsyncClient) -> str:
    """The first model that the service names.

    A connection that breaks is tried once more only: who gave a wrong URL should not wait.
    """
    try:
        response = await http.get("/v2/models")
    except BROKEN_CONNECTION:
        await asyncio.sleep(backoff_s(0, random.random()))
        response = await http.get("/v2/models")
    _refuse_errors(response)
    names = response.json().get("models")
    if not names:
        raise TranslateError("the service names no model; give --model")
    return str(names[0])


async def _takes_contexts(http: httpx.AsyncClient, model_path: str) -> bool:
    """Whether the release has a place for contexts: its metadata lists the tensor then."""
    response = await http.get(model_path)
    _refuse_errors(response)
    return any(each.get("name") == CONTEXT.name for each in response.json().get("inputs", ()))


async def _translate(
    http: httpx.AsyncClient, path: str, batch: TextBatch, job: TranslateJob
) -> list[TextResult]:
    """Results of a batch; it is sent in halves if it is too much for one request."""
    try:
        results = await _send(http, path, batch, job.parameters)
    except TranslateError as error:
        if error.status not in _TOO_MUCH:
            raise
        if len(batch.units) == 1:
            if _is_context_too_long(error.code, batch):
                return await _translate(http, path, batch.without_contexts(), job)
            if not job.skips_errors:
                raise
            return [TextResult.of_error(batch.units[0].text, error)]
    else:
        for number, result in enumerate(results):
            if result.error is not None and _is_context_too_long(result.error["code"], batch):
                alone = TextBatch([batch.units[number]], batch.first + number, only=False)
                results[number : number + 1] = await _translate(http, path, alone.without_contexts(), job)
        return results
    first, second = batch.halves()
    return [*await _translate(http, path, first, job), *await _translate(http, path, second, job)]


def _is_context_too_long(code: str, batch: TextBatch) -> bool:
    """Whether an error is about a context that the document brought, and that may be left out."""
    return code == ErrorCode.CONTEXT_TOO_LONG.value and batch.has_contexts


async def _send(
    http: httpx.AsyncClient, path: str, batch: TextBatch, parameters: Mapping[str, object]
) -> list[TextResult]:
    texts = [unit.text for unit in batch.units]
    text_format = batch.units[0].text_format
    markup = {} if text_format is TextFormat.TEXT else {"format": text_format.value}
    body = {
        "parameters": {"deadline_ms": int(ANSWER_TIMEOUT_S * 1000), **parameters, **markup},
        "inputs": [_tensor(TEXT, texts)],
    }
    if batch.has_contexts:
        body["inputs"] = [_tensor(TEXT, texts), _tensor(CONTEXT, [unit.context for unit in batch.units])]
    response = await _post(http, path, body)
    try:
        _refuse_errors(response)
    except TranslateError as error:
        raise TranslateError(f"{batch.place()}{error}", status=error.status, code=error.code) from error
    outputs = {output["name"]: output["data"] for output in response.json()["outputs"]}
    columns = (outputs[tensor.name] for tensor in (TRANSLATION, SOURCE, CONFIDENCE, CACHE))
    # A pair without a place for the document's contexts is no fault of a text.
    unsaid = {CONTEXT.name} if batch.has_contexts else set()
    flags = [
        tuple(kind for kind in kinds.split(",") if kind and kind not in unsaid)
        for kinds in outputs.get(FLAGS.name, [""] * len(texts))
    ]
    errors = [json.loads(each) if each else None for each in outputs.get(ERROR.name, [""] * len(texts))]
    targets = outputs.get(TARGET.name, [""] * len(texts))
    return [TextResult(*row) for row in zip(texts, *columns, flags, errors, targets, strict=True)]


def _tensor(spec: TensorSpec, data: list[str]) -> dict[str, object]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": [len(data)], "data": data}


async def _post(http: httpx.AsyncClient, path: str, body: object) -> httpx.Response:
    """POST, with retries while the service answers 429 or 503, or connections to it break."""
    for attempt in range(TRIES - 1):
        try:
            response = await http.post(path, json=body)
        except BROKEN_CONNECTION:
            await asyncio.sleep(backoff_s(attempt, random.random()))
            continue
        if response.status_code not in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
            return response
        await asyncio.sleep(_pause_s(response))
    return await http.post(path, json=body)


def backoff_s(attempt: int, chance: float) -> float:
    """The pause after an attempt whose connection broke, seconds.

    Args:
        attempt: its number, from 0.
        chance: from 0 to 1; spreads those who wait for the same service.
    """
    return FIRST_PAUSE_S * 2.0**attempt * (0.5 + chance / 2)


def _pause_s(response: httpx.Response) -> float:
    try:
        return min(max(0.0, float(response.headers.get("retry-after", "1"))), LONGEST_PAUSE_S)
    except ValueError:
        return 1.0


def _refuse_errors(response: httpx.Response) -> None:
    if response.is_success:
        return
    try:
        document: Any = response.json()
    except ValueError:
        document = None
    fields = document if isinstance(document, dict) else {}
    message = fields.get("error") or f"the service answered with status {response.status_code}"
    raise TranslateError(message, status=response.status_code, code=str(fields.get("code") or ""))


def _batches(texts: Iterable[str | TextUnit], size: int) -> Iterator[TextBatch]:
    """Batches of up to ``size`` texts of one format; long texts are fewer."""
    first = 0
    units = (TextUnit(text) if isinstance(text, str) else text for text in texts)
    for _, run in itertools.groupby(units, key=lambda unit: unit.text_format):
        while chunk := list(_batch(run, size)):
            # A first batch that is not full is the only one; the service then numbers texts as the user does.
            yield TextBatch(chunk, first, only=first == 0 and len(chunk) < size)
            first += len(chunk)


def _batch(units: Iterator[TextUnit], size: int) -> Iterator[TextUnit]:
    characters = 0
    for unit in itertools.islice(units, size):
        yield unit
        characters += len(unit.text)
        if characters >= BATCH_CHARACTERS:
            return
