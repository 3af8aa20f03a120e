"""Text streamed by both real processes: equal to the whole answer, cached when whole, cut at its deadline."""

from __future__ import annotations

import time

import grpc
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.codec import EventDecoder, delta_from_event
from protocol.errors import DeadlineExceeded
from protocol.proto.yiwen.v1 import generation_pb2 as pb
from tests.e2e.conftest import Service
from tests.e2e.endless_release import TOKENS
from tests.e2e.text_callers import (
    MODEL,
    SENTENCES,
    Caller,
    body_of,
    joined,
    long_text,
    messages_of,
    request_of,
    slots,
    streamed,
    text_stream,
    token_stream,
    wait_for,
    whole,
)

PARTS = st.sampled_from(
    [
        "Hello there.",
        " Where is it?\n",
        "  Set of 4 bowls! ",
        "no end",
        "这是什么？",
        "你好。",
        "12",
        "Mug {name}.",
        "\u3000",
    ]
)
TEXTS = st.lists(PARTS, max_size=4).map("".join)
MARKUP = st.lists(
    st.sampled_from(["<p>Blue mug. Red mug?</p>", "<b>{a}</b>", " two &amp; three ", "<br/>", "<i>x</i>"]),
    max_size=4,
).map("".join)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS, markup=MARKUP, whole_first=st.booleans(), target=st.sampled_from(["en", "zh"]))
def test_deltas_add_up_to_the_whole_answer(
    service: Service, text: str, markup: str, whole_first: bool, target: str
) -> None:
    source = {"zh": "en", "en": "zh"}[target]
    for input_, format_ in ((text, "text"), (markup, "html")):
        parameters = {"source": source, "target": target, "format": format_}
        before = whole(service, input_, **parameters) if whole_first else None
        *deltas, last = streamed(service, input_, **parameters)
        answer = before or whole(service, input_, **parameters)
        assert joined(deltas) == answer["text_output"]
        assert last["text_output"] == ""
        assert last["done"]
        assert not any(delta["done"] for delta in deltas)
        assert {delta["model_name"] for delta in [*deltas, last]} == {"random"}
        for field in ("source", "flags", "finish_reason", "model_version"):
            assert last[field] == answer[field]
        assert last["confidence"] == pytest.approx(answer["confidence"], rel=1e-5)
        assert last["usage"]["segments"] == answer["usage"]["segments"]


def test_a_stream_is_cached_when_it_is_whole_and_never_when_it_was_cut(endless_service: Service) -> None:
    text = long_text("the cut")
    caller = Caller(endless_service.url, "/generate_stream", body_of(text))
    assert caller.first_bytes()
    caller.kill()
    wait_for(lambda: slots(endless_service) == 0)
    first = streamed(endless_service, text)
    assert (first[-1]["cache"], first[-1]["usage"]["generated_tokens"]) == ("miss", SENTENCES * TOKENS)
    again = streamed(endless_service, text)
    assert (again[-1]["cache"], again[-1]["usage"]["generated_tokens"]) == ("hit", 0)
    answer = whole(endless_service, text)
    assert answer["cache"] == "hit"
    assert joined(first) == joined(again) == answer["text_output"]


def test_a_deadline_ends_a_stream_with_an_error_event(endless_service: Service) -> None:
    url = f"{endless_service.url}{MODEL}/generate_stream"
    content = httpx.post(url, json=body_of(long_text("the late"), deadline_ms=250), timeout=20).content
    *events, last = EventDecoder().feed(content)
    assert events
    with pytest.raises(DeadlineExceeded):
        delta_from_event(last)
    wait_for(lambda: slots(endless_service) == 0)


@pytest.mark.parametrize(("deadline_ms", "timeout"), [(250, 30.0), (30_000, 0.25)])
def test_the_shorter_deadline_ends_a_stream_over_grpc(
    endless_service: Service, deadline_ms: int, timeout: float
) -> None:
    started = time.monotonic()
    with grpc.insecure_channel(endless_service.grpc) as channel:
        call = text_stream(channel)(
            request_of(long_text(f"call {deadline_ms}"), deadline_ms=deadline_ms), timeout=timeout
        )
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 5
    wait_for(lambda: slots(endless_service) == 0)


def test_a_stream_over_grpc_is_that_over_rest(service: Service) -> None:
    text = "Hello there.  And where is it? Here."
    *deltas, last = messages_of(service, request_of(text))
    *_, event = rest = streamed(service, text)
    assert "".join(delta.text_output for delta in deltas) == joined(rest)
    assert not any(delta.HasField("end") for delta in deltas)
    end = last.end
    assert [end.source, end.finish_reason, list(end.flags), end.release] == [
        event[field] for field in ("source", "finish_reason", "flags", "model_version")
    ]
    assert end.confidence == pytest.approx(event["confidence"])
    assert end.usage.segments == event["usage"]["segments"] == 3


def test_the_predictors_stream_over_grpc_is_that_over_rest(service: Service) -> None:
    prompts = [[20, 30], [40, 50, 60]]
    request = pb.TokenStreamRequest(
        model_name="random",
        prompts=[pb.Prompt(token_ids=ids, max_new_tokens=20) for ids in prompts],
        temperature=1.0,
        seed=3,
    )
    with grpc.insecure_channel(service.predictor_grpc) as channel:
        messages = list(token_stream(channel)(request, timeout=20))
    inputs = [
        {"name": "input_ids", "datatype": "INT32", "shape": [2, 3], "data": [20, 30, 0, 40, 50, 60]},
        {"name": "input_lengths", "datatype": "INT32", "shape": [2], "data": [2, 3]},
    ]
    parameters = {"max_new_tokens": 20, "temperature": 1.0, "seed": 3}
    body = {"inputs": inputs, "parameters": parameters}
    content = httpx.post(f"{service.predictor_url}{MODEL}/generate_stream", json=body).content
    deltas = [delta_from_event(event) for event in EventDecoder().feed(content)]
    for index in range(2):
        ids = [token for delta in deltas if delta.index == index for token in delta.token_ids]
        assert [token for m in messages if m.index == index for token in m.token_ids] == ids
        (end,) = [delta.end for delta in deltas if delta.index == index and delta.end]
        (sent,) = [message.end for message in messages if message.index == index and message.HasField("end")]
        assert (sent.finish_reason, sent.release) == (end.finish_reason.value, end.release)
        assert sent.logprob == pytest.approx(end.logprob)


def test_a_request_for_another_release_is_refused_over_grpc_too(service: Service) -> None:
    prompt = pb.Prompt(token_ids=[20], max_new_tokens=4)
    request = pb.TokenStreamRequest(model_name="random", prompts=[prompt], release="f" * 16)
    with grpc.insecure_channel(service.predictor_grpc) as channel, pytest.raises(grpc.RpcError) as caught:
        list(token_stream(channel)(request, timeout=20))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert len(dict(caught.value.trailing_metadata())["x-yiwen-release"]) == 16
