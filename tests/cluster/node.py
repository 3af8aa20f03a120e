"""Signals to processes in pods, sent by a privileged pod in the node's PID namespace.

The first process of a container ignores SIGKILL from inside of its own PID namespace.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.kubectl import documents, kubectl
from tests.cluster.overlays import image
from tests.cluster.this_run import OWN_LABEL

_KILL = """
import os, pathlib, signal, sys
uid, words, number = sys.argv[1], sys.argv[2], signal.Signals[sys.argv[3]]
killed = []
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        cgroup = (folder / "cgroup").read_text()
        command = (folder / "cmdline").read_bytes().replace(bytes(1), b" ").decode()
    except OSError:
        continue
    if (uid in cgroup or uid.replace("-", "_") in cgroup) and words in command:
        killed.append(int(folder.name))
        break
for process in killed:
    os.kill(process, number)
print(len(killed))
"""


def a_node() -> str:
    """Name of a node with a kubelet: none that a test plays."""
    return str(documents("nodes", "-l", f"!{OWN_LABEL}")[0]["metadata"]["name"])


@contextmanager
def node_shell(namespace: str) -> Iterator[NodeShell]:
    """A pod with the node's processes, in a namespace that admits it."""
    container = {
        "name": "node", "image": image("builder"), "imagePullPolicy": "IfNotPresent", "command": ["sleep", "86400"],
        "securityContext": {"privileged": True, "runAsUser": 0},
    }  # fmt: skip
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "node", "namespace": namespace},
        "spec": {"containers": [container], "hostPID": True, "terminationGracePeriodSeconds": 1},
    }  # fmt: skip
    kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    kubectl("wait", "-n", namespace, "--for=condition=Ready", "--timeout=180s", "pod/node", timeout_s=200)
    yield NodeShell(namespace)


class NodeShell:
    """Sends signals."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def signal(self, pod_uid: str, words: str, name: str = "SIGKILL") -> None:
        """Send a signal to the process of a pod whose command line holds ``words``.

        Args:
            pod_uid: of the pod.
            words: part of the command line.
            name: of the signal.

        Raises:
            AssertionError: there is no such process.
        """
        command = ("exec", "-n", self._namespace, "node", "--", "python3", "-c", _KILL, pod_uid, words, name)
        assert kubectl(*command).strip() == "1", f"no process of pod {pod_uid} with {words!r}"
