"""`yiwen serve`: runs the predictor and the transformer of one release as two processes on this machine.

It listens on 127.0.0.1 unless `--host` or `YIWEN_HOST` says otherwise; the predictor is always local.
"""

from __future__ import annotations

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
from typing import Annotated

from typer import Option

from cli.service_options import TOKEN_FILE_VARIABLE
from predictor.config import PredictorConfig
from protocol.command_line import FAILED, UNUSABLE, add_command, fail, new_app
from protocol.release import load_release
from protocol.release_documents import ReleaseError
from serving.settings import ServerSettings, SettingsError, environment_names, settings_from_environment
from transformer.config import TransformerConfig

LOOPBACK = "127.0.0.1"
POLL_S = 0.02
START_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """One of the two processes."""

    name: str
    module: str
    environment: Mapping[str, str]
    host: str
    http_port: int

    @property
    def local_url(self) -> str:
        """URL under which this machine reaches it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        return f"http://{host}:{self.http_port}"


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Options of `yiwen serve`."""

    release: Annotated[Path, Option(metavar="DIR", help="directory of the release")]
    host: Annotated[
        str | None, Option(metavar="ADDRESS", help="address of the service (YIWEN_HOST, else 127.0.0.1)")
    ] = None
    http_port: Annotated[int, Option(metavar="PORT", help="REST port of the service")] = 8080
    grpc_port: Annotated[int, Option(metavar="PORT", help="gRPC port of the service, 0 for none")] = 8081
    predictor_http_port: Annotated[int, Option(metavar="PORT", help="REST port of the predictor")] = 8082
    predictor_grpc_port: Annotated[
        int, Option(metavar="PORT", help="gRPC port of the predictor, 0 for none")
    ] = 0


def run(options: ServeOptions) -> int:
    """Serve until a signal comes or a process ends; returns the exit code."""
    try:
        services = plan_services(options, os.environ)
    except (ReleaseError, SettingsError) as error:
        return fail("serve", error, UNUSABLE)
    return _Supervisor(services).run()


def plan_services(options: ServeOptions, environ: Mapping[str, str]) -> tuple[ServiceProcess, ServiceProcess]:
    """The two processes to start, predictor first, each with its own settings.

    Raises:
        ReleaseError: there is no release at ``--release``.
        SettingsError: the environment holds a YIWEN_* variable that neither service knows.
    """
    release = load_release(options.release)
    shared, predictor, transformer = (
        environment_names(cls) for cls in (ServerSettings, PredictorConfig, TransformerConfig)
    )
    settings_from_environment(ServerSettings, environ, known={*predictor, *transformer, TOKEN_FILE_VARIABLE})
    common = {"YIWEN_RELEASE": str(options.release.resolve()), "YIWEN_LOG_FORMAT": "text"}
    common["YIWEN_MODEL_NAME"] = environ.get("YIWEN_MODEL_NAME", release.name)

    def environment(names: tuple[str, ...], host: str, http_port: int, grpc_port: int) -> dict[str, str]:
        kept = {k: v for k, v in environ.items() if not k.startswith("YIWEN_") or k in (*shared, *names)}
        own = {"YIWEN_HOST": host, "YIWEN_HTTP_PORT": str(http_port), "YIWEN_GRPC_PORT": str(grpc_port)}
        return {**common, **kept, **own, "YIWEN_RELEASE": common["YIWEN_RELEASE"]}

    host = options.host or environ.get("YIWEN_HOST") or LOOPBACK
    back = environment(predictor, LOOPBACK, options.predictor_http_port, options.predictor_grpc_port)
    front = environment(transformer, host, options.http_port, options.grpc_port)
    front["YIWEN_PREDICTOR_URL"] = f"http://{LOOPBACK}:{options.predictor_http_port}"
    return (
        ServiceProcess("predictor", "predictor", back, LOOPBACK, options.predictor_http_port),
        ServiceProcess("transformer", "transformer", front, host, options.http_port),
    )


class _Supervisor:
    """Starts both processes, waits, and stops the transformer first, so that running requests finish."""

    def __init__(self, services: tuple[ServiceProcess, ...]) -> None:
        self._services = services
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._signalled = False

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        for service in self._services:
            # In a new session: Ctrl-C reaches the supervisor alone, which stops the processes in order.
            self._processes[service.name] = subprocess.Popen(
                [sys.executable, "-m", service.module], env=dict(service.environment), start_new_session=True
            )
        try:
            if self._wait_until_ready():
                print(self._listening(), file=sys.stderr, flush=True)
            while not self._signalled and self._ended() is None:
                time.sleep(POLL_S)
        finally:
            ended = self._ended()
            self._stop()
        if ended is None or self._signalled:
            return 0
        fail("serve", f"the {ended} ended by itself, see its message above", FAILED)
        return self._processes[ended].returncode or FAILED

    def _listening(self) -> str:
        service = self._services[-1]
        ports = f"listening on {service.host}, REST {service.http_port}"
        grpc_port = service.environment["YIWEN_GRPC_PORT"]
        return f"serving on {service.local_url} ({ports}{'' if grpc_port == '0' else f', gRPC {grpc_port}'})"

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True

    def _ended(self) -> str | None:
        """Name of a process that has ended; None if both run."""
        return next((name for name, process in self._processes.items() if process.poll() is not None), None)

    def _wait_until_ready(self) -> bool:
        end = time.monotonic() + START_TIMEOUT_S
        for service in self._services:
            while not is_ready(service.http_port, service.local_url):
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


def is_ready(http_port: int, base_url: str | None = None) -> bool:
    """Whether a service on this machine reports ready.

    Args:
        http_port: its REST port.
        base_url: its URL; None for 127.0.0.1 and ``http_port``.
    """
    try:
        url = f"{base_url or f'http://{LOOPBACK}:{http_port}'}/v2/health/ready"
        with urllib.request.urlopen(url, timeout=1.0) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


app = new_app("Serve a release on this machine.")
add_command(
    app, "serve", run, ServeOptions, help="Serve a release on this machine, both services in one command."
)
