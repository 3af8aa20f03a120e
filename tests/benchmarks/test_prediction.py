"""The parts of the comparison between prediction and reality that need no quiet machine."""

from __future__ import annotations

import asyncio
from functools import partial

import numpy as np

from benchmarks.prediction.__main__ import Known, Texts, lengths_of, loads, markdown, predict
from benchmarks.prediction.round_robin import RoundRobin, read_message
from knative.simulator.arrivals import generate_arrivals
from knative.simulator.pods import TransformerModel
from tests.knative.profiles import profile


async def test_the_proxy_sends_requests_to_its_servers_in_turns() -> None:
    asked: list[int] = []

    async def answer(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await read_message(reader)
                asked.append(number)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n%d" % number)
        except asyncio.IncompleteReadError:
            writer.close()

    servers = [await asyncio.start_server(partial(answer, n), "127.0.0.1", 0) for n in range(3)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    turns = RoundRobin(ports)
    proxy = await asyncio.start_server(turns.handle, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.sockets[0].getsockname()[1])
    for turn in range(6):
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody")
        assert (await read_message(reader)).endswith(b"%d" % (turn % 3))
    assert asked == [0, 1, 2, 0, 1, 2]
    await turns.close()
    writer.close()
    await writer.wait_closed()
    for server in (proxy, *servers):
        server.close()
        await server.wait_closed()
    await asyncio.sleep(0)  # the handlers see their ends


def test_loads_are_three_rates_and_a_step() -> None:
    assert loads(100, 20.0) == [
        "poisson:rate=30,seconds=20",
        "poisson:rate=60,seconds=20",
        "poisson:rate=90,seconds=20",
        "step:from=20,to=80,at=10,seconds=20",
    ]


def test_a_prediction_knows_each_requests_lengths() -> None:
    texts = Texts(("a", "b"), (10, 20), (5, 10))
    trace = lengths_of(generate_arrivals("steady:rate=1,seconds=4", seed=0), texts)
    assert trace.prompt_tokens is not None
    assert np.array_equal(trace.prompt_tokens, [10, 20, 10, 20])
    known = Known(profile(), TransformerModel(miss_seconds=0.001), 0.003)
    figures = predict(known, trace, 2)
    # a request, its prompt, its steps; the transformer; the way
    waits = [0.002 + prompt * 0.001 + new * 0.010 + 0.001 + 0.003 for prompt, new in ((10, 5), (20, 10))]
    assert np.isclose(figures.p50, np.mean(waits))
    assert figures.failed == 0


def test_the_table_says_how_far_off_the_prediction_was() -> None:
    real = {"per_s": 10.0, "p50": 0.010, "p99": 0.050, "failed": 0}
    foretold = real | {"p99": 0.055}
    row = {"predictors": 1, "load": "x", "real": real, "foretold": foretold, "others_busy_cores": 0.1}
    assert "| 1 | x | 10.0 | +0% | 10.0 | +0% | 50.0 | +10% | 0 | 0 | 0.1 |" in markdown([row])
