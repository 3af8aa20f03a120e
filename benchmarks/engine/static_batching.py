"""Ways to serve requests of mixed lengths with a system that takes a batch and returns when all of it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.engine.workloads import Request, Workload

# By how requests are sorted before they are cut into batches; sorting is stable, so equal ones stay as they arrived.
ORDERS: dict[str, Callable[[Request], int]] = {
    "arrival": lambda request: 0,
    "output": lambda request: request.n_out,
}


@dataclass(frozen=True)
class Strategy:
    """`order`-`size`[`-leave`][`-workers`]: how requests are grouped, and how the groups are run.

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
        """Positions of the requests, grouped."""
        ordered = sorted(range(len(work.requests)), key=lambda at: ORDERS[self.order](work.requests[at]))
        return [ordered[start : start + self.size] for start in range(0, len(ordered), self.size)]


def held_names(work: Workload) -> tuple[str, ...]:
    """Strategies in which a batch is computed to its longest row.

    Sorting by output flatters static batching: a server does not know those lengths.
    """
    if work.uniform:
        return (f"arrival-{work.slots}",)
    return (f"arrival-{work.slots}", f"output-{work.slots}", f"output-{max(1, work.slots // 2)}")


def worker_names(work: Workload, threads: int) -> tuple[str, ...]:
    """Strategies with one batch per thread; together they hold no more requests than one batch would."""
    size = work.slots // threads
    if threads == 1 or size == 0:
        return ()
    if work.uniform:
        return (f"arrival-{size}-workers",)
    return (f"arrival-{size}-leave-workers", f"output-{size}-leave-workers")


def longest(requests: Sequence[Request]) -> int:
    """The number of tokens a static batch has to run for."""
    return max(request.n_out for request in requests)
