from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from protocol.codec import (
    InferInput,
    InferOutput,
    InferRequest,
    InferResponse,
    generate_request_from_infer,
    generate_response_from_infer,
    infer_from_generate_request,
    infer_from_generate_response,
)
from protocol.errors import InternalFault, InvalidRequest
from protocol.messages import FinishReason, GenerateRequest, GenerateResponse, Generation, SamplingParams


def numbers(name: str, values: Any) -> InferInput:  # nested lists of any depth
    array = np.array(values, dtype=np.int32)
    return InferInput(name, list(array.shape), "INT32", data=array)


def bounded(*bounds: int, **parameters: object) -> InferRequest:
    """A request whose bounds come as a tensor."""
    request = asked(**{"max_new_tokens": None, **parameters})
    request.inputs.append(numbers("max_new_tokens", bounds))
    return request


@pytest.mark.parametrize(("bounds", "read"), [((9,), (9, 9)), ((3, 8), (3, 8))])
def test_each_prompt_may_have_its_own_bound(bounds: tuple[int, ...], read: tuple[int, ...]) -> None:
    assert generate_request_from_infer(bounded(*bounds)).max_new_tokens == read


@pytest.mark.parametrize("bounds", [(8,), (0, 8)])
def test_each_prompt_may_have_its_own_bound_of_repeats(bounds: tuple[int, ...]) -> None:
    request = asked()
    request.inputs.append(numbers("max_repeats", bounds))
    assert generate_request_from_infer(request).max_repeats == (bounds * 2)[:2]
    assert generate_request_from_infer(asked(max_repeats=8)).max_repeats == (8, 8)
    assert generate_request_from_infer(asked()).max_repeats == ()


def test_a_request_that_stops_nothing_is_on_the_wire_as_it_always_was() -> None:
    plain = GenerateRequest(((1, 2), (3,)), (4, 4))
    off = dataclasses.replace(plain, max_repeats=(0, 0))
    inputs = [infer_from_generate_request(each, model_name="m").inputs for each in (plain, off)]
    assert [[each.name for each in found] for found in inputs] == [
        ["input_ids", "input_lengths", "max_new_tokens"]
    ] * 2


def asked(ids: object = ((5, 6), (7, -1)), lengths: object = (2, 1), **parameters: object) -> InferRequest:
    return InferRequest(
        model_name="m",
        infer_inputs=[numbers("input_ids", ids), numbers("input_lengths", lengths)],
        parameters={"max_new_tokens": 4, **parameters},
    )


def test_padding_is_never_read() -> None:
    read = generate_request_from_infer(asked())
    assert read.prompts == ((5, 6), (7,))
    assert read.max_new_tokens == (4, 4)
    assert read.params == SamplingParams()
    assert read.release is None


def test_fractions_may_come_as_text() -> None:
    read = generate_request_from_infer(asked(temperature="0.5", top_p="1", seed=3))
    assert read.params == SamplingParams(0.5, 1.0, 3)


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (asked(lengths=(2,)), "send one for each of 2 rows"),
        (asked(lengths=(2, 0)), "from 1 to 2"),
        (asked(lengths=(3, 1)), "from 1 to 2"),
        (asked(ids=((5, -6), (7, 0))), "negative id"),
        (asked(ids=np.zeros((0, 3)), lengths=()), "at least one prompt"),
        (asked(ids=(5, 6)), "input input_ids must be INT32 of shape [N, S]"),
        (asked(max_new_tokens=None), "max_new_tokens is missing"),
        (asked(max_new_tokens=0), "max_new_tokens must be"),
        (bounded(1, 2, 3), "max_new_tokens has 3 values; send one, or one for each of 2 rows"),
        (bounded(4, 0), "every value of max_new_tokens must be at least 1"),
        (bounded(4, 4, max_new_tokens=4), "as input and as parameter"),
        (asked(max_repeats=1), "every value of max_repeats must be 0, which stops nothing, or at least 2"),
        (asked(max_repeats=-1), "max_repeats must be a whole number from 0"),
        (asked(max_repeats="8"), "max_repeats must be a whole number from 0"),
        (asked(temperature=-0.1), "temperature must be a number at least 0"),
        (asked(temperature=math.inf), "temperature must be"),
        (asked(temperature="nan"), "temperature must be"),
        (asked(temperature=True), "temperature must be"),
        (asked(temperature="warm"), "temperature must be"),
        (asked(temperature=10**400), "temperature must be"),
        (asked(top_p=0), "top_p must be a number above 0 and at most 1"),
        (asked(top_p=1.5), "top_p must be"),
        (asked(seed=-1), "seed must be"),
        (asked(seed=2**63), "seed must be"),
        (asked(release=""), "release must be a string"),
        (asked(top_k=-1), "top_k must be a whole number from 0"),
        (asked(top_pp=5), "did you mean top_p?"),
    ],
)
def test_what_is_wrong_is_said(request_: InferRequest, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        generate_request_from_infer(request_)
    assert says in caught.value.message


@pytest.mark.parametrize("logprob", [math.nan, -math.inf])
def test_a_log_probability_that_is_no_number_is_our_fault(logprob: float) -> None:
    response = GenerateResponse((Generation((1,), logprob, FinishReason.STOP),), "r")
    with pytest.raises(InternalFault):
        infer_from_generate_response(response, asked())


def test_an_answer_that_is_not_a_generation_is_our_fault() -> None:
    answer = GenerateResponse((Generation((1,), -0.5, FinishReason.LENGTH),), "r")
    good = infer_from_generate_response(answer, asked())
    assert generate_response_from_infer(good) == answer
    odd = [*good.outputs[:3], InferOutput("finish_reason", [1], "BYTES", data=["bored"])]
    uneven = [*good.outputs[:3], InferOutput("finish_reason", [2], "BYTES", data=["stop", "stop"])]
    for outputs in (odd, uneven, good.outputs[1:]):
        with pytest.raises(InternalFault):
            generate_response_from_infer(InferResponse("1", "m", outputs, parameters=good.parameters))
