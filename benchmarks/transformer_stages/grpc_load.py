"""The load generator process for gRPC: closed-loop callers over a few connections.

Reads a :class:`job.LoadJob` from stdin whose bodies are serialized messages and whose targets' paths are gRPC
methods, and writes a :class:`job.Outcome`. It takes nearly as much processor time per request as the servers, so on
few cores the servers' processor time says more than the requests per second.
"""

from __future__ import annotations

import asyncio
import sys
import time
from itertools import cycle

import grpc

from benchmarks.transformer_stages.job import FAILED, LoadJob, Outcome, RequestSample, job_from_json

OK = 200
CONNECTIONS = 4


async def run(job: LoadJob) -> Outcome:
    """Run a closed-loop job for one target; returns a sample of every request."""
    target = job.requests[0].target
    channels = [
        grpc.aio.insecure_channel(f"127.0.0.1:{target.port}", options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(min(CONNECTIONS, job.callers))
    ]
    methods = [channel.unary_unary(target.path) for channel in channels]
    marks = [mark.encode() for mark in job.marks]
    samples: list[RequestSample] = []
    numbers = cycle(range(len(job.requests)))
    cpu, began = time.process_time(), time.perf_counter()

    async def caller(place: int) -> None:
        method = methods[place % len(methods)]
        while (start := time.perf_counter() - began) < job.seconds:
            number = next(numbers)
            status, mark = OK, -1
            try:
                answer = await method(job.requests[number].body, timeout=job.patience_s)
                mark = next((at for at, each in enumerate(marks) if each in answer), -1)
            except grpc.aio.AioRpcError:
                status = FAILED
            took = time.perf_counter() - began - start
            samples.append(RequestSample(number, status, start, 0.0, took, took, mark))

    await asyncio.gather(*(caller(place) for place in range(job.callers)))
    outcome = Outcome(tuple(samples), time.perf_counter() - began, time.process_time() - cpu)
    await asyncio.gather(*(channel.close() for channel in channels))
    return outcome


if __name__ == "__main__":
    print(asyncio.run(run(job_from_json(sys.stdin.read()))).to_json())
