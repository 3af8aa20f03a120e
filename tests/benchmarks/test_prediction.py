"""The parts of the comparison between prediction and reality that need no quiet machine."""

from __future__ import annotations

import asyncio
import dataclasses
from functools import partial
from typing import Any

import numpy as np
import orjson
import pytest

from benchmarks.prediction.__main__ import loads, predict
from benchmarks.prediction.cpu_probe import CpuSample, Readings
from benchmarks.prediction.learning import Asked, Known
from benchmarks.prediction.report import markdown
from benchmarks.prediction.round_robin import RoundRobin, ends_connection, read_message
from benchmarks.prediction.stack import Spent
from benchmarks.prediction.texts import Texts
from benchmarks.transformer_stages.job import Target
from knative.simulator.cluster.pods import TransformerModel
from knative.simulator.engine.processors import CoreSpeeds
from knative.simulator.load.arrivals import generate_arrivals
from knative.simulator.scenarios.scenario import Node
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


def test_a_connection_that_its_server_closes_is_not_used_again() -> None:
    assert ends_connection(b"HTTP/1.1 200 OK\r\nConnection: Close\r\n\r\nconnection: keep-alive")
    assert not ends_connection(b"HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\nconnection: close")


def test_loads_are_three_rates_a_step_and_batches() -> None:
    assert [(load.arrivals, load.texts) for load in loads(100, 20.0)] == [
        ("poisson:rate=30,seconds=20", 1),
        ("poisson:rate=50,seconds=20", 1),
        ("poisson:rate=70,seconds=20", 1),
        ("step:from=20,to=65,at=10,seconds=20", 1),
        ("poisson:rate=3.12,seconds=20", 16),
    ]
    assert str(loads(100, 20.0)[-1]) == "poisson:rate=3.12,seconds=20 x 16 texts"


def test_a_batch_has_the_next_titles_and_is_predicted_with_their_mean_lengths() -> None:
    texts = Texts(("a", "b", "c"), (10, 20, 30), (5, 10, 15))
    bodies = [orjson.loads(r.body)["inputs"][0]["data"] for r in texts.requests(Target(1, "/"), 2, 2)]
    assert bodies == [["a", "b"], ["c", "a"]]
    trace = texts.lengths_of(generate_arrivals("steady:rate=1,seconds=2", seed=0), 2)
    assert trace.prompt_tokens is not None
    assert trace.prompt_tokens.tolist() == [15, 20]
    predicted = predict(known(), CoreSpeeds((1.0,), 10.0), trace, 2, 1)
    alone = predict(known(), CoreSpeeds((1.0,), 10.0), trace, 1, 1)
    assert (predicted.failed, len(predicted.latencies)) == (0, 2)
    assert all(both > one for both, one in zip(predicted.latencies, alone.latencies, strict=True))


def known(**changes: object) -> Known:
    made = Known(
        profile(), TransformerModel(miss_seconds=0.002), Node(cores=1, hop_seconds=0.001), 0.003, 100.0, 0.001
    )
    return dataclasses.replace(made, **dict[str, Any](changes))


def test_a_prediction_knows_each_requests_lengths_and_the_machines_speed() -> None:
    texts = Texts(("a", "b"), (10, 20), (5, 10))
    trace = texts.lengths_of(generate_arrivals("steady:rate=1,seconds=4", seed=0))
    assert trace.prompt_tokens is not None
    assert np.array_equal(trace.prompt_tokens, [10, 20, 10, 20])
    predicted = predict(known(), CoreSpeeds((1.0, 0.5), 2.0), trace, 1, 2)
    assert predicted.failed == 0
    # a request, its prompt, its steps; the transformer; two hops; at half speed for the last two; then the way
    work = [
        0.002 + 0.003 + prompt * 0.001 + new * 0.010 + 0.002 + 2 * 0.001
        for prompt, new in ((10, 5), (20, 10))
    ]
    assert predicted.latencies == pytest.approx(
        [work[0] + 0.003, work[1] + 0.003, 2 * work[0] + 0.003, 2 * work[1] + 0.003]
    )


def test_speed_is_that_of_the_work_in_each_bin_and_the_last_known_where_there_was_none() -> None:
    at_s = (10.1, 10.2, 10.6, 11.6)
    samples = [
        CpuSample(at, work, 100 + at) for at, work in zip(at_s, (0.001, 0.003, 0.001, 0.004), strict=True)
    ]
    readings = Readings(samples)
    assert readings.speeds(10.0, 12.0, 0.002) == CoreSpeeds((1.0, 2.0, 2.0, 0.5), 0.5)
    assert readings.busy_cores == pytest.approx(1.0)
    assert readings.between(10.1, 10.6).mean_work_s == pytest.approx(0.002)


def test_processor_time_is_converted_to_usual_speed_and_pooled_by_request() -> None:
    spent = Spent(0.2, 0.1, 0.3, 0.4, 50.0, 100.0, 200.0)
    slow = Asked(0.0, 1.0, 10, 0.100, 0.5, spent).at_speed(0.5)
    assert slow.spent == Spent(0.1, 0.05, 0.15, 0.2, 50.0, 100.0, 200.0)
    both = slow + Asked(2.0, 3.0, 30, 0.020, 0.5, spent)
    assert both.requests == 40
    assert both.latency_s == pytest.approx(0.040)
    assert both.generator_s == 0.75
    assert both.per_request_s() == pytest.approx((0.5 + 1.0) / 40)


def test_the_table_says_how_far_off_the_prediction_was() -> None:
    real = {"per_s": 10.0, "p50": 0.010, "p99": 0.050, "failed": 0}
    predicted = real | {"p99": 0.055}
    row = {"predictors": 1, "load": "x", "real": real, "predicted": predicted}
    row |= {"speeds": [0.9, 1.1], "others_busy_cores": 0.1}
    line = "| 1 | x | 10.0 | +0% | 10.0 | +0% | 50.0 | +10% | 0 | 0 | 0.90 to 1.10 | 0.1 |"
    assert line in markdown([row])
