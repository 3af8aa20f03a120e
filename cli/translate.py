"""`yiwen translate`: texts from the command line, a file or stdin, through a running service.

A client like any other: it speaks v2 over REST and knows nothing of releases. It writes its bodies itself, because
the codec brings the whole KServe SDK, which takes two seconds to import.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import itertools
import json
import os
import sys
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

import httpx
from rich.console import Console
from rich.progress import Progress

from protocol.tensors import CACHE, CONFIDENCE, SOURCE, TEXT, TRANSLATION

DEFAULT_URL = "http://127.0.0.1:8080"
TEXTS_PER_REQUEST = 32
REQUESTS_IN_FLIGHT = 4
TRIES = 6
"""How often one request is sent before 429 or 503 is taken for an answer."""
LONGEST_PAUSE_S = 30.0
ANSWER_TIMEOUT_S = 120.0

FAILED = 1
MISUSED = 2


class TranslateError(Exception):
    """What is told to the user instead of a translation."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the command line asks for."""

    url: str
    model: str | None
    """None: the first that the service names."""
    parameters: Mapping[str, object]
    """Of every request: target, source, max_new_tokens."""
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

    def as_line(self) -> str:
        """For people and pipes: one line in, one line out."""
        if "\n" in self.text:
            return self.translation
        return " ".join(self.translation.splitlines())

    def as_json(self) -> str:
        """For programs: all that is known, one JSON object in one line."""
        document = dataclasses.asdict(self) | {"confidence": round(self.confidence, 6)}
        return json.dumps(document, ensure_ascii=False)


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Mount `yiwen translate`."""
    parser = subparsers.add_parser("translate", help="translate texts through a running service")
    parser.add_argument("text", nargs="*", help="texts; none: one per line from -i or stdin")
    parser.add_argument("--to", required=True, metavar="TAG", help="language wanted, e.g. zh")
    parser.add_argument("--from", dest="source", metavar="TAG", help="language of the texts (detected)")
    parser.add_argument("--url", default=DEFAULT_URL, help=f"of the service ({DEFAULT_URL})")
    parser.add_argument("--model", metavar="NAME", help="model name (the first one the service names)")
    parser.add_argument("-i", dest="input", metavar="FILE", help="read texts from FILE, - is stdin")
    parser.add_argument("-o", dest="output", metavar="FILE", help="write to FILE, - is stdout")
    parser.add_argument("--json", action="store_true", help="one JSON object per text")
    parser.add_argument("--max-new-tokens", type=_positive, metavar="N", help="bound for each answer")
    parser.add_argument(
        "--batch",
        type=_positive,
        default=TEXTS_PER_REQUEST,
        metavar="N",
        help="texts per request (%(default)s)",
    )
    parser.add_argument(
        "--in-flight", type=_positive, default=REQUESTS_IN_FLIGHT, metavar="N",
        help="requests at a time (%(default)s)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Translate and print; returns the exit code."""
    if arguments.text and arguments.input:
        print("yiwen translate: give texts or -i FILE, not both", file=sys.stderr)
        return MISUSED
    wishes = {"target": arguments.to, "source": arguments.source, "max_new_tokens": arguments.max_new_tokens}
    job = Job(
        url=arguments.url.rstrip("/"),
        model=arguments.model,
        parameters={name: value for name, value in wishes.items() if value is not None},
        batch=arguments.batch,
        in_flight=arguments.in_flight,
    )
    try:
        with ExitStack() as stack:
            texts, total = _open_input(arguments, stack)
            output = _open_output(arguments, stack)
            asyncio.run(_print_all(job, texts, total, output, as_json=arguments.json))
    except BrokenPipeError:  # `... | head`: whoever read has enough
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or the interpreter complains at its end
        return FAILED
    except (TranslateError, OSError, UnicodeDecodeError) as error:
        print(f"yiwen translate: {error}", file=sys.stderr)
        return FAILED
    return 0


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


async def _print_all(
    job: Job, texts: Iterable[str], total: int | None, output: TextIO, *, as_json: bool
) -> None:
    console = Console(stderr=True)
    with Progress(console=console, disable=total == 1 or not console.is_terminal) as progress:
        task = progress.add_task("translating", total=total)
        async for results in translate_all(job, texts):
            for result in results:
                print(result.as_json() if as_json else result.as_line(), file=output)
            output.flush()
            progress.advance(task, len(results))


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
    return [Result(*row) for row in zip(texts, *columns, strict=True)]


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


def _open_input(arguments: argparse.Namespace, stack: ExitStack) -> tuple[Iterable[str], int | None]:
    """The texts, and how many there are if that is known."""
    if arguments.text:
        return arguments.text, len(arguments.text)
    if arguments.input in (None, "-"):
        return _lines(sys.stdin), None
    path = Path(arguments.input)
    with path.open(encoding="utf-8") as file:
        total = sum(1 for _ in file)
    return _lines(stack.enter_context(path.open(encoding="utf-8"))), total


def _open_output(arguments: argparse.Namespace, stack: ExitStack) -> TextIO:
    if arguments.output in (None, "-"):
        return sys.stdout
    return stack.enter_context(Path(arguments.output).open("w", encoding="utf-8"))


def _lines(file: TextIO) -> Iterator[str]:
    return (line.removesuffix("\n") for line in file)


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
