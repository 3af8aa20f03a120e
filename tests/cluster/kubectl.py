"""kubectl against the cluster of the kubeconfig: commands, documents, conditions that are waited for."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
POLL_S = 0.5


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
    items: list[dict[str, Any]] = json.loads(kubectl("get", *words, "-o", "json"))["items"]
    return items


def document(*words: str) -> dict[str, Any]:
    """The one object that ``kubectl get`` gives."""
    found: dict[str, Any] = json.loads(kubectl("get", *words, "-o", "json"))
    return found


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
