"""`python -m benchmarks.beside CHECKOUT`: the processor time of this transformer beside another checkout's.

Each checkout runs its own services (``CHECKOUT/.venv``) with a Redis each, on one release that both read. Blocks of
equal requests alternate between them, one request at a time, so ratios hold on a machine whose speed varies. The
figure is the processor time of the transformer's process per text, from Linux' account of each of its threads.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from statistics import median

import grpc
import orjson

from benchmarks.engine.processes import ROOT
from benchmarks.transformer_stages import processes
from benchmarks.transformer_stages.processes import ServerProcess
from benchmarks.transformer_stages.setting import MODEL, SOURCE, TARGET, grpc_body, infer_body, titles

WARM_TITLES = 128
"""Titles that every request for hits takes from."""
SETTLE_S = 0.03
"""Seconds before and after a block, in which writes to Redis and the like end."""
LINES = 100
"""Lines of a document."""

Texts = Sequence[str]


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests of one kind."""

    texts: int
    """In one request; the lines of a document."""
    requests: int
    """In one block."""
    send: Callable[[Side, Texts], None]
    hits: bool = False


class Side:
    """The transformer of one checkout."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._http = HTTPConnection("127.0.0.1", server.port)
        channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")
        self._infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

    def rest(self, texts: Texts) -> None:
        """One request for translations, over REST."""
        self._post("infer", infer_body(texts))

    def document(self, texts: Texts) -> None:
        """One request with one text of several lines."""
        self._post("infer", infer_body(["\n".join(texts)]))

    def grpc(self, texts: Texts) -> None:
        """One request for translations, over gRPC."""
        self._infer(grpc_body(texts))

    def stream(self, texts: Texts) -> None:
        """One request for a streamed translation."""
        (text,) = texts
        parameters = {"source": SOURCE, "target": TARGET}
        self._post("generate_stream", orjson.dumps({"text_input": text, "parameters": parameters}))

    def cpu_s(self) -> float:
        """Processor time of all threads so far, seconds."""
        tasks = Path(f"/proc/{self._server.process.pid}/task").glob("*/schedstat")
        return sum(int(each.read_text().split()[0]) for each in tasks) / 1e9

    def _post(self, method: str, body: bytes) -> None:
        self._http.request("POST", f"/v2/models/{MODEL}/{method}", body)
        response = self._http.getresponse()
        answer = response.read()
        if response.status != 200:
            raise SystemExit(f"{method} was answered with {response.status}: {answer[:500]!r}")


WORKLOADS = {
    "a miss": Workload(1, 50, Side.rest),
    "8 misses in a request": Workload(8, 10, Side.rest),
    "a document of 100 lines": Workload(LINES, 2, Side.document),
    "a hit": Workload(1, 300, Side.rest, hits=True),
    "64 hits in a request": Workload(64, 30, Side.rest, hits=True),
    "a hit over gRPC": Workload(1, 300, Side.grpc, hits=True),
    "64 hits over gRPC": Workload(64, 30, Side.grpc, hits=True),
    "a stream": Workload(1, 30, Side.stream),
}


@dataclass(frozen=True, slots=True)
class Block:
    """What one block took for each text, in microseconds."""

    cpu_us: float
    wall_us: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both checkouts and print a table."""
    options = _options(arguments)
    started = time.monotonic()
    with ExitStack() as stack:
        old, new = (
            Side(_start(stack, root, options.release.resolve()))
            for root in (options.checkout.resolve(), ROOT)
        )
        new_titles = (text for text, _ in titles())
        warm = list(islice(new_titles, WARM_TITLES))
        for side in (old, new):
            for start in range(0, WARM_TITLES, 8):
                side.rest(warm[start : start + 8])
        blocks: dict[str, list[tuple[Block, Block]]] = {name: [] for name in WORKLOADS}
        for number in range(options.rounds + 1):
            for name, workload in WORKLOADS.items():
                requests = list(_requests(workload, warm, new_titles))
                pair = measure_pair((old, new), workload, requests, old_first=number % 2 == 0)
                if number:  # the first round warms up
                    blocks[name].append(pair)
    print(f"{options.rounds} rounds, {time.monotonic() - started:.0f} s, load {os.getloadavg()[0]:.1f}\n")
    print(table(blocks))
    return 0


def measure_pair(
    sides: tuple[Side, Side], workload: Workload, requests: Sequence[Texts], *, old_first: bool
) -> tuple[Block, Block]:
    """The blocks of both sides, which get the same requests.

    Args:
        sides: the old one and the new one.
        workload: of the requests.
        requests: the texts of each.
        old_first: whether the old side has the first turn.
    """
    order = sides if old_first else sides[::-1]
    measured = [_block(side, workload, requests) for side in order]
    first, second = measured if old_first else measured[::-1]
    return first, second


def table(blocks: dict[str, list[tuple[Block, Block]]]) -> str:
    """Markdown: for each workload the medians, and the median of the rounds' ratios."""
    rows = ["| | old, us/text | new, us/text | ratio: median (all) | wall time |", "|---|---|---|---|---|"]
    for name, pairs in blocks.items():
        ratios = sorted(new.cpu_us / old.cpu_us for old, new in pairs)
        walls = [new.wall_us / old.wall_us for old, new in pairs]
        old_us, new_us = (median(pair[side].cpu_us for pair in pairs) for side in (0, 1))
        every = " ".join(f"{ratio:.2f}" for ratio in ratios)
        rows.append(
            f"| {name} | {old_us:.0f} | {new_us:.0f} | {median(ratios):.2f} ({every}) | {median(walls):.2f} |"
        )
    return "\n".join(rows)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside", description=__doc__)
    parser.add_argument("checkout", type=Path, help="another checkout, with a .venv")
    parser.add_argument("--release", type=Path, required=True, help="directory of the demo release")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each workload (7)")
    return parser.parse_args(arguments)


def _start(stack: ExitStack, root: Path, release: Path) -> ServerProcess:
    """Start Redis and the services of a checkout."""
    url = stack.enter_context(processes.redis_server())
    behind = stack.enter_context(processes.predictor(release, slots=16, root=root))
    return stack.enter_context(processes.transformer(release, behind, redis_url=url, grpc=True, root=root))


def _requests(workload: Workload, warm: Texts, new_titles: Iterator[str]) -> Iterator[Texts]:
    for number in range(workload.requests):
        if not workload.hits:
            yield list(islice(new_titles, workload.texts))
        elif workload.texts == 1:
            yield [warm[number % len(warm)]]
        else:
            yield warm[: workload.texts]


def _block(side: Side, workload: Workload, requests: Sequence[Texts]) -> Block:
    time.sleep(SETTLE_S)
    cpu_s, wall_s = side.cpu_s(), time.perf_counter()
    for texts in requests:
        workload.send(side, texts)
    wall_s = time.perf_counter() - wall_s
    time.sleep(SETTLE_S)
    texts_sent = len(requests) * workload.texts
    return Block((side.cpu_s() - cpu_s) / texts_sent * 1e6, wall_s / texts_sent * 1e6)


if __name__ == "__main__":
    sys.exit(main())
