"""``yiwen serve`` whose two processes are forks of itself, started by the fork server with all imports done."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping

from cli.__main__ import main


class _ForkedService:
    """A process of ``python -m SERVICE``; has the methods of :class:`subprocess.Popen` that the supervisor uses."""

    def __init__(self, command: list[str], *, env: Mapping[str, str], start_new_session: bool) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            if start_new_session:
                os.setsid()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.environ.clear()
            os.environ.update(env)
            sys.argv = command[2:]
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
            sys.exit(0)

    def poll(self) -> int | None:
        return self._reap(os.WNOHANG)

    def wait(self) -> int | None:
        return self._reap(0)

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def _reap(self, options: int) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, options)
            if ended:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


if __name__ == "__main__":
    setattr(subprocess, "Popen", _ForkedService)  # noqa: B010  # mypy takes no other class for it
    sys.modules.pop("transformer.__main__", None)  # runs as __main__
    sys.exit(main())
