"""API keys over all surfaces: a transformer with keys, in front of a stand-in for the predictor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deepl
import grpc
import httpx
import openai
import pytest
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from protocol.codec import infer_from_translate_request
from protocol.codec.protobuf import encode_grpc_request
from protocol.messages import TranslateRequest
from tests.e2e.text_callers import request_of, text_stream
from tests.metric_samples import sample_sum
from tests.ports import free_port
from tests.transformer.predictor_stand_in import serve
from tests.transformer.process import Transformer, running_transformer
from tests.transformer.streaming_stand_in import StreamingStandIn
from transformer.callers.key_file import ApiKey, KeyFile, format_keys, hash_key

QUOTA = 100
GOOD, POOR, SLOW, CHINESE = "yw-good", "yw-poor", "yw-slow", "yw-chinese"


def _key(secret: str, **limits: Any) -> ApiKey:
    return ApiKey(id=secret.removeprefix("yw-"), sha256=hash_key(secret), **limits)


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keys = (
        _key(GOOD, characters_per_month=1_000_000),
        _key(POOR, characters_per_month=QUOTA),
        _key(SLOW, requests_per_second=0.01),
        _key(CHINESE, languages=("zh",)),
    )
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    path.write_text(format_keys(KeyFile(keys=keys)))
    return path


@pytest.fixture(scope="module")
def grpc_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def transformer(release_directory: Path, keys_file: Path, grpc_port: int) -> Iterator[Transformer]:
    settings = {"YIWEN_API_KEYS_FILE": str(keys_file)}
    with serve(StreamingStandIn()) as predictor:
        url = predictor.url.removeprefix("http://")
        arguments = ("--grpc_port", str(grpc_port))
        with running_transformer(release_directory, url, *arguments, settings=settings) as served:
            yield served


@pytest.fixture(scope="module")
def channel(transformer: Transformer, grpc_port: int) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as opened:
        yield opened


@pytest.fixture(scope="module")
def http(transformer: Transformer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=transformer.url, timeout=20) as client:
        yield client


def infer(http: httpx.Client, key: str | None, *texts: str, target: str = "zh") -> httpx.Response:
    tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}
    body = {"inputs": [tensor], "parameters": {"target": target, "source": "en"}}
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return http.post("/v2/models/tiny/infer", json=body, headers=headers)


def test_without_a_key_nothing_is_translated(http: httpx.Client) -> None:
    for key in (None, "yw-other"):
        response = infer(http, key, "hello")
        assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
    assert infer(http, GOOD, "hello").status_code == 200
    assert http.get("/v2/health/ready").status_code == 200


DEEPL = {"text": ["hello there"], "source_lang": "EN", "target_lang": "ZH"}
LIBRE = {"q": "hello there", "source": "en", "target": "zh"}
CHAT = {"model": "tiny@en-zh", "messages": [{"role": "user", "content": "hello there"}]}
DEEPLX = {"text": "hello there", "source_lang": "EN", "target_lang": "ZH"}
CALLS: list[tuple[str, dict[str, Any], int]] = [
    ("/v2/translate", DEEPL, 403),
    ("/translate", LIBRE, 403),
    ("/v1/chat/completions", CHAT, 401),
    ("/language/translate/v2", {"q": "hello there", "source": "en", "target": "zh"}, 401),
    ("/deeplx/translate", DEEPLX, 401),
    ("/immersive", {"text_list": ["hello there"], "source_lang": "en", "target_lang": "zh"}, 401),
    (
        "/v2/models/tiny/generate",
        {"text_input": "hello", "parameters": {"target": "zh", "source": "en"}},
        401,
    ),
    ("/v2/models/tiny/generate_stream", {"text_input": "hello", "parameters": {"target": "zh"}}, 401),
]


@pytest.mark.parametrize(("path", "body", "status"), CALLS)
def test_every_surface_needs_a_key(http: httpx.Client, path: str, body: dict[str, Any], status: int) -> None:
    refused = http.post(path, json=body)
    assert refused.status_code == status
    assert refused.headers["x-yiwen-error-code"] == "unauthenticated"
    assert http.post(path, json=body, headers={"authorization": f"Bearer {GOOD}"}).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v2/translate", DEEPL, "auth_key"),
        ("/translate", LIBRE, "api_key"),
        ("/language/translate/v2", {"q": "hi", "source": "en", "target": "zh"}, "key"),
    ],
)
def test_keys_come_in_each_apis_own_field(
    http: httpx.Client, path: str, body: dict[str, Any], field: str
) -> None:
    assert http.post(path, json={**body, field: GOOD}).status_code == 200
    assert http.post(path, json=body, params={field: GOOD}).status_code == 200


def test_a_quota_is_told_and_refused_in_each_apis_form(transformer: Transformer, http: httpx.Client) -> None:
    client = deepl.DeepLClient(POOR, server_url=transformer.url)
    client.translate_text("a" * 60, source_lang="EN", target_lang="ZH")
    usage = client.get_usage().character
    assert (usage.count, usage.limit) == (60, QUOTA)
    with pytest.raises(deepl.QuotaExceededException):
        client.translate_text("b" * 60, source_lang="EN", target_lang="ZH")
    client.close()  # type: ignore[no-untyped-call]
    response = infer(http, POOR, "b" * 60)
    assert (response.status_code, response.json()["code"]) == (429, "quota_exceeded")
    response = http.post("/translate", json={**LIBRE, "q": "b" * 60, "api_key": POOR})
    assert response.status_code == 429
    assert response.json()["error"].startswith("Slowdown: the quota of 100 characters")
    messages: Any = [{"role": "user", "content": "b" * 60}]
    with (
        openai.OpenAI(base_url=f"{transformer.url}/v1", api_key=POOR, max_retries=0) as chat,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        chat.chat.completions.create(model="tiny@en-zh", messages=messages)
    assert caught.value.code == "insufficient_quota"


def test_what_is_not_answered_is_not_counted(http: httpx.Client) -> None:
    def used() -> int:
        headers = {"authorization": f"DeepL-Auth-Key {GOOD}"}
        count: int = http.get("/v2/usage", headers=headers).json()["character_count"]
        return count

    before = used()
    assert infer(http, GOOD, "a text that is not in that language", target="xx").status_code == 404
    assert used() == before
    assert infer(http, GOOD, "1234567").status_code == 200
    assert used() == before + 7


def test_a_rate_is_refused_with_the_time_to_wait(http: httpx.Client) -> None:
    assert infer(http, SLOW, "hello").status_code == 200
    response = infer(http, SLOW, "hello")
    assert (response.status_code, response.json()["code"]) == (429, "rate_limited")
    assert 90 < int(response.headers["retry-after"]) <= 100


def test_a_key_may_be_for_some_languages(http: httpx.Client) -> None:
    assert infer(http, CHINESE, "hello").status_code == 200
    response = http.post(
        "/v2/translate",
        json={"text": ["你好"], "source_lang": "ZH", "target_lang": "EN-GB"},
        headers={"authorization": f"DeepL-Auth-Key {CHINESE}"},
    )
    assert response.status_code == 403
    assert response.json() == {"message": "this key may translate to zh only"}


def test_a_glossary_is_its_makers_alone(transformer: Transformer) -> None:
    first = deepl.DeepLClient(GOOD, server_url=transformer.url)
    second = deepl.DeepLClient(CHINESE, server_url=transformer.url)
    glossary = first.create_glossary("mine", "EN", "ZH", {"shirt": "衫"})
    assert [each.name for each in first.list_glossaries()] == ["mine"]
    assert second.list_glossaries() == []
    with pytest.raises(deepl.GlossaryNotFoundException):
        second.get_glossary(glossary.glossary_id)
    with pytest.raises(deepl.GlossaryNotFoundException):
        second.delete_glossary(glossary.glossary_id)
    first.delete_glossary(glossary)
    for client in (first, second):
        client.close()  # type: ignore[no-untyped-call]


def infer_over_grpc(channel: grpc.Channel, text: str, *metadata: tuple[str, str]) -> None:
    message = infer_from_translate_request(TranslateRequest((text,), ("en",), ("zh",)), model_name="tiny")
    GRPCInferenceServiceStub(channel).ModelInfer(
        encode_grpc_request(message, raw=False), metadata=metadata, timeout=20
    )


def stream_over_grpc(channel: grpc.Channel, text: str, *metadata: tuple[str, str]) -> None:
    message = request_of(text, model_name="tiny")
    list(text_stream(channel)(message, metadata=metadata, timeout=20))


BOTH_CALLS = pytest.mark.parametrize("call", [infer_over_grpc, stream_over_grpc])


@BOTH_CALLS
@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer yw-other"),)])
def test_grpc_needs_a_key(channel: grpc.Channel, call: Any, metadata: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, "hello", *metadata)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert ("x-yiwen-error-code", "unauthenticated") in error.trailing_metadata()
    assert "yw-other" not in error.details()


@pytest.mark.parametrize("metadata", [("authorization", f"Bearer {GOOD}"), ("x-api-key", GOOD)])
def test_grpc_takes_a_key_in_its_metadata(channel: grpc.Channel, http: httpx.Client, metadata: Any) -> None:
    def used() -> int:
        count: int = http.get("/v2/usage", headers={"x-api-key": GOOD}).json()["character_count"]
        return count

    before = used()
    infer_over_grpc(channel, "1234567", metadata)
    assert used() == before + 7


@BOTH_CALLS
def test_grpc_keeps_to_quotas_and_languages(channel: grpc.Channel, call: Any) -> None:
    for text, key, code in (("b" * (QUOTA + 1), POOR, "quota_exceeded"), ("hello", CHINESE, None)):
        try:
            call(channel, text, ("authorization", f"Bearer {key}"))
        except grpc.RpcError as error:
            caught: Any = error
            assert ("x-yiwen-error-code", code) in caught.trailing_metadata()
            assert caught.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        else:
            assert code is None


def test_callers_are_counted_by_the_id_of_their_key(http: httpx.Client) -> None:
    infer(http, GOOD, "hello")
    metrics = http.get("/metrics").text
    assert sample_sum(metrics, 'yiwen_transformer_caller_characters_total{caller="good"}') > 0
    assert GOOD not in metrics
