"""kubectl against the cluster of the kubeconfig: commands, documents, conditions that are waited for."""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import time
from collections.abc import Callable
from typing import Any, TypeVar

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

T = TypeVar("T")
POLL_S = 0.5
SERVICES = ("serving.kserve.io", "v1beta1")


class KubectlError(AssertionError):
    """A command that failed, with what it printed."""


def kubectl(*words: str, stdin: str | None = None, timeout_s: float = 120.0) -> str:
    """What a command prints.

    Args:
        words: of the command, without ``kubectl``.
        stdin: what it reads.
        timeout_s: seconds after which it is ended.

    Raises:
        KubectlError: it failed, or was not done in time.
    """
    try:
        done = subprocess.run(
            ["kubectl", *words], input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise KubectlError(f"kubectl {' '.join(words)}: not within {timeout_s:.0f} s") from None
    if done.returncode != 0:
        raise KubectlError(f"kubectl {' '.join(words)}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def documents(*words: str) -> list[dict[str, Any]]:
    """The items that ``kubectl get`` lists."""
    items: list[dict[str, Any]] = document(*words)["items"]
    return items


def document(*words: str) -> dict[str, Any]:
    """The one object, or the list, that ``kubectl get`` gives."""
    found: dict[str, Any] = _polled(*words) or json.loads(kubectl("get", *words, "-o", "json"))
    return found


def _polled(*words: str) -> dict[str, Any] | None:
    """The same without a process for each reading, of the kinds that are waited for; None for another one."""
    given, _ = READING.parse_known_args(words)
    read = READERS.get((given.kind, bool(given.namespace), bool(given.name)))
    if read is None:
        return None
    selectors = {"label_selector": given.selector, "field_selector": given.fields}
    options = {key: value for key, value in selectors.items() if value}
    try:
        answer = read(given, _preload_content=False, _request_timeout=60, **options)
    except ApiException as error:
        raise KubectlError(f"get {' '.join(words)}: {error.status} {error.reason}") from None
    except HTTPError as error:
        raise KubectlError(f"get {' '.join(words)}: {error}") from None
    found: dict[str, Any] = json.loads(answer.data)
    return found


@functools.cache
def _api() -> client.ApiClient:
    config.load_kube_config()
    return client.ApiClient()


READERS: dict[tuple[str, bool, bool], Callable[..., Any]] = {
    ("inferenceservice", True, True): lambda given, **options: client.CustomObjectsApi(
        _api()
    ).get_namespaced_custom_object(*SERVICES, given.namespace, "inferenceservices", given.name, **options),
    ("namespaces", False, False): lambda given, **options: client.CoreV1Api(_api()).list_namespace(**options),
    ("pods", True, False): lambda given, **options: client.CoreV1Api(_api()).list_namespaced_pod(
        given.namespace, **options
    ),
}
"""Of the kinds that tests poll, by whether a namespace and a name are given."""


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("kind")
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("-n", dest="namespace")
    parser.add_argument("-l", dest="selector")
    parser.add_argument("--field-selector", dest="fields")
    return parser


READING = _arguments()


def eventually(what: str, look: Callable[[], T | None], timeout_s: float) -> T:
    """The first value of ``look`` that is neither None, False nor empty.

    Args:
        what: is waited for, for the message.
        look: asks the cluster; a failing command counts as not yet.
        timeout_s: seconds to wait.

    Raises:
        AssertionError: there was none in time.
    """
    end = time.monotonic() + timeout_s
    last: object = None
    while time.monotonic() < end:
        try:
            if found := look():
                return found
            last = found
        except KubectlError as error:
            last = error
        time.sleep(POLL_S)
    raise AssertionError(f"{what}: not within {timeout_s:.0f} s; last: {last}")


def condition(item: dict[str, Any], name: str) -> str:
    """Status of a condition of an object: ``True``, ``False``, ``Unknown``, or empty."""
    found = (each for each in item.get("status", {}).get("conditions", []) if each["type"] == name)
    return next((str(each["status"]) for each in found), "")
