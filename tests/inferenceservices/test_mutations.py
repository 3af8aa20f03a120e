"""Mutations of built overlays: a rule reports every removed field."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest

from inferenceservices.rules import check
from protocol.kubernetes.documents import mapping
from tests.inferenceservices.builds import documents_of, repository_settings

OVERLAYS = ("production", "standard", "staging", "runtime", "release-job")
RULES = {
    "tolerations": {"gpu-toleration", "lost-nodes"},
    "affinity": {"gpu-affinity", "mig-affinity"},
    "limits": {"resource-limits", "requests-and-limits", "device-resources"},
    "read-only": {"read-only-release", "read-only-secrets", "read-only-root"},
    "securityContext": {"run-as-non-root", "read-only-root", "privileges", "seccomp"},
    "timeouts": {"request-timeout", "drain-time", "health-probes", "startup-time"},
}
"""Kinds of fields that are removed, and the rules of which one reports it."""
PREDICTOR = ("spec", "predictor")
Path = tuple[Any, ...]


def _documents(overlay: str) -> list[dict[str, Any]]:
    return documents_of("release-jobs/production" if overlay == "release-job" else f"overlays/{overlay}")


def _leaves(value: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    """Every field and entry, with its path."""
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in entries:
        yield (*path, key), child
        yield from _leaves(child, (*path, key))


def _kind(path: Path, value: object) -> str:
    """The kind in RULES of the field at ``path``; empty if it is of none."""
    words = [str(part) for part in path]
    if re.search(r"tolerations/\d+$|tolerations$", "/".join(words)):
        return "tolerations"
    if words[-1] == "affinity" or words[-2:-1] == ["matchExpressions"]:
        return "affinity"
    if words[-1] in ("limits", "requests", "resources") or words[-2:-1] in (["limits"], ["requests"]):
        return "limits"
    if words[-1] == "readOnly" and value is True:
        return "read-only"
    if "containers" in "".join(words).lower() and (
        words[-1] == "securityContext" or words[-2:-1] == ["securityContext"] or words[-1] == "drop"
    ):
        return "securityContext"
    timeouts = ("timeout", "timeoutSeconds", "terminationGracePeriodSeconds", "preStop", "startupProbe")
    if words[-1] in timeouts or words[-1].endswith("progress-deadline") or _is_timeout_variable(value):
        return "timeouts"
    return ""


def _is_timeout_variable(value: object) -> bool:
    name = value.get("name", "") if isinstance(value, dict) else ""
    return name in ("YIWEN_MAX_DEADLINE_MS", "YIWEN_DRAIN_S", "YIWEN_READ_TIMEOUT_S")


def _mutations(overlay: str) -> Iterator[tuple[str, str, Path]]:
    """(kind, the document's kind, path) of every field that a rule must report."""
    for document in _documents(overlay):
        if document["kind"] not in ("InferenceService", "ServingRuntime", "StatefulSet", "Job"):
            continue
        for path, value in _leaves(document):
            kind = _kind(path, value)
            if not kind or _is_preference(document, path, kind):
                continue
            yield kind, document["kind"], path


def _is_preference(document: dict[str, Any], path: Path, kind: str) -> bool:
    """Whether a field is a preference that no rule asks for."""
    lost = _at(document, path)
    if kind == "timeouts":
        return str(document["kind"]) == "StatefulSet"
    if kind == "affinity":
        return "transformer" in path or mapping(lost).get("key") == "kubernetes.io/os"
    if kind == "tolerations":
        return (
            str(document["kind"]) == "Job" and "node.kubernetes.io" in str(lost) and path[-1] != "tolerations"
        )
    return False


def _at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value


def _without(documents: list[dict[str, Any]], kind: str, path: Path) -> list[dict[str, Any]]:
    changed = copy.deepcopy(documents)
    document = next(document for document in changed if document["kind"] == kind)
    del _at(document, path[:-1])[path[-1]]
    return changed


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_rule_reports_every_removed_field(overlay: str, kind: str) -> None:
    documents, cluster = _documents(overlay), repository_settings()
    unnoticed = []
    count = 0
    for lost, document_kind, path in _mutations(overlay):
        if lost != kind:
            continue
        count += 1
        found = {finding.rule for finding in check(_without(documents, document_kind, path), cluster)}
        if not found & RULES[kind]:
            unnoticed.append(f"{document_kind} {'.'.join(str(part) for part in path)}: {sorted(found)}")
    assert unnoticed == []
    if (overlay, kind) != ("release-job", "timeouts"):
        assert count > 0
