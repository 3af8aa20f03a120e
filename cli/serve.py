"""`yiwen serve`: the predictor and the transformer of one release side by side, on one machine.

Two processes, as in a cluster, started and stopped together. In a cluster Kubernetes does this job.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from predictor.config import PredictorConfig
from protocol.release import ReleaseError, load_release
from serving.settings import ServerSettings, SettingsError, environment_names, settings_from_environment
from transformer.config import TransformerConfig

POLL_S = 0.02
START_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Service:
    """One process of the pair."""

    name: str
    module: str
    environment: Mapping[str, str]
    http_port: int


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Mount `yiwen serve`."""
    parser = subparsers.add_parser(
        "serve", help="serve a release on this machine, both services in one command"
    )
    parser.add_argument("--release", type=Path, required=True, help="directory of the release")
    parser.add_argument("--http-port", type=int, default=8080, help="REST port of the service (8080)")
    parser.add_argument("--grpc-port", type=int, default=8081, help="gRPC port, 0 for none (8081)")
    parser.add_argument(
        "--predictor-http-port", type=int, default=8082, help="REST port of the predictor (8082)"
    )
    parser.add_argument(
        "--predictor-grpc-port", type=int, default=0, help="gRPC port of the predictor, 0 for none (0)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal comes or a process ends; returns the exit code."""
    try:
        services = plan_services(arguments, os.environ)
    except (ReleaseError, SettingsError) as error:
        print(f"yiwen serve: {error}", file=sys.stderr)
        return 2
    return _Supervisor(services).run()


def plan_services(arguments: argparse.Namespace, environ: Mapping[str, str]) -> tuple[Service, Service]:
    """The two processes to start, predictor first, each with the settings that are its own.

    Raises:
        ReleaseError: there is no release at ``--release``.
        SettingsError: the environment holds a YIWEN_* variable that neither service knows.
    """
    release = load_release(arguments.release)
    shared, predictor, transformer = (
        environment_names(cls) for cls in (ServerSettings, PredictorConfig, TransformerConfig)
    )
    settings_from_environment(ServerSettings, environ, known={*predictor, *transformer})
    common = {"YIWEN_RELEASE": str(arguments.release.resolve()), "YIWEN_LOG_FORMAT": "text"}
    common["YIWEN_MODEL_NAME"] = environ.get("YIWEN_MODEL_NAME", release.name)

    def environment(names: tuple[str, ...], http_port: int, grpc_port: int) -> dict[str, str]:
        kept = {k: v for k, v in environ.items() if not k.startswith("YIWEN_") or k in (*shared, *names)}
        own = {"YIWEN_HTTP_PORT": str(http_port), "YIWEN_GRPC_PORT": str(grpc_port)}
        return {**common, **kept, **own, "YIWEN_RELEASE": common["YIWEN_RELEASE"]}

    back = environment(predictor, arguments.predictor_http_port, arguments.predictor_grpc_port)
    front = environment(transformer, arguments.http_port, arguments.grpc_port)
    front["YIWEN_PREDICTOR_URL"] = f"http://127.0.0.1:{arguments.predictor_http_port}"
    return (
        Service("predictor", "predictor", back, arguments.predictor_http_port),
        Service("transformer", "transformer", front, arguments.http_port),
    )


class _Supervisor:
    """Starts the pair, waits, and stops the transformer before the predictor, so that nothing in flight is lost."""

    def __init__(self, services: tuple[Service, ...]) -> None:
        self._services = services
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._signalled = False

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        for service in self._services:
            # A session of its own: Ctrl-C reaches the supervisor alone, which stops them in order.
            self._processes[service.name] = subprocess.Popen(
                [sys.executable, "-m", service.module], env=dict(service.environment), start_new_session=True
            )
        try:
            if self._wait_until_ready():
                print(
                    f"serving on http://127.0.0.1:{self._services[-1].http_port}", file=sys.stderr, flush=True
                )
            while not self._signalled and self._ended() is None:
                time.sleep(POLL_S)
        finally:
            ended = self._ended()
            self._stop()
        if ended is None or self._signalled:
            return 0
        print(f"yiwen serve: the {ended} ended by itself, see its message above", file=sys.stderr)
        return self._processes[ended].returncode or 1

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True

    def _ended(self) -> str | None:
        """Name of a process that is no longer running."""
        return next((name for name, process in self._processes.items() if process.poll() is not None), None)

    def _wait_until_ready(self) -> bool:
        end = time.monotonic() + START_TIMEOUT_S
        for service in self._services:
            while not is_ready(service.http_port):
                if self._signalled or self._ended() is not None or time.monotonic() > end:
                    return False
                time.sleep(POLL_S)
        return True

    def _stop(self) -> None:
        for service in reversed(self._services):
            process = self._processes[service.name]
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait()


def is_ready(http_port: int) -> bool:
    """Whether the service on this port of this machine calls itself ready."""
    try:
        url = f"http://127.0.0.1:{http_port}/v2/health/ready"
        with urllib.request.urlopen(url, timeout=1.0) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False
