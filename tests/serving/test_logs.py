from __future__ import annotations

import json
import logging
import sys

import httpx

from serving.logs import JsonFormatter, TextFormatter, describe_exception
from tests.serving.conftest import MODEL, Server, ask

SECRET = "the caller's own words"


def test_logs_are_json_lines_without_contents(server: Server, client: httpx.Client) -> None:
    path = f"/v2/models/{MODEL}/infer"
    ids = []
    for body in (
        ask(SECRET),
        ask(f"!raise TooLong {SECRET}"),
        ask(f"!bug {SECRET}"),
        ask(SECRET, max_new_tokens=0),
    ):
        ids.append(client.post(path, json=body).headers["x-request-id"])
    client.post(path, content=SECRET.encode())
    client.post("/test/order", json={"order": f"!bug {SECRET}"})
    lines = {request_id: server.log_of(request_id) for request_id in ids}
    log = server.log()
    assert SECRET not in log
    assert SECRET.split()[-1] not in log
    documents = [json.loads(line) for line in log.splitlines()]
    assert all({"ts", "level", "logger", "message"} <= set(document) for document in documents)

    (ordinary,) = lines[ids[0]]
    assert ordinary["status"] == 200
    assert ordinary["surface"] == "rest"
    assert ordinary["model"] == MODEL
    assert ordinary["texts"] == 1
    assert ordinary["duration_ms"] > 0
    unexpected, request = lines[ids[2]]
    assert unexpected["exception"][0] == "builtins.KeyError"
    assert any("_obey" in line for line in unexpected["exception"])
    assert request["status"] == 500


def test_a_request_is_logged_once_whatever_it_ends_with(server: Server, client: httpx.Client) -> None:
    for path, body in (
        (f"/v2/models/{MODEL}/infer", ask("x")),
        ("/test/order", {"order": "!raise NotFound"}),
    ):
        request_id = client.post(path, json=body).headers["x-request-id"]
        assert len(server.log_of(request_id)) == 1


def fail() -> None:
    try:
        dict[str, str]()["inner secret"]
    except KeyError as error:
        raise ValueError("outer secret") from error


def test_an_exception_is_described_by_types_and_places_alone() -> None:
    try:
        fail()
    except ValueError as error:
        described = "\n".join(describe_exception(error))
        info = sys.exc_info()
    assert "builtins.ValueError" in described
    assert "builtins.KeyError" in described
    assert "fail" in described
    assert "secret" not in described
    record = logging.LogRecord("a", logging.ERROR, "p", 1, "%s", ("happened",), info)
    record.fields = {"slots": 4}
    for text in (JsonFormatter().format(record), TextFormatter().format(record)):
        assert "happened" in text
        assert "slots" in text
        assert "KeyError" in text
        assert "secret" not in text
