"""Measures a running predictor over HTTP, for ``yiwen profile``.

Callers send one request after the other, for every number of callers and every prompt length. Step times are read
from the predictor's metrics before and after, so they contain neither the network nor the callers. The time of a
prompt token comes from steps full of prompts, the overhead of a step with prompts from steps with one short prompt,
and the overhead of a request from the latency of a single caller.

Prompts are random token ids. Only those are used whose answers reach the wanted length.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from random import Random
from typing import Any
from urllib.parse import quote

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from protocol.codec import (
    decode_rest_response,
    encode_rest_request,
    generate_response_from_infer,
    infer_from_generate_request,
)
from protocol.errors import YiwenError
from protocol.messages import GenerateRequest

LOWEST_ID, HIGHEST_ID = 16, 240
"""Token ids of random prompts: every vocabulary has these, and they are seldom special."""
CANDIDATE_PROMPTS = 48
"""Random prompts to try per length."""
ANSWER_TIMEOUT_S = 120.0
PREFIX = "yiwen_predictor_"


class ProfilingError(Exception):
    """A predictor cannot be measured; the message says why and what to do."""


class ProfiledPredictorUnreachable(ProfilingError):
    """There is no connection to the predictor."""


@dataclass(frozen=True, slots=True)
class MetricCounters:
    """The predictor's counters at one time."""

    steps: float
    step_seconds: float
    prompt_tokens: float
    generated_tokens: float
    prompt_steps: float = 0.0
    """Steps with prompts; counted on TensorRT only, 0 elsewhere."""

    def since(self, before: MetricCounters) -> MetricCounters:
        """The increase since ``before``."""
        return MetricCounters(
            self.steps - before.steps,
            self.step_seconds - before.step_seconds,
            self.prompt_tokens - before.prompt_tokens,
            self.generated_tokens - before.generated_tokens,
            self.prompt_steps - before.prompt_steps,
        )


@dataclass(frozen=True, slots=True)
class PredictorInfo:
    """Properties that the predictor reports."""

    model: str
    release: str
    precision: str
    backend: str
    slots: int
    kv_bytes: int
    resident_bytes: int
    """Resident memory of its process."""


@dataclass(frozen=True, slots=True)
class GridPoint:
    """Parameters of one run."""

    callers: int
    """Concurrent callers."""
    prompt_tokens: int
    new_tokens: int
    """Tokens of every answer."""


@dataclass(frozen=True, slots=True)
class ProfilingConfig:
    """Points to measure, and the duration of the measurements."""

    callers: tuple[int, ...]
    """Numbers of concurrent callers; those above the predictor's slots are left out."""
    lengths: tuple[int, ...]
    """Lengths of prompts in tokens, rising."""
    new_tokens: int
    """Tokens of every answer, at least 2."""
    seconds: float
    """Duration per grid point, over all rounds."""
    rounds: int
    """Passes over the grid; several, so that a disturbance does not affect one point alone."""
    prefill_tokens: int = 512
    """Most prompt tokens in a step, as the predictor's ``YIWEN_PREFILL_TOKENS``."""


Progress = Callable[[Sequence[GridPoint]], Iterable[GridPoint]]
"""Wraps the iteration over grid points, as a progress bar does."""


@dataclass(frozen=True, slots=True)
class MeasurementRun:
    """Result of one run."""

    callers: int
    prompt_tokens: int
    """Of each prompt."""
    new_tokens: int
    """Of each answer."""
    requests: int
    seconds_per_request: float
    """Median latency of the callers."""
    counters: MetricCounters


@dataclass(frozen=True, slots=True)
class Measurement:
    """All runs of all rounds."""

    info: PredictorInfo
    single: tuple[MeasurementRun, ...]
    """One caller, answers of one token; the shortest and the longest prompts."""
    full: tuple[MeasurementRun, ...]
    """As many callers as fill steps with the longest prompts; answers of one token."""
    grid: tuple[MeasurementRun, ...]
    """Every number of callers with every prompt length."""


class ProfiledPredictor:
    """HTTP client of the predictor that is measured."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url = url.rstrip("/")
        self._http = http
        self._model = ""

    async def info(self) -> PredictorInfo:
        """Read model, release and sizes.

        Raises:
            ProfilingError: it does not answer as a predictor of Yiwen does.
        """
        models = (await self._json("/v2/models")).get("models") or []
        if not models:
            raise ProfilingError(f"{self._url} names no model: is it a predictor?")
        self._model = str(models[0])
        versions = (await self._json(f"/v2/models/{quote(self._model, safe='')}")).get("versions") or [""]
        samples = await self._samples()
        info = next((labels for name, labels, _ in samples if name == f"{PREFIX}runner_info"), None)
        if info is None:
            raise ProfilingError(
                f"{self._url}/metrics has no {PREFIX}runner_info: give the predictor's own address, not the "
                "transformer's; in a cluster `kubectl port-forward` to one of its pods"
            )
        return PredictorInfo(
            model=self._model,
            release=str(versions[0]),
            precision=info.get("precision", ""),
            backend=info.get("backend", ""),
            slots=int(_sum(samples, f"{PREFIX}slots")),
            kv_bytes=int(_sum(samples, f"{PREFIX}kv_bytes")),
            resident_bytes=int(_sum(samples, "process_resident_memory_bytes")),
        )

    async def counters(self) -> MetricCounters:
        """Read the counters."""
        samples = await self._samples()
        tokens, launches = f"{PREFIX}tokens_total", f"{PREFIX}graph_launches_total"
        return MetricCounters(
            steps=_sum(samples, f"{PREFIX}step_seconds_count"),
            step_seconds=_sum(samples, f"{PREFIX}step_seconds_sum"),
            prompt_tokens=_sum(samples, tokens, kind="prompt"),
            generated_tokens=_sum(samples, tokens, kind="generated"),
            prompt_steps=_sum(samples, launches, kind="eager"),
        )

    async def generate(self, prompt: Sequence[int], new_tokens: int) -> int:
        """Generate from a prompt; returns the number of tokens of the answer, without a stop token.

        Raises:
            ProfilingError: the predictor refuses the request.
        """
        message = GenerateRequest(
            prompts=(tuple(prompt),), max_new_tokens=(new_tokens,), deadline_ms=int(ANSWER_TIMEOUT_S * 1000)
        )
        body, headers = encode_rest_request(
            infer_from_generate_request(message, model_name=self._model), binary=True
        )
        url = f"{self._url}/v2/models/{quote(self._model, safe='')}/infer"
        async with self._http.post(url, data=body, headers=headers) as response:
            answer = await response.read()
            if response.status != HTTPStatus.OK:
                raise ProfilingError(_refusal(response.status, answer, len(prompt), new_tokens))
            lower = {name.lower(): value for name, value in response.headers.items()}
        try:
            decoded = generate_response_from_infer(decode_rest_response(answer, lower))
        except YiwenError as error:
            raise ProfilingError(f"{self._url} does not answer as a predictor: {error}") from error
        return len(decoded.generations[0].token_ids)

    async def _json(self, path: str) -> dict[str, Any]:
        async with self._http.get(self._url + path) as response:
            if response.status != HTTPStatus.OK:
                raise ProfilingError(
                    f"{self._url}{path} answers {response.status}: is it a predictor, and ready?"
                )
            document = await response.json(content_type=None)
        return document if isinstance(document, dict) else {}

    async def _samples(self) -> list[tuple[str, dict[str, str], float]]:
        async with self._http.get(f"{self._url}/metrics") as response:
            text = await response.text()
        return [
            (sample.name, dict(sample.labels), float(sample.value))
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]


@asynccontextmanager
async def connected(url: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[ProfiledPredictor]:
    """Connect to a predictor.

    Args:
        url: its base URL.
        headers: HTTP headers of every request.

    Raises:
        ProfiledPredictorUnreachable: the connection fails, here or later inside the block.
    """
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=0)
    try:
        async with aiohttp.ClientSession(timeout=timeout, connector=connector, headers=headers) as http:
            yield ProfiledPredictor(url, http)
    except (aiohttp.ClientError, asyncio.TimeoutError) as error:
        raise ProfiledPredictorUnreachable(
            f"{url}: {error or type(error).__name__}; start a predictor there with `yiwen serve` or "
            "`python -m predictor`, or give another --url"
        ) from error


async def measure(
    predictor: ProfiledPredictor, config: ProfilingConfig, progress: Progress = iter
) -> Measurement:
    """Measure a predictor, which should be idle otherwise.

    Args:
        predictor: from :func:`connected`.
        config: what to measure, and for how long.
        progress: wraps the iteration over grid points.

    Raises:
        ProfilingError: the predictor refuses a request, or no random prompt has a long enough answer.
    """
    if config.new_tokens < 2:
        raise ProfilingError("answers of one token have no decode steps: give --new-tokens 2 or more")
    slots = (await predictor.info()).slots
    rng, shortest, longest = Random(0), config.lengths[0], config.lengths[-1]
    prompts = {
        length: await find_prompts(predictor, length, config.new_tokens, rng) for length in config.lengths
    }
    single = [GridPoint(1, shortest, 1), GridPoint(1, longest, 1)]
    full = GridPoint(min(slots, 2 * -(-config.prefill_tokens // longest)), longest, 1)
    callers = [count for count in config.callers if count <= slots]
    grid = [GridPoint(count, length, config.new_tokens) for count in callers for length in config.lengths]
    points = [*single, full, *grid]
    runs = [
        await run_callers(
            predictor,
            prompts[point.prompt_tokens],
            callers=point.callers,
            new_tokens=point.new_tokens,
            seconds=config.seconds / config.rounds,
        )
        for point in progress(points * config.rounds)
    ]
    firsts = range(0, len(runs), len(points))
    return Measurement(
        await predictor.info(),  # its memory is allocated by now
        tuple(run for first in firsts for run in runs[first : first + 2]),
        tuple(runs[first + 2] for first in firsts),
        tuple(run for first in firsts for run in runs[first + 3 : first + len(points)]),
    )


async def find_prompts(
    predictor: ProfiledPredictor, length: int, new_tokens: int, rng: Random
) -> list[tuple[int, ...]]:
    """Random prompts of ``length`` tokens whose answers reach ``new_tokens``.

    Args:
        predictor: that generates the answers.
        length: of a prompt, in tokens.
        new_tokens: of an answer.
        rng: draws the token ids.

    Raises:
        ProfilingError: there are none among those tried.
    """
    tried = [
        tuple(rng.randint(LOWEST_ID, HIGHEST_ID) for _ in range(length)) for _ in range(CANDIDATE_PROMPTS)
    ]
    sizes = await asyncio.gather(*(predictor.generate(prompt, new_tokens) for prompt in tried))
    found = [prompt for prompt, size in zip(tried, sizes, strict=True) if size >= new_tokens]
    if not found:
        raise ProfilingError(
            f"of {CANDIDATE_PROMPTS} random prompts of {length} tokens none is answered with {new_tokens} tokens, "
            f"the longest answer has {max(sizes)}: lower --new-tokens"
        )
    return found


async def run_callers(
    predictor: ProfiledPredictor,
    prompts: Sequence[tuple[int, ...]],
    *,
    callers: int,
    new_tokens: int,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> MeasurementRun:
    """Run concurrent callers, each of which sends one request after the other, at least two.

    Args:
        predictor: to ask.
        prompts: of one length.
        callers: number of concurrent callers.
        new_tokens: of every answer.
        seconds: after which no caller sends another request.
        clock: monotonic seconds.
    """
    turn = itertools.cycle(prompts)
    latencies: list[float] = []
    before = await predictor.counters()
    end = clock() + seconds

    async def call() -> None:
        asked = 0
        while asked < 2 or clock() < end:
            started = clock()
            await predictor.generate(next(turn), new_tokens)
            latencies.append(clock() - started)
            asked += 1

    await _all(call() for _ in range(callers))
    counted = (await predictor.counters()).since(before)
    latencies.sort()
    return MeasurementRun(
        callers, len(prompts[0]), new_tokens, len(latencies), latencies[len(latencies) // 2], counted
    )


async def _all(calls: Iterable[Awaitable[None]]) -> None:
    """Wait for all calls; the first failure cancels the others."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _sum(samples: Iterable[tuple[str, dict[str, str], float]], name: str, **labels: str) -> float:
    return sum(value for found, has, value in samples if found == name and labels.items() <= has.items())


def _refusal(status: int, answer: bytes, prompt: int, new_tokens: int) -> str:
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return (
            f"{prompt} tokens in and {new_tokens} out are too long for this release: give shorter --lengths"
        )
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "the predictor is overloaded: measure one that nobody else uses, or give fewer --callers"
    return f"the predictor answers with status {status} ({len(answer)} bytes): see its log"
