"""Starting, leaving in the middle, draining: over real processes and real signals."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Service, running_service, stop_service
from tests.forkserver import run_module

pytestmark = pytest.mark.slow

LONG_TEXTS = [
    f"text number {i:04d} " + "which is long enough to keep a slot busy for a while " for i in range(400)
]


def long_body(texts: list[str]) -> bytes:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    return json.dumps({"inputs": [tensor], "parameters": {"target": "zh"}}).encode()


def wait_for(service: Service, metric: str, wanted: float, seconds: float = 10.0) -> float:
    """Seconds until the metric had the value."""
    started = time.monotonic()
    while service.metric(metric) != wanted:
        assert time.monotonic() < started + seconds, f"{metric} is {service.metric(metric)}"
        time.sleep(0.002)
    return time.monotonic() - started


def send_and_hold(service: Service, body: bytes) -> socket.socket:
    """A raw connection with a request on it, so that leaving is one call to close()."""
    host, port = service.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    head = f"POST /v2/models/random/infer HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def test_killing_a_client_in_mid_generation_frees_its_slots_at_once(service: Service) -> None:
    cancelled = service.metric("yiwen_predictor_sequences_total")
    connection = send_and_hold(service, long_body(LONG_TEXTS))
    wait_for(service, "yiwen_predictor_slots_used", 2)
    connection.close()
    wait_for(service, "yiwen_predictor_slots_used", 0)  # the rest of its 400 texts would take longer
    assert service.metric("yiwen_predictor_waiting_tokens") == 0
    assert service.metric("yiwen_predictor_sequences_total") > cancelled


def test_on_sigterm_answers_in_flight_arrive_and_new_requests_get_503(
    random_release_dir: Path, tmp_path: Path
) -> None:
    with running_service(random_release_dir, tmp_path / "log", False, YIWEN_SLOTS="2") as service:
        answers: list[httpx.Response] = []

        def ask() -> None:
            url = f"{service.url}/v2/models/random/infer"
            answers.append(httpx.post(url, content=long_body(LONG_TEXTS), timeout=60))

        with httpx.Client(base_url=service.url) as other:
            assert other.get("/v2/health/ready").status_code == 200
            in_flight = threading.Thread(target=ask)
            in_flight.start()
            wait_for(service, "yiwen_predictor_slots_used", 2)
            service.process.send_signal(signal.SIGTERM)
            end = time.monotonic() + 10
            while other.get("/v2/health/ready").status_code == 200:
                assert time.monotonic() < end
            refused = other.post("/v2/models/random/infer", content=long_body(["A shirt"]))
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) >= 1
        in_flight.join()
        assert answers[0].status_code == 200
        assert len(answers[0].json()["outputs"][0]["data"]) == len(LONG_TEXTS)
        assert service.process.wait(timeout=20) == 0


@pytest.mark.parametrize("module", ["predictor", "transformer"])
@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"YIWEN_RELEASE": "/nowhere"}, "yiwen release build"),
        ({"YIWEN_RELEASE": "/nowhere", "YIWEN_RELAESE": "x"}, "did you mean YIWEN_RELEASE"),
        ({}, "YIWEN_RELEASE is missing"),
    ],
)
def test_a_wrong_start_is_one_line_and_exit_code_2(
    module: str, environment: dict[str, str], says: str
) -> None:
    if module == "transformer":
        environment = {**environment, "YIWEN_PREDICTOR_URL": "http://127.0.0.1:1"}
    done = run_module(module, env={**os.environ, **environment})
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("predictor", "weights.bin"),
        ("predictor", "decoder.onnx"),
        ("transformer", "translation.json"),
        ("transformer", "tokenizer/tokenizer.json"),
    ],
)
def test_a_flipped_bit_ends_the_start(
    random_release_dir: Path, tmp_path: Path, module: str, name: str
) -> None:
    release = tmp_path / "release"
    shutil.copytree(random_release_dir, release)
    content = bytearray((release / name).read_bytes())
    content[len(content) // 2] ^= 1
    (release / name).write_bytes(content)
    predictor = {"YIWEN_PREDICTOR_URL": "http://127.0.0.1:1"} if module == "transformer" else {}
    done = run_module(module, env={**os.environ, "YIWEN_RELEASE": str(release), **predictor})
    assert done.returncode == 2
    assert f"{release / name} has changed" in done.stderr
    assert "copy it again" in done.stderr


def test_a_taken_port_is_named(random_release_dir: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        environment = {
            **os.environ,
            "YIWEN_RELEASE": str(random_release_dir),
            "YIWEN_HTTP_PORT": str(taken.getsockname()[1]),
        }
        done = run_module("predictor", env=environment)
    assert done.returncode == 2
    assert re.search(r"YIWEN_HTTP_PORT", done.stderr)


def test_the_pair_stops_when_one_of_it_dies(random_release_dir: Path, tmp_path: Path) -> None:
    with running_service(random_release_dir, tmp_path / "log") as service:
        service.processes()["predictor"].kill()
        assert service.process.wait(timeout=20) != 0
        assert "the predictor ended by itself" in (tmp_path / "log").read_text()


def test_a_predictor_that_hangs_costs_the_deadline_not_more(random_release_dir: Path, tmp_path: Path) -> None:
    with running_service(random_release_dir, tmp_path / "log") as service:
        predictor = service.processes()["predictor"]
        predictor.suspend()
        try:
            document = json.loads(long_body(["A shirt"]))
            document["parameters"]["deadline_ms"] = 300
            answer = httpx.post(f"{service.url}/v2/models/random/infer", json=document, timeout=10)
            assert answer.status_code == 504
            assert "deadline" in answer.json()["error"]
        finally:
            predictor.resume()
        assert stop_service(service) == 0
