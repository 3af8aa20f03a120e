from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from protocol.codec.sdk import pb
from protocol.tensors import TRANSLATE_INPUTS, TRANSLATE_OUTPUTS
from tests.serving.conftest import MODEL, Server, ask, grpc_ask
from tests.serving.echo_server import RELEASE


@pytest.fixture
def unhealthy(client: httpx.Client) -> Iterator[None]:
    client.get("/test/healthy/false")
    yield
    client.get("/test/healthy/true")


def test_a_healthy_model_is_ready_everywhere(client: httpx.Client) -> None:
    assert client.get("/").json() == {"status": "alive"}
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    for path in (f"/v2/models/{MODEL}/ready", f"/v1/models/{MODEL}"):
        assert client.get(path).json() == {"name": MODEL, "ready": True}


@pytest.mark.usefixtures("unhealthy")
def test_an_unhealthy_model_is_not_ready_on_rest(client: httpx.Client) -> None:
    assert client.get("/v2/health/live").status_code == 200
    for path in ("/v2/health/ready", f"/v2/models/{MODEL}/ready", f"/v1/models/{MODEL}"):
        assert client.get(path).status_code == 503
    answer = client.post(f"/v2/models/{MODEL}/infer", json=ask("x"))
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


@pytest.mark.usefixtures("unhealthy")
async def test_an_unhealthy_model_is_not_ready_on_grpc(server: Server) -> None:
    assert not (await server.call("ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse)).ready
    request = pb.ModelReadyRequest(name=MODEL)
    assert not (await server.call("ModelReady", request, pb.ModelReadyResponse)).ready
    assert (await server.failure(grpc_ask("x"))).code().name == "UNAVAILABLE"


def test_metadata_is_the_table_the_platform_and_the_release(client: httpx.Client) -> None:
    assert client.get("/v2").json()["name"] == "yiwen"
    assert client.get("/v2/models").json() == {"models": [MODEL]}
    for path in (f"/v2/models/{MODEL}", f"/v2/models/{MODEL}/versions/{RELEASE}"):
        document = client.get(path).json()
        assert document["versions"] == [RELEASE]
        assert document["platform"] == "echo"
        assert document["inputs"] == [spec.describe() for spec in TRANSLATE_INPUTS]
        assert document["outputs"] == [spec.describe() for spec in TRANSLATE_OUTPUTS]


async def test_grpc_metadata_is_the_same(server: Server) -> None:
    request = pb.ModelMetadataRequest(name=MODEL)
    answer = await server.call("ModelMetadata", request, pb.ModelMetadataResponse)
    assert list(answer.versions) == [RELEASE]
    assert [(i.name, i.datatype, tuple(i.shape)) for i in answer.inputs] == [
        (spec.name, spec.datatype, spec.shape) for spec in TRANSLATE_INPUTS
    ]
    server_metadata = await server.call(
        "ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse
    )
    assert server_metadata.name == "yiwen"
