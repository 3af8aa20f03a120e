"""The only predictor is killed under load behind a proxy that answers 502 in its place."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from tests.e2e.test_overload import ask, running_predictor, wait_until_ready
from tests.forkserver import start_module
from tests.metric_samples import sample_sum
from tests.ports import free_ports
from tests.transformer.process import running_transformer

REQUESTS = 120
PER_S = 10
KILL_AT = 40
BACK_AT = 60


@contextmanager
def running_gateway(port: int, upstream_port: int) -> Iterator[None]:
    process = start_module("tests.e2e.gateway", str(port), str(upstream_port), env=os.environ)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_a_predictor_that_is_killed_behind_a_proxy_fails_no_request(random_release_dir: Path) -> None:
    port, gateway_port = free_ports(2)
    settings = {"YIWEN_COLD_START_TIMEOUT_S": "55", "YIWEN_LOG_LEVEL": "error"}
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(REQUESTS))
        first = stack.enter_context(running_predictor(random_release_dir, port))
        stack.enter_context(running_gateway(gateway_port, port))
        wait_until_ready(gateway_port, "random")
        transformer = stack.enter_context(
            running_transformer(random_release_dir, f"127.0.0.1:{gateway_port}", settings=settings)
        )
        answers = []
        for number in range(REQUESTS):
            if number == KILL_AT:
                first.send_signal(signal.SIGKILL)
                first.wait()
            if number == BACK_AT:
                stack.enter_context(running_predictor(random_release_dir, port))
            answers.append(threads.submit(ask, transformer, "random", f"never seen {number}"))
            time.sleep(1 / PER_S)
        statuses = Counter(each.result().status_code for each in answers)
        page = httpx.get(f"{transformer.url}/metrics").text
    assert statuses == {200: REQUESTS}
    assert sample_sum(page, 'yiwen_transformer_gateway_errors_total{status="502"}') > 0
    assert page.count("\nyiwen_requests_rejected_total{") > 20
    assert sample_sum(page, "yiwen_requests_rejected_total") == 0
