"""Credentials for registries, from where ``docker login`` and ``podman login`` keep them."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from predictor.builder.errors import TransferFailed

_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
_HUB_ENTRY = "https://index.docker.io/v1/"
_HELPER_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class RegistryLogin:
    """A user's name and password, or an identity token in the password's place."""

    user: str
    password: str
    is_identity_token: bool = False

    def basic(self) -> str:
        """The value of ``Authorization`` that gives them."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def find_login(host: str, environ: Mapping[str, str]) -> RegistryLogin | None:
    """The login for a registry, or None where there is none.

    Looked for in ``$REGISTRY_AUTH_FILE``, ``$DOCKER_CONFIG/config.json``, ``~/.docker/config.json`` and
    ``$XDG_RUNTIME_DIR/containers/auth.json``. A credential helper that one of them names for the registry is asked.

    Args:
        host: of the registry, with its port.
        environ: the process's environment.

    Raises:
        TransferFailed: a file cannot be read, or a helper fails.
    """
    for path in _files(environ):
        if not path.is_file():
            continue
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            login = _of_document(document, host, environ)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise TransferFailed(f"{path} is not a file that docker login has written: {error}") from error
        if login is not None:
            return login
    return None


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    if name := environ.get("REGISTRY_AUTH_FILE"):
        yield Path(name)
    home = Path(environ.get("HOME", "/"))
    yield Path(environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
    if name := environ.get("XDG_RUNTIME_DIR"):
        yield Path(name) / "containers" / "auth.json"


def _of_document(document: Mapping[str, Any], host: str, environ: Mapping[str, str]) -> RegistryLogin | None:
    names = (_HUB_ENTRY, *_DOCKER_HUB) if host in _DOCKER_HUB else (host, f"https://{host}", f"http://{host}")
    helpers = document.get("credHelpers") or {}
    auths = document.get("auths") or {}
    for name in names:
        if name in helpers:
            return _ask_helper(str(helpers[name]), name, environ)
        entry = auths.get(name) or {}
        if entry.get("identitytoken"):
            return RegistryLogin("", str(entry["identitytoken"]), is_identity_token=True)
        if entry.get("auth"):
            user, colon, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
            if not colon:
                raise ValueError(f"the entry of {name} holds no user and password")
            return RegistryLogin(user, password)
    if store := document.get("credsStore"):
        return next((login for name in names if (login := _ask_helper(str(store), name, environ))), None)
    return None


def _ask_helper(helper: str, name: str, environ: Mapping[str, str]) -> RegistryLogin | None:
    """What ``docker-credential-HELPER get`` answers; None where it knows no such registry."""
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"],
            input=name, env=dict(environ), capture_output=True, text=True, check=False, timeout=_HELPER_TIMEOUT_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TransferFailed(
            f"{program}, which docker's config.json names, cannot be run: {error}"
        ) from error
    if done.returncode != 0:
        if "not found" in (done.stdout + done.stderr).lower():
            return None
        raise TransferFailed(f"{program} failed: {(done.stdout + done.stderr).strip()}")
    answer = json.loads(done.stdout)
    user, secret = str(answer["Username"]), str(answer["Secret"])
    return RegistryLogin(user, secret, is_identity_token=user == "<token>")
