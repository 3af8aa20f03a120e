"""The load generator process: reads a :class:`job.LoadJob` from stdin, writes an :class:`job.Outcome` to stdout.

Open loop: requests start at planned times, independent of earlier answers, and latency counts from the planned start,
so there is no coordinated omission. A thread keeps the time, because an event loop has a resolution of 1 ms only.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from collections import defaultdict, deque
from itertools import cycle

from benchmarks.transformer_stages.http1 import Broken, Connection
from benchmarks.transformer_stages.job import (
    FAILED,
    LoadJob,
    LoadRequest,
    Outcome,
    RequestSample,
    job_from_json,
)

CONNECT_S = 2.0
OPENED_AHEAD = 16
"""Connections to each target that an open loop opens before it starts."""

_Address = tuple[str, int]
"""Address and port."""


class LoadGenerator:
    """Runs one job."""

    def __init__(self, job: LoadJob) -> None:
        self._job = job
        self._bytes = [request.target.request(request.body) for request in job.requests]
        self._marks = [mark.encode() for mark in job.marks]
        self._idle: defaultdict[_Address, deque[Connection]] = defaultdict(deque)
        self._samples: list[RequestSample] = []
        self._began = 0.0

    async def run(self) -> Outcome:
        """Run the load; returns a sample of every request."""
        await self._open_ahead()
        gc.collect()
        gc.disable()  # a garbage collection would be counted as the server's latency
        cpu = time.process_time()
        self._began = time.perf_counter()
        await (self._open_loop() if self._job.at_s else self._closed_loop())
        wall = time.perf_counter() - self._began
        return Outcome(tuple(self._samples), wall, time.process_time() - cpu, self._began)

    async def _open_ahead(self) -> None:
        addresses = {_address(request) for request in self._job.requests}
        wanted = OPENED_AHEAD if self._job.at_s else self._job.callers
        for address in addresses:
            self._idle[address].extend([await self._connect(address) for _ in range(wanted)])

    async def _open_loop(self) -> None:
        loop = asyncio.get_running_loop()
        running: set[asyncio.Task[None]] = set()
        done = asyncio.Event()

        def begin(number: int) -> None:
            task = loop.create_task(self._one(number, self._began + self._job.at_s[number]))
            running.add(task)
            task.add_done_callback(running.discard)

        def keep_time() -> None:
            for number, at_s in enumerate(self._job.at_s):
                time.sleep(max(0.0, self._began + at_s - time.perf_counter()))
                loop.call_soon_threadsafe(begin, number)
            loop.call_soon_threadsafe(done.set)

        threading.Thread(target=keep_time, daemon=True).start()
        await done.wait()
        await asyncio.gather(*running)

    async def _closed_loop(self) -> None:
        numbers = range(len(self._job.requests))
        turns = cycle(numbers) if self._job.seconds else iter(numbers)

        async def caller() -> None:
            for number in turns:
                now = time.perf_counter()
                if self._job.seconds and now - self._began >= self._job.seconds:
                    return
                await self._one(number, now)

        await asyncio.gather(*(caller() for _ in range(self._job.callers)))

    async def _one(self, number: int, start: float) -> None:
        request = self._job.requests[number]
        sent = time.perf_counter()
        status, first, last, mark = FAILED, 0.0, 0.0, -1
        try:
            connection = await self._connection(request)
            sent = time.perf_counter()
            try:
                answer = await asyncio.wait_for(connection.send(self._bytes[number]), self._job.patience_s)
            finally:
                self._put_back(request, connection)
            status, first, last, mark = answer.status, answer.first, answer.last, self._mark(answer.body)
        except (OSError, Broken, asyncio.TimeoutError):
            first = last = time.perf_counter()
        self._samples.append(
            RequestSample(
                number, status, start - self._began, sent - start, first - start, last - start, mark
            )
        )

    async def _connection(self, request: LoadRequest) -> Connection:
        address = _address(request)
        idle = self._idle[address]
        while idle:
            connection = idle.pop()
            if connection.idle:
                return connection
        return await self._connect(address)

    async def _connect(self, address: _Address) -> Connection:
        loop = asyncio.get_running_loop()
        made = loop.create_connection(Connection, *address)
        return (await asyncio.wait_for(made, CONNECT_S))[1]

    def _put_back(self, request: LoadRequest, connection: Connection) -> None:
        if connection.idle:
            self._idle[_address(request)].append(connection)
        else:
            connection.close()

    def _mark(self, body: bytes) -> int:
        return next((place for place, mark in enumerate(self._marks) if mark in body), -1)


def _address(request: LoadRequest) -> _Address:
    return request.target.address, request.target.port


def main() -> int:
    """Run one job, from stdin to stdout."""
    job = job_from_json(sys.stdin.read())
    loop = new_loop()
    try:
        print(loop.run_until_complete(LoadGenerator(job).run()).to_json())
    finally:
        loop.close()
    return 0


def new_loop() -> asyncio.AbstractEventLoop:
    """A new uvloop event loop, or asyncio's where there is none."""
    try:
        import uvloop
    except ImportError:  # not available on this platform
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


if __name__ == "__main__":
    sys.exit(main())
