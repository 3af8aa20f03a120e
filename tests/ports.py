"""Ports for servers that start later.

They lie below those that the kernel gives to outgoing connections and to port 0, so nothing takes one in between, and
each test process has its own.
"""

from __future__ import annotations

import os
import socket
from itertools import cycle
from pathlib import Path

FIRST, LAST = 10_000, 32_000
MOST_WORKERS = 16


def _candidates() -> list[int]:
    """The ports of this test process, from a place of its own: test runs beside it look for free ones too."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % MOST_WORKERS
    ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range")
    last = min(LAST, int(ephemeral.read_text().split()[0])) if ephemeral.exists() else LAST
    ports = range(FIRST + worker, last, MOST_WORKERS)
    start = os.getpid() % len(ports)
    return [*ports[start:], *ports[:start]]


_PORTS = cycle(_candidates())


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on; no other call returns it until all others were returned."""
    for port in _PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("the cycle of ports is empty")


def free_ports(count: int) -> list[int]:
    """Several of them."""
    return [free_port() for _ in range(count)]
