"""A stream that is sent again goes on where it broke off."""

from __future__ import annotations

import itertools
from random import Random

import pytest

from protocol.messages import FinishReason, GenerationEnd, TokenDelta
from transformer.predictors.stream_prefix import StreamPrefix

END = GenerationEnd(-0.5, FinishReason.STOP, "release")


def deltas(ids: list[list[int]], rng: Random) -> list[TokenDelta]:
    """The stream of some prompts' tokens, cut and mixed at random."""
    found, places = [], [0] * len(ids)
    while any(place <= len(own) for place, own in zip(places, ids, strict=True)):
        index = rng.choice([each for each, place in enumerate(places) if place <= len(ids[each])])
        start, size = places[index], rng.randint(1, 4)
        part = tuple(ids[index][start : start + size])
        is_last = start + size > len(ids[index])
        found.append(TokenDelta(index, part, (-0.1,) * len(part), END if is_last else None))
        places[index] = len(ids[index]) + 1 if is_last else start + size
    return found


@pytest.mark.parametrize("seed", range(50))
def test_wherever_streams_break_the_reader_gets_each_token_and_each_end_once(seed: int) -> None:
    rng = Random(seed)
    ids = [[rng.randrange(9) for _ in range(rng.randrange(12))] for _ in range(3)]
    prefix, read = StreamPrefix(3), []
    for is_last in (False, False, True):
        stream = deltas(ids, rng)
        broken_off = stream if is_last else stream[: rng.randrange(len(stream) + 1)]
        prefix.restart()
        read += [rest for rest in map(prefix.remainder, broken_off) if rest is not None]
    for index, own in enumerate(ids):
        mine = [each for each in read if each.index == index]
        assert list(itertools.chain.from_iterable(each.token_ids for each in mine)) == own
        assert all(len(each.logprobs) == len(each.token_ids) for each in mine)
        assert [each.end for each in mine if each.end] == [END]
        assert mine[-1].end == END


def test_other_tokens_than_before_are_an_error() -> None:
    prefix = StreamPrefix(1)
    prefix.remainder(TokenDelta(0, (1, 2, 3), (-0.1,) * 3))
    prefix.restart()
    assert prefix.remainder(TokenDelta(0, (1, 2), (-0.1,) * 2)) is None
    with pytest.raises(ValueError, match="differs"):
        prefix.remainder(TokenDelta(0, (4, 5), (-0.1,) * 2))
