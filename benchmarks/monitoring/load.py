"""Titles that two callers send to two releases all the time, whatever the answers do."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from random import Random

import httpx
import orjson

from benchmarks.transformer_stages.setting import SOURCE, TARGET, infer_body, titles
from transformer.callers.key_file import ApiKey, hash_key

POPULAR = 200
HIT_SHARE = 0.7
CANARY_SHARE = 0.2
STREAM_SHARE = 0.1
MOST_IN_FLIGHT = 96
SHOP, PORTAL = "shop", "portal"
"""Ids of the API keys, and the keys."""
PORTAL_RATE = 2.0
KEYS = (
    ApiKey(id=SHOP, sha256=hash_key(SHOP)),
    ApiKey(id=PORTAL, sha256=hash_key(PORTAL), requests_per_second=PORTAL_RATE),
)


class TitleLoad:
    """Titles at a rate, most of them popular ones; some to the canary, some as streams, some of another caller."""

    def __init__(self, urls: Mapping[str, float], threads: ThreadPoolExecutor) -> None:
        """Prepare the titles; ``urls`` are of the releases' models, with the share of each."""
        self._urls = urls
        self._threads = threads
        self._in_flight: set[Future[None]] = set()
        self._client = httpx.Client(timeout=60, limits=httpx.Limits(max_connections=None))
        self._rng = Random(0)
        self._lock = threading.Lock()
        self._rare = titles()
        self._popular = [next(self._rare)[0] for _ in range(POPULAR)]

    def run(self, seconds: float, *, per_s: float = 10.0, portal_per_s: float = 1.0, texts: int = 1) -> None:
        """Send for some seconds.

        Args:
            seconds: of the load.
            per_s: requests a second of the caller ``shop``.
            portal_per_s: requests a second of the caller ``portal``.
            texts: in each request of ``shop``; several are a table that nobody has translated before.
        """
        stop = threading.Event()
        timer = threading.Timer(seconds, stop.set)
        others = threading.Thread(target=self._send_until, args=(stop, portal_per_s, PORTAL, 1))
        timer.start()
        others.start()
        self._send_until(stop, per_s, SHOP, texts)
        others.join()

    def wait_for_answers(self) -> None:
        """Wait until nothing is in flight any more."""
        wait(self._in_flight)

    def _send_until(self, stop: threading.Event, per_s: float, key: str, texts: int) -> None:
        while not stop.wait(1 / per_s):
            with self._lock:
                self._in_flight = {each for each in self._in_flight if not each.done()}
                if len(self._in_flight) < MOST_IN_FLIGHT:  # else a caller gives up
                    batch = [self._title(texts) for _ in range(texts)]
                    (url,) = self._rng.choices(list(self._urls), list(self._urls.values()))
                    as_stream = texts == 1 and self._rng.random() < STREAM_SHARE
                    self._in_flight.add(self._threads.submit(self._send, url, key, batch, as_stream))

    def _title(self, texts: int) -> str:
        popular = texts == 1 and self._rng.random() < HIT_SHARE
        return self._rng.choice(self._popular) if popular else next(self._rare)[0]

    def _send(self, url: str, key: str, batch: list[str], as_stream: bool) -> None:
        headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        endpoint, body = "infer", infer_body(batch)
        if as_stream:
            parameters = {"source": SOURCE, "target": TARGET}
            endpoint = "generate_stream"
            body = orjson.dumps({"text_input": batch[0], "parameters": parameters})
        with suppress(httpx.TransportError):
            self._client.post(f"{url}/{endpoint}", content=body, headers=headers)
