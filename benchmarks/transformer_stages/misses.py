"""Measures the latency that the transformer adds to a miss, and to the first token of a stream.

One request at a time: a title goes to the transformer as text, and to the predictor as the tokens that the
transformer would send, in alternating order. The figure is the median of the differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import orjson

from benchmarks.transformer_stages import processes
from benchmarks.transformer_stages.job import LoadJob, LoadRequest, RequestSample, Target
from benchmarks.transformer_stages.processes import ServerProcess
from benchmarks.transformer_stages.setting import (
    MODEL,
    SOURCE,
    TARGET,
    BenchmarkSize,
    infer_body,
    require_all,
    some_titles,
)
from protocol.codec import encode_rest_request, infer_from_generate_request
from protocol.messages import GenerateRequest
from protocol.prompt_encoder import PromptEncoder, PromptText
from protocol.release import load_release

WARM_UP = 20
"""Warm-up pairs, which are not counted."""
DEADLINE_MS = 60_000
Pair = tuple[LoadRequest, LoadRequest]


def measure(release: Path, size: BenchmarkSize) -> dict[str, Any]:
    """Milliseconds that the transformer adds to complete answers and, if it streams text, to the first token."""
    pairs = some_titles(2 * (size.pairs + WARM_UP) + 1)
    titles = [text for text, _ in pairs]
    half = len(titles) // 2
    with ExitStack() as stack:
        url = stack.enter_context(processes.redis_server())
        behind = stack.enter_context(processes.predictor(release, slots=16))
        front = stack.enter_context(processes.transformer(release, behind, redis_url=url))
        prompts = _Prompts(release)
        whole = _added([_whole_pair(front, behind, text, prompts) for text in titles[:half]])
        stream = None
        if _streams(front, titles[-1]):
            stream = _added([_stream_pair(front, behind, text, prompts) for text in titles[half : 2 * half]])
    return {"miss": whole, "first_token": stream}


class _Prompts:
    """Makes the predictor's requests as the transformer does."""

    def __init__(self, release: Path) -> None:
        self._release = load_release(release)
        self._encoder = PromptEncoder.load(release)

    def request(self, target: Target, text: str) -> LoadRequest:
        (prompt,) = self._encoder.encode([PromptText(text, SOURCE, TARGET)])
        wanted = GenerateRequest(
            (prompt.token_ids,),
            (prompt.max_new_tokens,),
            release=self._release.id,
            deadline_ms=DEADLINE_MS,
        )
        body, headers = encode_rest_request(
            infer_from_generate_request(wanted, model_name=MODEL), binary=True
        )
        return LoadRequest(Target(target.port, target.path, headers), body)


def _whole_pair(front: ServerProcess, behind: ServerProcess, text: str, prompts: _Prompts) -> Pair:
    return LoadRequest(front.infer, infer_body([text])), prompts.request(behind.infer, text)


def _stream_pair(front: ServerProcess, behind: ServerProcess, text: str, prompts: _Prompts) -> Pair:
    return _text_stream(front, text), prompts.request(_stream_of(behind), text)


def _text_stream(front: ServerProcess, text: str) -> LoadRequest:
    body = {"text_input": text, "parameters": {"source": SOURCE, "target": TARGET}}
    return LoadRequest(_stream_of(front), orjson.dumps(body))


def _stream_of(server: ServerProcess) -> Target:
    return Target(server.port, f"/v2/models/{MODEL}/generate_stream")


def _streams(front: ServerProcess, text: str) -> bool:
    """Whether this transformer streams text."""
    outcome = processes.run_load(LoadJob((_text_stream(front, text),)))
    return outcome.samples[0].status == 200


def _added(pairs: Sequence[Pair]) -> dict[str, float]:
    """Send both requests of each pair; returns figures without the warm-up pairs."""
    rng = Random(0)
    turned = [rng.random() < 0.5 for _ in pairs]
    requests = [
        each for pair, turn in zip(pairs, turned, strict=True) for each in (reversed(pair) if turn else pair)
    ]
    outcome = processes.run_load(LoadJob(tuple(requests), marks=('"hit"',)))
    require_all(outcome, "misses", mark=-1)
    by_number = {sample.number: sample for sample in outcome.samples}
    both = [
        (by_number[2 * place + turn], by_number[2 * place + 1 - turn]) for place, turn in enumerate(turned)
    ][WARM_UP:]
    return {**_figures(both), "pairs": len(both)}


def _figures(both: Sequence[tuple[RequestSample, RequestSample]]) -> dict[str, float]:
    """Medians in ms to the first and last byte, for the transformer, the predictor and their differences."""
    found: dict[str, float] = {}
    for name in ("first_s", "latency_s"):
        fronts, behinds = ([getattr(pair[side], name) * 1e3 for pair in both] for side in (0, 1))
        kind = name.removesuffix("_s")
        found |= {
            f"{kind}_transformer_ms": median(fronts),
            f"{kind}_predictor_ms": median(behinds),
            f"{kind}_added_ms": median(a - b for a, b in zip(fronts, behinds, strict=True)),
        }
    return found
