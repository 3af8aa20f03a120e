"""Signals to processes in pods, sent by a privileged pod in the node's PID namespace.

The first process of a container ignores SIGKILL from inside of its own PID namespace.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.kubectl import documents, kubectl
from tests.cluster.overlays import image
from tests.cluster.this_run import OWN_LABEL

_FIND = """
import os, pathlib, select, signal, sys, time
uid, words = sys.argv[1:3]
def find():
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            cgroup = (folder / "cgroup").read_text()
            command = (folder / "cmdline").read_bytes().replace(bytes(1), b" ").decode()
        except OSError:
            continue
        if (uid in cgroup or uid.replace("-", "_") in cgroup) and words in command:
            return int(folder.name)
    sys.exit(f"no process of pod {uid} with {words!r}")
"""
_SIGNAL = (
    _FIND
    + """
os.kill(find(), signal.Signals[sys.argv[3]])
"""
)
_THROTTLE = (
    _FIND
    + """
process = find()
print("throttled", flush=True)
try:
    while not select.select([sys.stdin], [], [], float(sys.argv[4]))[0]:
        os.kill(process, signal.SIGSTOP)
        time.sleep(float(sys.argv[3]))
        os.kill(process, signal.SIGCONT)
except ProcessLookupError:
    pass
"""
)


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
    """Sends signals to a process once, or stops it in turns."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def signal(self, pod_uid: str, words: str, name: str = "SIGKILL") -> None:
        """Send a signal to the process of a pod whose command line holds ``words``.

        Args:
            pod_uid: of the pod.
            words: part of the command line.
            name: of the signal.

        Raises:
            KubectlError: there is no such process.
        """
        kubectl("exec", *self._python(_SIGNAL, pod_uid, words, name))

    @contextmanager
    def throttled(self, pod_uid: str, words: str, stopped_s: float, running_s: float) -> Iterator[None]:
        """Stop and continue the process of a pod in turns, as long as it lives.

        Args:
            pod_uid: of the pod.
            words: part of the process' command line.
            stopped_s: seconds of each turn in which it is stopped.
            running_s: seconds in which it runs.

        Raises:
            AssertionError: there is no such process.
        """
        command = self._python(_THROTTLE, pod_uid, words, str(stopped_s), str(running_s))
        # It ends by the end of its input: the end of kubectl alone would leave it running.
        with subprocess.Popen(
            ["kubectl", "exec", "-i", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as throttling:
            assert throttling.stdin
            assert throttling.stdout
            try:
                assert throttling.stdout.readline() == "throttled\n", f"no process of pod {pod_uid}"
                yield
            finally:
                throttling.stdin.close()

    def _python(self, script: str, *arguments: str) -> list[str]:
        return ["-n", self._namespace, "node", "--", "python3", "-c", script, *arguments]
