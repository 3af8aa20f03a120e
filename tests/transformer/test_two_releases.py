"""A canary of two releases whose tokenizers disagree: two transformers, two predictors, one proxy that splits."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from protocol.messages import FinishReason, GenerateRequest, GenerateResponse, Generation
from tests.transformer.predictor_stand_in import StandIn, answer_with, serve, serving_only
from tests.transformer.release import renumber, train_tokenizer, write_release
from tests.transformer.side import Side, opening
from tests.transformer.splitting_proxy import SplittingProxy, splitting

STABLE, CANARY = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"
REQUESTS = 2_000
AT_ONCE = 32


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Tokenizer]:
    tokenizer = train_tokenizer()
    return {STABLE: tokenizer, CANARY: renumber(tokenizer)}


def signing(release: str, tokenizer: Tokenizer) -> Callable[[GenerateRequest], GenerateResponse]:
    """Reads prompts with the release's own tokenizer and writes their text back, signed with the release."""

    def generate(prompt: tuple[int, ...]) -> Generation:
        text = f"{tokenizer.decode(list(prompt[1:-1]))} {release[:2]}"
        return Generation(tuple(tokenizer.encode(text).ids), -0.5, FinishReason.STOP)

    return lambda request: answer_with(request, generate)


@asynccontextmanager
async def canary(
    tmp_path: Path, tokenizers: dict[str, Tokenizer], *, checked: bool = True
) -> AsyncIterator[tuple[list[tuple[Side, StandIn]], SplittingProxy]]:
    """Both sides and the proxy between; predictors that are not ``checked`` take whatever ids they get."""
    with ExitStack() as stack:
        predictors: dict[str, StandIn] = {}
        for release, tokenizer in tokenizers.items():
            served = StandIn()
            served.release, answer = release, signing(release, tokenizer)
            served.answer = serving_only(release, answer) if checked else answer
            predictors[release] = stack.enter_context(serve(served))
        urls = [served.url for served in predictors.values()]
        async with splitting(*urls) as proxy:
            async with AsyncExitStack() as sides:
                opened = [
                    await sides.enter_async_context(
                        # Ten times a second the way through the proxy is tried again: searches happen often.
                        opening(
                            write_release(tmp_path / release, release_id=release, tokenizer=tokenizer),
                            proxy.url,
                            tagged=tuple(urls),
                            release_check_s=0.1,
                        )
                    )
                    for release, tokenizer in tokenizers.items()
                ]
                yield [(side, predictors[side.release]) for side in opened], proxy


def test_no_text_has_the_same_ids_in_both(tokenizers: dict[str, Tokenizer]) -> None:
    stable, other = tokenizers.values()
    for text in ("red shoes", "手机壳", "a", "iPhone 15"):
        assert other.decode(other.encode(text).ids) == text
        assert other.decode(stable.encode(text).ids) != text


async def test_without_the_handshake_texts_are_mixed_up(
    tmp_path: Path, tokenizers: dict[str, Tokenizer]
) -> None:
    async with canary(tmp_path, tokenizers, checked=False) as (sides, _):
        # A predictor of the release is looked for at the start; its address is used for release_check_s.
        await asyncio.sleep(0.5)
        answers = [await sides[0][0].translate(f"red shoes {number}") for number in range(20)]
    assert any(answer != f"red shoes {number} aa" for number, answer in enumerate(answers))


@pytest.mark.slow
async def test_of_thousands_of_requests_none_is_mixed_and_none_fails(
    tmp_path: Path, tokenizers: dict[str, Tokenizer]
) -> None:
    async with canary(tmp_path, tokenizers) as (sides, proxy):
        numbers, rng = iter(range(REQUESTS)), random.Random(1)
        wrong: list[int] = []

        async def work() -> None:
            for number in numbers:
                side, _ = sides[rng.randrange(2)]
                if await side.translate(f"item {number}") != f"item {number} {side.release[:2]}":
                    wrong.append(number)

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        assert not wrong
        assert min(side.searches("found") for side, _ in sides) >= 5
        assert sum(side.searches("not_found") for side, _ in sides) == 0
        # Both releases' requests met the splitting proxy, and both predictors refused some.
        assert min(proxy.sent) > 20
        for side, predictor in sides:
            assert sum(each.release != side.release for each in predictor.requests) > 5
