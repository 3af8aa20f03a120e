"""Label selectors of Kubernetes (``LabelSelector`` of meta/v1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocol.kubernetes.documents import mapping, objects, strings


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches; an empty selector matches everything, an unknown operator nothing."""
    wanted = mapping(selector, "matchLabels")
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(
        _matches_expression(expression, labels) for expression in objects(selector, "matchExpressions")
    )


def _matches_expression(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, operator = str(expression.get("key")), expression.get("operator")
    values = strings(expression.get("values"))
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    if operator == "Exists":
        return key in labels
    return operator == "DoesNotExist" and key not in labels
