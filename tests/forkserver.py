"""Starts Python programs by forking a process that has imported the large packages already.

Importing kserve and grpc takes two seconds of CPU time, a fork some milliseconds. What is started is a
process like any other: with a pid, signals, files, environment and exit code of its own. Only ``sys.argv`` is not its
command line in /proc. The server starts no thread, opens no socket and runs no event loop before it forks.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TypeAlias

ROOT = Path(__file__).parents[1]
MAX_REQUEST_BYTES = 2**17
RUN_TIMEOUT_S = 60.0
POLL_S = 0.01
PRELOADED = (
    "cli.__main__",
    "cli.serve",
    "predictor.llm_engine",
    "predictor.model",
    "py3langid",
    "sentencex",
    "tests.serving.echo_server",
    "tokenizers",
    "transformer.__main__",
    "uvicorn",
    "uvloop",
)
"""Modules that the server imports, and that start no thread, which onnxruntime does; a program may import others."""


class ForkedProcess:
    """A process that the fork server started; has the methods of :class:`subprocess.Popen` that tests use."""

    def __init__(self, pid: int, status: int, args: list[str]) -> None:
        self.pid = pid
        self.args = args
        self.returncode: int | None = None
        self._lock = threading.Lock()
        self._status: int | None = status
        """Read end of the pipe that the exit code comes through."""

    def poll(self) -> int | None:
        """The exit code; None while the process runs."""
        return self._read(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; returns the exit code, -N after signal N.

        Raises:
            subprocess.TimeoutExpired: it still runs after ``timeout`` seconds.
        """
        code = self._read(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _read(self, timeout: float | None) -> int | None:
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            # One thread may wait while another one polls: only one of them may read and close, and none may look at a
            # number that has become another file's.
            with self._lock:
                if self._status is not None and select.select([self._status], [], [], 0.0)[0]:
                    data = os.read(self._status, 16)
                    os.close(self._status)
                    self._status = None
                    if not data:
                        raise RuntimeError("the fork server has ended")
                    self.returncode = int(data)
                if self._status is None:
                    return self.returncode
            if end is not None and time.monotonic() >= end:
                return None
            time.sleep(POLL_S)


Output: TypeAlias = "IO[str] | IO[bytes] | int"
"""A file, a file descriptor, or :data:`subprocess.DEVNULL`."""


def start_module(
    module: str,
    *arguments: str,
    env: Mapping[str, str],
    stdin: Output = subprocess.DEVNULL,
    stdout: Output = 1,
    stderr: Output = 2,
) -> ForkedProcess:
    """Run ``python -m MODULE`` in a process of its own, in the directory of the repository.

    Args:
        module: whose ``__main__`` or top level runs.
        arguments: of the program.
        env: its whole environment.
        stdin: of the program.
        stdout: of the program.
        stderr: of the program.
    """
    return _server().start([module, *arguments], env, (stdin, stdout, stderr))


def run_module(
    module: str, *arguments: str, env: Mapping[str, str], text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m MODULE`` in a process of its own to its end, with its output captured as text.

    Args:
        module: whose ``__main__`` or top level runs.
        arguments: of the program.
        env: its whole environment.
        text: what it reads from stdin.
    """
    with ExitStack() as stack:
        stdin, stdout, stderr = (stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(3))
        stdin.write(text)
        stdin.seek(0)
        process = start_module(module, *arguments, env=env, stdin=stdin, stdout=stdout, stderr=stderr)
        try:
            code = process.wait(RUN_TIMEOUT_S)
        finally:
            process.kill()
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(process.args, code, stdout.read(), stderr.read())


class _ForkServer:
    """The side of the tests: one process for all that this process starts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # BLAS would start threads when it is imported; gRPC reads its verbosity then, not later.
        environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "GRPC_VERBOSITY": "NONE"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                cwd=ROOT,
                env={name: value for name, value in environ.items() if not name.startswith("YIWEN_")},
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self.close)

    def start(
        self, command: list[str], env: Mapping[str, str], streams: tuple[Output, Output, Output]
    ) -> ForkedProcess:
        status, theirs = os.pipe()
        null = os.open(os.devnull, os.O_RDWR)
        numbers = [file if isinstance(file, int) else file.fileno() for file in streams]
        files = [*(null if number == subprocess.DEVNULL else number for number in numbers), theirs]
        request = json.dumps({"command": command, "env": dict(env)}).encode()
        try:
            with self._lock:
                socket.send_fds(self._socket, [request], files)
                pid = int(self._socket.recv(16))
        finally:
            os.close(null)
            os.close(theirs)
        return ForkedProcess(pid, status, command)

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


@functools.cache
def _server() -> _ForkServer:
    return _ForkServer()


def serve(connection: socket.socket) -> None:
    """Fork for each request until the other side closes; returns in every child, to become its program."""
    children: dict[int, int] = {}
    """The pipe for each child's exit code."""
    woken, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the programs
    while True:
        ready, _, _ = select.select([connection.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _reap(children)
        if connection.fileno() not in ready:
            continue
        request, files, _, _ = socket.recv_fds(connection, MAX_REQUEST_BYTES, 4)
        if not request:
            sys.exit(0)
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for descriptor in (woken, wakeup, files[3], *children.values()):
                os.close(descriptor)
            connection.close()
            _become(json.loads(request), files[:3])
            return
        children[pid] = files.pop()
        for descriptor in files:
            os.close(descriptor)
        connection.send(b"%d" % pid)


def _reap(children: dict[int, int]) -> None:
    """Report the exit codes of the children that have ended."""
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        pipe = children.pop(pid)
        try:
            os.write(pipe, b"%d" % os.waitstatus_to_exitcode(status))
        except BrokenPipeError:
            pass  # nobody asks for it
        os.close(pipe)


def _become(request: dict[str, object], files: list[int]) -> None:
    """Take over files, environment and arguments of a program."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    command, environ = request["command"], request["env"]
    assert isinstance(command, list)
    assert isinstance(environ, dict)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = command
    for name in (command[0], f"{command[0]}.__main__"):
        if not hasattr(sys.modules.get(name), "__path__"):
            sys.modules.pop(name, None)  # runs as __main__


def main() -> None:
    """Import what programs need, serve, and in a child run its program."""
    for name in PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    threads = [
        Path(f"/proc/self/task/{thread}/comm").read_text().strip() for thread in os.listdir("/proc/self/task")
    ]
    # jemalloc, which comes with pyarrow, starts its own anew after a fork.
    started = [name for name in threads if name != "jemalloc_bg_thd"]
    assert len(started) == 1, f"a module has started a thread that the children would not have: {started}"
    serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
