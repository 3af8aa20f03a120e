"""Standard mode behind the Gateway API: gRPC by a route of its own, and a predictor that only transformers reach."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import grpc
import httpx
import pytest

from tests.cluster.installation import Site
from tests.cluster.kubectl import documents, eventually
from tests.cluster.load import MODEL
from tests.cluster.releases import titles

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def site(standard: Site) -> Iterator[Site]:
    with standard.serving():
        yield standard


def test_grpc_comes_through_the_gateway(site: Site) -> None:
    # Two seconds of imports, which each process would pay for when it collects.
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
    from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services

    text, expected = next(titles(f"grpc-{time.time()}"))
    host = site.installation.get("grpcroute", "yiwen")["spec"]["hostnames"][0]
    gateway = urlsplit(site.service.url)
    options = [("grpc.default_authority", host)]
    with grpc.insecure_channel(f"{gateway.hostname}:{gateway.port or 80}", options=options) as channel:
        stub = services.GRPCInferenceServiceStub(channel)
        assert stub.ModelReady(pb.ModelReadyRequest(name=MODEL), timeout=10).ready
        request = pb.ModelInferRequest(model_name=MODEL)
        request.parameters["source"].string_param = "en"
        request.parameters["target"].string_param = "zh"
        tensor = request.inputs.add(name="text", datatype="BYTES", shape=[1])
        tensor.contents.bytes_contents.append(text.encode())
        answer = stub.ModelInfer(request, timeout=30)
    names = [output.name for output in answer.outputs]
    assert names[0] == "translation"
    content = answer.raw_output_contents[0][4:] if answer.raw_output_contents else b""
    assert (content or answer.outputs[0].contents.bytes_contents[0]).decode() == expected


def test_the_predictor_has_no_public_route(site: Site) -> None:
    namespace = site.installation.namespace
    routes = site.installation.objects("httproutes")
    assert [each["metadata"]["name"] for each in routes] == ["yiwen"]
    backends = {backend["name"] for rule in routes[0]["spec"]["rules"] for backend in rule["backendRefs"]}
    assert backends == {"yiwen-transformer"}
    assert not site.installation.objects("ingresses")
    domain = site.service.host.partition(".")[2]
    for host in (f"yiwen-predictor-{namespace}.{domain}", f"yiwen-predictor.{namespace}.{domain}"):
        answer = httpx.get(f"{site.service.url}/v2/health/live", headers={"Host": host}, timeout=10)
        assert answer.status_code == 404, (host, answer.text)


def test_keda_follows_the_overlay(site: Site) -> None:
    namespace = site.installation.namespace
    scaled = eventually("a ScaledObject", lambda: documents("scaledobjects", "-n", namespace), 60.0)
    assert "yiwen_predictor_slots_used" in json.dumps(scaled)
