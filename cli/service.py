"""A client of a running service: texts in, results in their order, over v2 REST.

It knows nothing of releases, and writes its bodies itself, because the codec brings the whole KServe SDK, which takes
two seconds to import.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from protocol.tensors import CACHE, CONFIDENCE, FLAGS, SOURCE, TEXT, TRANSLATION

TRIES = 6
"""How often one request is sent before 429 or 503 is taken for an answer."""
LONGEST_PAUSE_S = 30.0
ANSWER_TIMEOUT_S = 120.0


class TranslateError(Exception):
    """What is told to the user instead of a translation."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the command line asks for."""

    url: str
    model: str | None
    """None: the first that the service names."""
    parameters: Mapping[str, object]
    """Of every request, by the names of :data:`protocol.tensors.TRANSLATE_PARAMETERS`."""
    batch: int
    """Texts in one request."""
    in_flight: int
    """Requests at a time."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts of one request."""

    texts: list[str]
    first: int
    """Number of the first text, from 0."""
    alone: bool
    """Whether there is no other batch."""

    def place(self) -> str:
        """Where a fault in this batch is to be looked for."""
        return "" if self.alone else f"in texts {self.first} to {self.first + len(self.texts) - 1}: "


@dataclass(frozen=True, slots=True)
class Result:
    """One text and its answer."""

    text: str
    translation: str
    source: str
    confidence: float
    cache: str
    flags: tuple[str, ...] = ()
    """What speaks against it, as docs/texts.md lists them."""

    def as_line(self) -> str:
        """For people and pipes: one line in, one line out."""
        if "\n" in self.text:
            return self.translation
        return " ".join(self.translation.splitlines())

    def as_json(self) -> str:
        """For programs: all that is known, one JSON object in one line."""
        document = dataclasses.asdict(self) | {"confidence": round(self.confidence, 6)}
        return json.dumps(document, ensure_ascii=False)


async def translate_all(job: Job, texts: Iterable[str]) -> AsyncGenerator[list[Result], None]:
    """Results in the order of ``texts``, as they come.

    At most ``in_flight`` requests run, and so many texts are held, however long ``texts`` is.

    Raises:
        TranslateError: the service cannot be reached, or refuses a request.
    """
    batches = _batches(texts, job.batch)
    async with _client(job) as http:
        infer_path = f"/v2/models/{quote(job.model or await _first_model(http), safe='')}/infer"
        running: deque[asyncio.Task[list[Result]]] = deque()
        try:
            while True:
                # Beside the loop: reading a pipe may take as long as it likes.
                batch = await asyncio.to_thread(next, batches, None)
                if batch is not None:
                    running.append(asyncio.create_task(_translate(http, infer_path, batch, job.parameters)))
                while running and (batch is None or len(running) >= job.in_flight):
                    yield await running.popleft()
                if batch is None:
                    return
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


@asynccontextmanager
async def _client(job: Job) -> AsyncIterator[httpx.AsyncClient]:
    """HTTP to the service; its failures in words."""
    try:
        async with httpx.AsyncClient(
            base_url=job.url, timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=5.0)
        ) as http:
            yield http
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise TranslateError(
            f"no service at {job.url}; start one with `yiwen serve --release DIR`, or give --url"
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TranslateError(f"{job.url}: {error or type(error).__name__}") from error


async def _first_model(http: httpx.AsyncClient) -> str:
    response = await http.get("/v2/models")
    _refuse_errors(response)
    names = response.json().get("models")
    if not names:
        raise TranslateError("the service names no model; give --model")
    return str(names[0])


async def _translate(
    http: httpx.AsyncClient, path: str, batch: Batch, parameters: Mapping[str, object]
) -> list[Result]:
    texts = batch.texts
    body = {
        "parameters": parameters,
        "inputs": [{"name": TEXT.name, "datatype": TEXT.datatype, "shape": [len(texts)], "data": texts}],
    }
    response = await _post(http, path, body)
    try:
        _refuse_errors(response)
    except TranslateError as error:
        raise TranslateError(f"{batch.place()}{error}") from error
    outputs = {output["name"]: output["data"] for output in response.json()["outputs"]}
    columns = (outputs[tensor.name] for tensor in (TRANSLATION, SOURCE, CONFIDENCE, CACHE))
    flags = [tuple(kinds.split(",")) if kinds else () for kinds in outputs.get(FLAGS.name, [""] * len(texts))]
    return [Result(*row) for row in zip(texts, *columns, flags, strict=True)]


async def _post(http: httpx.AsyncClient, path: str, body: object) -> httpx.Response:
    """The answer, once the service has room for the question."""
    for _ in range(TRIES - 1):
        response = await http.post(path, json=body)
        if response.status_code not in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
            return response
        await asyncio.sleep(_pause_s(response))
    return await http.post(path, json=body)


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
    message = document.get("error") if isinstance(document, dict) else None
    raise TranslateError(message or f"the service answered with status {response.status_code}")


def _batches(texts: Iterable[str], size: int) -> Iterator[Batch]:
    source, first = iter(texts), 0
    while chunk := list(itertools.islice(source, size)):
        # A first batch that is not full is the only one, and the service counts its texts as the user does.
        yield Batch(chunk, first, alone=first == 0 and len(chunk) < size)
        first += len(chunk)
