"""The worst body of each kind, four at once, against a transformer within the memory of its manifest.

Each gets its error, probes answer within a second all the time, and the process stays below its limit.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
import yaml
from kubernetes.utils import parse_quantity

from tests.e2e.memory_limit import MemoryLimit, memory_limit
from tests.transformer.process import ROOT, environment
from tests.transformer.release import write_release

pytestmark = pytest.mark.slow

MANIFEST = ROOT / "inferenceservices" / "base" / "inferenceservice.yaml"
AT_ONCE = 4
PROBE_S = 1.0
"""Every probe is answered within this time, on a machine that has nothing else to do."""
BODY = 8 * 2**20
TEXT = 2 * 2**20
"""Bytes of a body and of a request's texts, just below the limits."""


@dataclass(frozen=True)
class Limited:
    port: int
    process: subprocess.Popen[str]
    limit: MemoryLimit
    limit_bytes: int


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limited]:
    """``python -m transformer`` within the manifest's memory; no predictor is there, and none is needed."""
    release = write_release(tmp_path_factory.mktemp("releases") / "tiny")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "transformer", "--release", str(release), "--model_name", "tiny"]
    command += ["--predictor_host", "127.0.0.1:9", "--http_port", str(port), "--grpc_port", "0"]
    started: list[subprocess.Popen[str]] = []
    limit_bytes = manifest_memory()
    with memory_limit(limit_bytes, lambda: started[0].pid) as limit:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(YIWEN_LOG_LEVEL="error"),
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=limit.join,
        )
        started.append(process)
        try:
            end = time.monotonic() + 60
            while not is_live(port):
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < end
                time.sleep(0.05)
            yield Limited(port, process, limit, limit_bytes)
        finally:
            process.kill()
            process.communicate()


def manifest_memory() -> int:
    (document,) = yaml.safe_load_all(MANIFEST.read_text())
    (container,) = document["spec"]["transformer"]["containers"]
    return int(parse_quantity(container["resources"]["limits"]["memory"]))


def is_live(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/v2/health/live")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def filled(part: str, begin: str = "", end: str = "", size: int = TEXT) -> str:
    return begin + part * ((size - len((begin + end).encode())) // len(part.encode())) + end


def asking(*texts: str, **parameters: object) -> bytes:
    document: dict[str, Any] = {
        "parameters": {"source": "en", "target": "zh", **parameters},
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}],
    }
    return json.dumps(document, ensure_ascii=False).encode()


def raw(data: str) -> bytes:
    """A request whose input has ``data``."""
    return (
        '{"parameters": {"target": "zh"}, "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], '
        f'"data": {data}}}]}}'
    ).encode()


LONG = BODY - 1_000
KEEP = [f"{'啊' * length}x" for length in range(1, 190)]
BODIES = {
    "URLs": (413, lambda: asking("http://a.b/" * 600_000)),
    "URLs within the limit of bytes": (413, lambda: asking(filled("http://a.b/"))),
    "texts below the limit of bytes": (413, lambda: asking(*["a.b/" * 500] * 1_024)),
    "one word": (413, lambda: asking("a" * LONG)),
    "Chinese sentences": (413, lambda: asking(filled("啊。"))),
    "quotation marks": (413, lambda: asking(filled("“", "a"))),
    "lines": (413, lambda: asking(filled("\n", "a", "b"))),
    "marks": (413, lambda: asking(filled("\u0301\u0323", "e"))),
    "HTML tags": (413, lambda: asking("<b>" * (LONG // 3), format="html")),
    "HTML entities": (413, lambda: asking(filled("&"), format="html")),
    "HTML spaces": (200, lambda: asking(filled(" ", "<b>1", "1</b>"), format="html")),
    "HTML attributes": (400, lambda: asking(filled("a ", "<b ", ">"), format="html")),
    "HTML comments": (200, lambda: asking("<!--a>" * 30_000 + "x" * (TEXT // 2), format="html")),
    "deep XML": (413, lambda: asking("<b>" * 299_000 + "</b>" * 299_000, format="xml")),
    "many texts": (413, lambda: asking(*["啊"] * (LONG // 7))),
    "texts below the limit of values": (413, lambda: asking(*["啊" * 3] * 250_000)),
    "a long glossary": (413, lambda: asking("red", glossary=json.dumps({"keep": ["red"] * (LONG // 9)}))),
    "a costly glossary": (
        413,
        lambda: asking(*["啊" * 3_000] * 200, glossary=json.dumps({"keep": KEEP}, ensure_ascii=False)),
    ),
    "many parameters": (413, lambda: asking("red", **{f"a{number}": 0 for number in range(550_000)})),
    "parameters below the limit of values": (
        400,
        lambda: asking("red", **{f"a{number}": 0 for number in range(250_000)}),
    ),
    "a long parameter": (400, lambda: asking("red", **{"a" * LONG: 0})),
    "a long language": (404, lambda: asking("red", target="zh" + "-a" * (LONG // 2))),
    "objects for texts": (413, lambda: raw(f"[{'{},' * (LONG // 3)}0]")),
    "objects below the limit of values": (400, lambda: raw(f"[{'{},' * 130_000}0]")),
    "lists below the limit of values": (400, lambda: raw(f"[{'[],' * 130_000}0]")),
    "nested lists": (413, lambda: raw("[" * LONG)),
    "one character of four bytes": (413, lambda: asking("a" * (LONG - 8) + "😀")),
    "a long shape": (413, lambda: raw("[]").replace(b"[1]", b"[" + b"1," * (LONG // 2) + b"1]")),
}


@pytest.mark.parametrize(("status", "body"), BODIES.values(), ids=BODIES)
def test_the_worst_bodies_get_their_error_while_probes_are_answered(
    transformer: Limited, status: int, body: Any
) -> None:
    content: bytes = body()
    assert len(content) <= BODY
    with Probe(transformer) as probe, ThreadPoolExecutor(AT_ONCE) as callers:
        started = time.monotonic()
        answers = list(callers.map(lambda _: post(transformer.port, content), range(AT_ONCE)))
        took = time.monotonic() - started
    peak = transformer.limit.peak_bytes()
    print(
        f"{transformer.limit.kind}: {len(content)} bytes, {[code for code, _ in answers]} in {took:.2f} s, slowest "
        f"probe {probe.slowest_s:.3f} s of {probe.count}, peak so far {peak / 2**20:.0f} MiB"
    )
    assert [code for code, _ in answers] == [status] * AT_ONCE, answers[0][1][:300]
    assert all(status == 200 or len(text) < 1_000 for _, text in answers)
    assert probe.count
    assert probe.slowest_s < PROBE_S
    assert transformer.process.poll() is None
    assert peak < transformer.limit_bytes
    assert post(transformer.port, asking("12"))[0] == 200


def post(port: int, body: bytes) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", "/v2/models/tiny/infer", body)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class Probe:
    """Asks for liveness again and again, as kubelet does, and keeps the longest time that an answer took.

    While it waits longer than the transformer computes, the transformer waits for a processor, which is not counted.
    """

    def __init__(self, transformer: Limited) -> None:
        self.slowest_s = 0.0
        self.count = 0
        self._port = transformer.port
        self._process = psutil.Process(transformer.process.pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            started, computed = time.monotonic(), self._computed_s()
            live = is_live(self._port)
            took = min(time.monotonic() - started, self._computed_s() - computed)
            self.slowest_s = max(self.slowest_s, took if live else 60.0)
            self.count += 1
            time.sleep(0.02)

    def _computed_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)
