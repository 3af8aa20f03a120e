"""Runs a service and counts its unfinished asyncio tasks: ``python -m benchmarks.soak.observed MODULE ...``.

SIGUSR1 makes the process write the number to the file of the environment variable ``SOAK_TASKS_FILE``.
"""

from __future__ import annotations

import asyncio
import os
import runpy
import signal
import sys
import threading
from pathlib import Path

TASKS_FILE = "SOAK_TASKS_FILE"


_REGISTRIES = ("_all_tasks", "_scheduled_tasks", "_eager_tasks")
"""asyncio's own sets of all tasks, whatever their event loop; Python 3.12 renamed them."""


def _count_tasks() -> int:
    # A task that nothing refers to but a reference cycle is found too: that is what a leak looks like.
    # gc.get_objects() would refer to tuples that another thread is filling: resizing one raises SystemError there.
    tasks: set[asyncio.Task[object]] = set()
    for name in _REGISTRIES:
        while True:
            try:
                tasks.update(list(getattr(asyncio.tasks, name, ())))
                break
            except RuntimeError:  # one was added meanwhile
                continue
    return sum(not each.done() for each in tasks)


def _report() -> None:
    """Write the number whenever SIGUSR1 comes; a thread, so that the event loop's own signals stay untouched."""
    path = Path(os.environ[TASKS_FILE])
    while True:
        signal.sigwait({signal.SIGUSR1})
        new = path.with_suffix(".new")
        new.write_text(str(_count_tasks()), encoding="utf-8")
        new.replace(path)


def main() -> None:
    """Run the module with the remaining arguments."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    threading.Thread(target=_report, daemon=True).start()
    module = sys.argv[1]
    sys.argv = [module, *sys.argv[2:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
