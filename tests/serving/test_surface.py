"""What a server shows beside inference: its OpenAPI document, CORS, and metrics on a port of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.ports import free_port
from tests.serving.conftest import MODEL, Server, ask
from tests.serving.echo_server import RELEASE

ORIGIN = "https://shop.example"


def test_the_openapi_document_lists_what_is_served(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["info"]["title"] == "yiwen"
    assert {
        "/v2/health/ready",
        "/metrics",
        "/test/raw",
        f"/v2/models/{MODEL}/infer",
        f"/v2/models/{MODEL}/generate",
        f"/v2/models/{MODEL}/generate_stream",
        f"/v2/models/{MODEL}/versions/{RELEASE}/infer",
    } < set(document["paths"])
    for path, operations in document["paths"].items():
        for method in operations:
            if not path.startswith("/test/"):
                reply = client.request(method, path, content=b"{" if method == "post" else None)
                assert reply.status_code == (400 if "infer" in path else 500 if method == "post" else 200), (
                    path
                )


def test_the_sdks_routes_that_are_refused_are_not_listed(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert not [path for path in paths if "repository" in path or "predict" in path or "explain" in path]


def test_references_of_the_openapi_document_resolve(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()

    def check(part: object) -> None:
        if isinstance(part, dict):
            reference = part.get("$ref")
            if reference is not None:
                prefix, _, name = reference.rpartition("/")
                assert prefix == "#/components/schemas"
                assert name in document["components"]["schemas"]
            part = list(part.values())
        for each in part if isinstance(part, list) else ():
            check(each)

    check(document)


def test_pages_of_other_origins_may_not_call(client: httpx.Client) -> None:
    reply = client.get("/v2/health/live", headers={"origin": ORIGIN})
    assert "access-control-allow-origin" not in reply.headers
    preflight = {"origin": ORIGIN, "access-control-request-method": "POST"}
    assert client.options(f"/v2/models/{MODEL}/infer", headers=preflight).status_code == 405


@pytest.fixture(scope="module")
def open_server() -> Iterator[Server]:
    started = Server(YIWEN_CORS_ORIGINS=f"{ORIGIN}, http://localhost:3000")
    try:
        yield started.wait_ready()
    finally:
        started.stop()


def test_pages_of_set_origins_may_call(open_server: Server) -> None:
    preflight = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type, inference-header-content-length",
    }
    reply = httpx.options(open_server.infer_url, headers=preflight)
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == ORIGIN
    reply = httpx.post(open_server.infer_url, json=ask("x"), headers={"origin": ORIGIN})
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == ORIGIN
    assert "x-request-id" in reply.headers["access-control-expose-headers"]
    other = httpx.options(open_server.infer_url, headers={**preflight, "origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers


def test_metrics_may_have_a_port_of_their_own(start_server: Callable[..., Server]) -> None:
    port = free_port()
    server = start_server(YIWEN_METRICS_PORT=str(port)).wait_ready()
    metrics = f"http://127.0.0.1:{port}"
    assert "yiwen_requests_total" in httpx.get(f"{metrics}/metrics").text
    assert httpx.get(f"{metrics}/v2/health/ready").status_code == 404
    assert httpx.get(f"{server.url}/metrics").status_code == 404
    assert "/metrics" not in httpx.get(f"{server.url}/openapi.json").json()["paths"]
    server.signal()
    assert server.process.wait(20) == 0
