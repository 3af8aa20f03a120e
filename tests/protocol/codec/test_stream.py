from __future__ import annotations

import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codec import (
    HEARTBEAT,
    EventDecoder,
    ServerSentEvent,
    delta_from_event,
    document_from_delta,
    encode_error_event,
    encode_event,
)
from protocol.error_codes import ErrorCode
from protocol.errors import InternalFault, NotReady, Overloaded, YiwenError
from protocol.messages import FinishReason, GenerationEnd, TokenDelta

LOGPROB = st.floats(-50, 0)
TOKENS = st.lists(st.tuples(st.integers(0, 2**31 - 1), LOGPROB), max_size=5)
ENDS = st.none() | st.builds(GenerationEnd, LOGPROB, st.sampled_from(FinishReason), st.text(min_size=1))


@st.composite
def deltas(draw: st.DrawFn) -> TokenDelta:
    tokens = draw(TOKENS)
    ids, logprobs = tuple(i for i, _ in tokens), tuple(p for _, p in tokens)
    return TokenDelta(draw(st.integers(0, 100)), ids, logprobs, draw(ENDS))


@given(st.lists(deltas(), max_size=5), st.lists(st.integers(1, 40), max_size=50), st.booleans())
def test_deltas_come_back_however_the_bytes_are_cut(
    sent: list[TokenDelta], cuts: list[int], carriage_returns: bool
) -> None:
    wire = b"".join(encode_event(document_from_delta(delta)) + HEARTBEAT for delta in sent)
    if carriage_returns:
        wire = wire.replace(b"\n", b"\r\n")
    decoder, events = EventDecoder(), []
    for cut in [*cuts, len(wire)]:
        part, wire = wire[:cut], wire[cut:]
        events += decoder.feed(part)
    assert [delta_from_event(event) for event in events] == sent


def test_no_reader_of_lines_cuts_an_event_in_two() -> None:
    document = {"text_output": "a\u2028b\u2029c\u0085d\\\u2028", "\u2029": "é 手机"}
    event = encode_event(document)
    assert len(event.decode().splitlines()) == 2
    (decoded,) = EventDecoder().feed(event)
    assert orjson.loads(decoded.data) == document


@pytest.mark.parametrize(
    "error",
    [
        Overloaded("no room", code=ErrorCode.QUEUE_FULL, retry_after_s=2.5),
        NotReady("draining"),
    ],
)
def test_an_error_event_raises_what_was_sent(error: YiwenError) -> None:
    (event,) = EventDecoder().feed(encode_error_event(error))
    with pytest.raises(type(error), match=error.message) as caught:
        delta_from_event(event)
    assert (caught.value.code, caught.value.retry_after_s) == (error.code, error.retry_after_s)


@pytest.mark.parametrize("field", ["logprobs", "end"])
def test_a_logprob_that_is_no_number_is_our_fault(field: str) -> None:
    end = GenerationEnd(math.nan, FinishReason.STOP, "r")
    delta = TokenDelta(0, (1,), (math.nan,)) if field == "logprobs" else TokenDelta(0, (), (), end)
    with pytest.raises(InternalFault, match="finite"):
        document_from_delta(delta)


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"index": -1, "token_ids": [], "logprobs": []},
        {"index": True, "token_ids": [], "logprobs": []},
        {"index": 0, "token_ids": ["1"], "logprobs": [-0.1]},
        {"index": 0, "token_ids": [1], "logprobs": []},
        {"index": 0, "token_ids": [1], "logprobs": [None]},
        {"index": 0, "token_ids": [], "logprobs": [], "finish_reason": "tired"},
        {"index": 0, "token_ids": [], "logprobs": [], "finish_reason": ["stop"]},
        {"index": 0, "token_ids": [], "logprobs": [], "finish_reason": "stop", "logprob": 0},
        {"index": 0, "token_ids": [], "logprobs": [], "finish_reason": "stop", "release": "r"},
    ],
)
def test_an_event_that_is_none_of_ours_is_the_predictors_fault(document: object) -> None:
    with pytest.raises(InternalFault, match="the predictor's stream cannot be read"):
        delta_from_event(ServerSentEvent("message", orjson.dumps(document).decode()))


@pytest.mark.parametrize(("name", "data"), [("message", "{"), ("error", "{}"), ("error", '{"error": "x"}')])
def test_broken_json_or_a_broken_error_is_the_predictors_fault(name: str, data: str) -> None:
    with pytest.raises(InternalFault, match="the predictor's stream cannot be read"):
        delta_from_event(ServerSentEvent(name, data))


def test_bytes_that_are_not_utf8_are_the_predictors_fault() -> None:
    with pytest.raises(InternalFault, match="UTF-8"):
        EventDecoder().feed(b"data: \xff\n\n")


def test_data_of_several_lines_is_joined_and_unknown_fields_are_passed_over() -> None:
    (event,) = EventDecoder().feed(b"id: 4\nretry: 10\ndata: {\ndata:}\n\n\n")
    assert event == ServerSentEvent("message", "{\n}")
