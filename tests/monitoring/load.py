"""New texts that are sent to a transformer all the time."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count

import httpx

from tests.monitoring.pods import MODEL, PATIENCE_S, Pod, eventually


@contextmanager
def load(pod: Pod, *, per_s: float = 8.0, text: str = "text", callers: int = 64) -> Iterator[Counter[int]]:
    """Send new texts all the time; the statuses of the answers so far.

    Args:
        pod: a transformer.
        per_s: requests a second.
        text: what texts begin with; a number follows.
        callers: requests in flight at most; others wait for one to end.
    """
    statuses: Counter[int] = Counter()
    stop = threading.Event()

    def call(number: int) -> None:
        statuses[send(pod, f"{text} {number}")] += 1

    def begin(threads: ThreadPoolExecutor) -> None:
        for number in count():
            if stop.wait(1 / per_s):
                return
            threads.submit(call, number)

    threads = ThreadPoolExecutor(callers)
    beginning = threading.Thread(target=begin, args=(threads,))
    beginning.start()
    try:
        yield statuses
    finally:
        stop.set()
        beginning.join()
        threads.shutdown(cancel_futures=True)


@contextmanager
def steady_load(pod: Pod, *, per_s: float = 8.0) -> Iterator[Counter[int]]:
    """A load that has been answered for a while."""
    with load(pod, per_s=per_s) as statuses:
        eventually(lambda: statuses[200] > 20, "it answers")
        yield statuses


def send(pod: Pod, text: str) -> int:
    """Translate a text; the status, 0 where no answer came."""
    body = {
        "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}],
        "parameters": {"source": "en", "target": "zh"},
    }
    try:
        return httpx.post(f"{pod.url}/v2/models/{MODEL}/infer", json=body, timeout=PATIENCE_S).status_code
    except httpx.TransportError:
        return 0
