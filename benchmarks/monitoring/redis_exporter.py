"""The exporter of Redis' metrics that the component redis runs, as a process of this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def running_redis_exporter(redis_url: str, port: int) -> Iterator[None]:
    """Run Debian's package of it (prometheus-redis-exporter).

    Args:
        redis_url: of the Redis that it asks.
        port: that it answers on.
    """
    command = ["prometheus-redis-exporter", f"--web.listen-address=127.0.0.1:{port}"]
    command += [f"--redis.addr={redis_url}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()
