"""Processor time of a node's processes by what they are, read from /proc of this machine.

The node must be this machine, and its processes must be visible, as those of kind and k3d are to root.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

PREDICTOR, TRANSFORMER, PROXY, GENERATOR, OTHER = "predictor", "transformer", "proxy", "generator", "other"
YIELDING = "yielding"
"""Processes that give way to all others: of a lower priority (``nice``), or in a cgroup with ``cpu.idle``."""
CGROUPS = Path("/sys/fs/cgroup")
SERVING = (PREDICTOR, TRANSFORMER, PROXY, GENERATOR)
"""What the simulation has too; all else is other processes."""
QUEUE_PROXY, ENVOY = "queue", "envoy"
_POD = re.compile(r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def kind_of(command: str) -> str:
    """What a process is, by its command line with spaces between the words."""
    words = command.split()
    if "-m" in words[:3]:
        module = words[words.index("-m") + 1 :][:1]
        if module in ([PREDICTOR], [TRANSFORMER]):
            return module[0]
        return GENERATOR if module == ["benchmarks.transformer_stages.generator"] else OTHER
    names = {word.rpartition("/")[2] for word in words[:2]}
    return PROXY if names & {QUEUE_PROXY, ENVOY} else OTHER


def pod_of(cgroup: str) -> str:
    """The pod's uid in the text of /proc/PID/cgroup; empty if the process is in none."""
    found = _POD.search(cgroup)
    return found[1].replace("_", "-") if found else ""


def is_idle_group(process: int, groups: Path = CGROUPS) -> bool:
    """Whether a process is in a cgroup that runs on cores which nothing else wants (``cpu.idle``), or below one.

    Args:
        process: its number.
        groups: where cgroups are mounted: one tree (version 2), or one in ``cpu`` for that controller.
    """
    try:
        lines = Path(f"/proc/{process}/cgroup").read_text().splitlines()
    except OSError:
        return False
    return any(_has_idle_group(path, groups) for path in map(_processor_group, lines) if path)


def _processor_group(line: str) -> str:
    """The group in a line of /proc/PID/cgroup that is about processors, below the mount; empty for another line."""
    _, controllers, path = line.split(":", 2)
    if controllers == "":
        return path.strip("/")
    return f"cpu/{path.strip('/')}" if "cpu" in controllers.split(",") else ""


def _has_idle_group(path: str, groups: Path) -> bool:
    for folder in (groups / path, *(groups / path).parents):
        try:
            if (folder / "cpu.idle").read_text().strip() == "1":
                return True
        except OSError:
            continue
    return False


class ProcessorTimes:
    """Processor time by kind, from the first reading on. A pod that is not ready yet counts as another process."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """By kind, as of the last reading."""
        self._last: dict[int, float] = {}
        self._about: dict[int, tuple[str, str]] = {}

    def read(self, ready: Collection[str]) -> None:
        """Add what was computed since the last reading.

        Args:
            ready: uids of the pods that serve.
        """
        now: dict[int, float] = {}
        for process in _processes():
            if (usage := _usage(process)) is None:
                continue
            spent, nice = usage
            now[process] = spent
            if spent == self._last.get(process):
                continue
            kind, pod = (YIELDING, "") if nice > 0 or is_idle_group(process) else self._known(process)
            if pod and kind in (PREDICTOR, TRANSFORMER) and pod not in ready:
                kind = OTHER
            self.seconds[kind] += max(0.0, spent - self._last.get(process, spent if not self._last else 0.0))
        self._about = {process: self._about[process] for process in now if process in self._about}
        self._last = now

    def _known(self, process: int) -> tuple[str, str]:
        if process not in self._about:
            kind, pod = _about(process)
            if kind == OTHER:  # it may still become another one by exec
                return kind, pod
            self._about[process] = kind, pod
        return self._about[process]


def find_processes(kind: str, pods: Collection[str] | None = None) -> list[int]:
    """Numbers of the processes of a kind.

    Args:
        kind: of :func:`kind_of`.
        pods: uids of the pods that they must be in; None: anywhere.

    Raises:
        SystemExit: there are none that this process can see.
    """
    found = []
    for process in _processes():
        its_kind, pod = _about(process)
        if its_kind == kind and (pods is None or pod in pods):
            found.append(process)
    if not found:
        raise SystemExit(
            f"no {kind} of the cluster is a process that this one sees: run it as root on the machine of the node"
        )
    return found


def total_s(process: int) -> float:
    """Processor time of a process, seconds; 0 if it has ended."""
    spent, _ = _usage(process) or (0.0, 0)
    return spent


def _about(process: int) -> tuple[str, str]:
    """Kind and pod of a process."""
    folder = Path(f"/proc/{process}")
    try:
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return kind_of(command), pod_of((folder / "cgroup").read_text())
    except OSError:
        return OTHER, ""


def _processes() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())


def _usage(process: int) -> tuple[float, int] | None:
    """Processor time of a process, seconds, and its niceness; None if it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S, int(fields[16])
