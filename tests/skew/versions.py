"""Versions of Yiwen as checkouts: builds releases with them and runs their services, as processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli.serve import is_ready
from tests.e2e.release_cluster import MODEL
from tests.e2e.release_load import START_S
from tests.forkserver import ROOT
from tests.ports import free_ports

DEMO_CHECKPOINT = Path("examples", "demo_model", "checkpoint")


class Refused(Exception):
    """A service ended its own start. The message is its last line."""


@dataclass(frozen=True)
class Version:
    """A checkout with an environment in its ``.venv``."""

    name: str
    checkout: Path = ROOT

    @property
    def other_checkout(self) -> Path | None:
        """None for this checkout."""
        return None if self.checkout == ROOT else self.checkout

    @property
    def checkpoint(self) -> Path:
        """Of its demo model."""
        return self.checkout / DEMO_CHECKPOINT

    def takes(self, setting: str) -> bool:
        """Whether it knows an environment variable."""
        return setting in (self.checkout / "docs" / "configuration.md").read_text()

    def command(self, module: str, *arguments: str) -> list[str]:
        """The command line of ``python -m MODULE``."""
        own = self.checkout == ROOT
        python = sys.executable if own else str(self.checkout / ".venv" / "bin" / "python")
        return [python, "-m", module, *arguments]

    def build(self, checkpoint: Path, out: Path) -> Path:
        """Build a release of a checkpoint at ``out``."""
        done = self._run("cli", "release", "build", "--help")
        option = "--output" if "--output" in done.stdout else "--out"  # its name in 0.1.0
        done = self._run("cli", "release", "build", str(checkpoint), option, str(out), "--name", "demo")
        if done.returncode:
            raise SystemExit(f"{self.name} cannot build {checkpoint}: {done.stderr.strip()}")
        return out

    @contextmanager
    def running(self, component: str, release: Path, **settings: str) -> Iterator[str]:
        """Run a service; gives its URL when it is ready.

        Raises:
            Refused: it ended by itself.
        """
        (port,) = free_ports(1)
        arguments = ["--release", str(release), "--model_name", MODEL, f"--http_port={port}", "--grpc_port=0"]
        environ = {**_environ(), "YIWEN_HOST": "127.0.0.1", "YIWEN_LOG_LEVEL": "error", **settings}
        with tempfile.TemporaryFile("w+") as log:
            process = subprocess.Popen(
                self.command(component, *arguments), env=environ, cwd=self.checkout, stdout=log, stderr=log
            )
            try:
                end = time.monotonic() + START_S
                while not is_ready(port):
                    if process.poll() is not None:
                        log.seek(0)
                        raise Refused(log.read().strip().splitlines()[-1])
                    if time.monotonic() > end:
                        raise SystemExit(
                            f"the {component} of {self.name} was not ready after {START_S:.0f} s"
                        )
                    time.sleep(0.05)
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()
                process.wait()

    def _run(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(module, *arguments),
            cwd=self.checkout,
            env=_environ(),
            capture_output=True,
            text=True,
            check=False,
        )


def _environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("YIWEN_", "OTEL_"))}
