"""Text to text over both surfaces of the real service."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from tests.e2e.conftest import Service

TITLES = ["Blue cotton shirt, size 42", "黑色男士防水跑鞋 42码", "  Set of 4 mugs\n"]


def body(texts: list[str], **parameters: object) -> dict[str, object]:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    return {"inputs": [tensor], "parameters": parameters}


def outputs(answer: httpx.Response) -> dict[str, list[object]]:
    assert answer.status_code == 200, answer.text
    return {tensor["name"]: tensor["data"] for tensor in answer.json()["outputs"]}


def infer(service: Service, texts: list[str], **parameters: object) -> dict[str, list[Any]]:
    url = f"{service.url}/v2/models/random/infer"
    return outputs(httpx.post(url, json=body(texts, **parameters), timeout=30))


def test_texts_come_back_in_order_with_source_confidence_and_cache(service: Service) -> None:
    first = infer(service, TITLES[:1] + TITLES[2:], target="zh")
    assert len(first["translation"]) == 2
    assert first["source"] == ["en", "en"]
    assert first["cache"] == ["miss", "miss"]
    assert all(0 < float(value) <= 1 for value in first["confidence"])


def test_complete_answers_are_served_from_the_cache_the_second_time(service: Service) -> None:
    """The random model ends some answers by itself; those that ran into their limit are not cached."""
    texts = [f"Shirt number {i}" for i in range(40)]
    first = infer(service, texts, target="zh")
    again = infer(service, texts, target="zh")
    assert first["cache"] == ["miss"] * len(texts)
    assert 0 < again["cache"].count("hit") < len(texts)
    assert again["translation"] == first["translation"]


def test_outer_white_space_is_kept(service: Service) -> None:
    (translation,) = infer(service, TITLES[2:], target="zh")["translation"]
    assert str(translation).startswith("  ")
    assert str(translation).endswith("\n")


def test_a_text_in_the_target_language_or_without_letters_is_not_sent_to_the_model(service: Service) -> None:
    texts = [TITLES[1], "42 / 1.5", ""]
    before = service.metric("yiwen_predictor_sequences_total")
    answer = infer(service, texts, target="zh")
    assert answer["translation"] == texts
    assert answer["cache"] == ["bypass"] * 3
    assert service.metric("yiwen_predictor_sequences_total") == before


def test_equal_texts_in_one_request_are_generated_once(service: Service) -> None:
    before = service.metric("yiwen_predictor_sequences_total")
    answer = infer(service, ["One and the same title"] * 5, target="zh")
    assert answer["cache"] == ["miss"] + ["shared"] * 4
    assert len(set(answer["translation"])) == 1
    assert service.metric("yiwen_predictor_sequences_total") == before + 1


def test_grpc_gives_the_answer_of_rest(service: Service) -> None:
    expected = infer(service, TITLES[:1], target="zh")
    with grpc.insecure_channel(service.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        assert stub.ServerReady(pb.ServerReadyRequest()).ready
        request = pb.ModelInferRequest(model_name="random")
        request.parameters["target"].string_param = "zh"
        tensor = request.inputs.add(name="text", datatype="BYTES", shape=[1])
        tensor.contents.bytes_contents.append(TITLES[0].encode())
        answer = stub.ModelInfer(request, timeout=30)
    by_name = {tensor.name: tensor for tensor in answer.outputs}
    assert by_name["translation"].contents.bytes_contents[0].decode() == expected["translation"][0]
    assert by_name["confidence"].contents.fp32_contents[0] == pytest.approx(
        expected["confidence"][0], rel=1e-5
    )


def test_one_bad_text_leaves_the_others_over_rest_and_grpc(service: Service) -> None:
    texts = [TITLES[0], "Привет мир", "Unmistakable zanzibar" * 500, "A grey cup"]
    over_rest = infer(service, texts, target="zh", on_error="per_text")
    codes = [json.loads(error)["code"] if error else None for error in over_rest["error"]]
    assert codes == [None, "language_undetected", "text_too_long", None]
    assert [bool(text) for text in over_rest["translation"]] == [True, False, False, True]
    assert over_rest["cache"][1:3] == ["none", "none"]
    with grpc.insecure_channel(service.grpc) as channel:
        request = pb.ModelInferRequest(model_name="random")
        request.parameters["target"].string_param = "zh"
        request.parameters["on_error"].string_param = "per_text"
        tensor = request.inputs.add(name="text", datatype="BYTES", shape=[4])
        tensor.contents.bytes_contents.extend(text.encode() for text in texts)
        answer = GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=30)
    by_name = {tensor.name: tensor.contents.bytes_contents for tensor in answer.outputs}
    assert [error.decode() for error in by_name["error"]] == over_rest["error"]
    assert [text.decode() for text in by_name["translation"]] == over_rest["translation"]


def test_metadata_names_the_release_and_the_tensors(service: Service, random_release_dir: Path) -> None:
    document = httpx.get(f"{service.url}/v2/models/random").json()
    assert [tensor["name"] for tensor in document["outputs"]] == [
        "translation",
        "source",
        "confidence",
        "cache",
        "flags",
        "error",
        "target",
    ]
    assert document["versions"][0] in (random_release_dir / "release.json").read_text()


async def test_many_callers_at_once_get_what_one_gets(service: Service) -> None:
    rng = np.random.default_rng(5)
    words = ["red", "blue", "cotton", "shirt", "mug", "lamp", "steel", "small", "large", "set"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 8))) + f" {i}" for i in range(60)]
    url = f"{service.url}/v2/models/random/infer"
    async with httpx.AsyncClient(timeout=60) as client:
        answers = await asyncio.gather(*(client.post(url, json=body([t], target="zh")) for t in texts))
    together = [outputs(answer)["translation"][0] for answer in answers]
    assert together == infer(service, texts, target="zh")["translation"]


def test_no_text_ever_reaches_a_log(service: Service, service_log: Path) -> None:
    infer(service, ["Unmistakable zanzibar"], target="zh")
    httpx.post(
        f"{service.url}/v2/models/random/infer", json=body(["Unmistakable zanzibar" * 500], target="zh")
    )
    assert "zanzibar" not in service_log.read_text()
