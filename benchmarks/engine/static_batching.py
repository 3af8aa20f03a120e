"""Strategies for requests of mixed lengths on a system with static batching."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.engine.workloads import Request, Workload

# Sort keys of requests before they are divided into batches; the sort is stable.
ORDERS: dict[str, Callable[[Request], int]] = {
    "arrival": lambda request: 0,
    "output": lambda request: request.n_out,
}


@dataclass(frozen=True)
class Strategy:
    """`order`-`size`[`-leave`][`-workers`]: the grouping of requests and how groups run.

    Without `leave` every row of a batch is computed until its longest one is done. With it, rows that are done are
    dropped, as they would be at an end token, but new requests still wait for the whole batch. With `workers` as
    many batches run at once as there are threads, one thread for each, instead of one batch on all threads.
    """

    order: str
    size: int
    leave: bool
    workers: bool

    @classmethod
    def parse(cls, name: str) -> Strategy:
        order, size, *flags = name.split("-")
        return cls(order, int(size), "leave" in flags, "workers" in flags)

    def batches(self, work: Workload) -> list[list[int]]:
        """Indices of the requests, by batch."""
        ordered = sorted(range(len(work.requests)), key=lambda at: ORDERS[self.order](work.requests[at]))
        return [ordered[start : start + self.size] for start in range(0, len(ordered), self.size)]


def held_names(work: Workload) -> tuple[str, ...]:
    """Names of strategies in which a batch runs until its longest row is done.

    Sorting by output flatters static batching: a server does not know those lengths.
    """
    if work.uniform:
        return (f"arrival-{work.slots}",)
    return (f"arrival-{work.slots}", f"output-{work.slots}", f"output-{max(1, work.slots // 2)}")


def worker_names(work: Workload, threads: int) -> tuple[str, ...]:
    """Names of strategies with one batch per thread; all batches together have the size of one ordinary batch."""
    size = work.slots // threads
    if threads == 1 or size == 0:
        return ()
    if work.uniform:
        return (f"arrival-{size}-workers",)
    return (f"arrival-{size}-leave-workers", f"output-{size}-leave-workers")


def longest(requests: Sequence[Request]) -> int:
    """Number of tokens of the longest request in a batch."""
    return max(request.n_out for request in requests)
