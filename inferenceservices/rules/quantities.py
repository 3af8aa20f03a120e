"""Kubernetes' quantities (``500m``, ``16Gi``) and resources."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from inferenceservices.manifests import mapping

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)")
_POWERS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}

GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu", "intel.com/gpu", "habana.ai/gaudi")
"""What KServe knows as a GPU by its whole name (``pkg/constants``)."""
MIG_PREFIX = "nvidia.com/mig"


def parse_quantity(text: object) -> Decimal:
    """The number that a quantity stands for.

    Raises:
        ValueError: it is no quantity.
    """
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{text!r} is no quantity such as 500m, 2 or 16Gi")
    number, exponent, suffix = match.groups()
    if exponent:
        return Decimal(number + exponent)
    if suffix in _BINARY:
        return Decimal(number) * Decimal(2) ** _BINARY[suffix]
    return Decimal(number).scaleb(_POWERS[suffix or ""])


def quantity(text: object) -> Decimal:
    """As :func:`parse_quantity`, with 0 for what is none."""
    try:
        return parse_quantity(text)
    except ValueError:
        return Decimal(0)


def limits(container: Mapping[str, Any]) -> Mapping[str, Any]:
    """``resources.limits``."""
    return mapping(container, "resources", "limits")


def requests(container: Mapping[str, Any]) -> Mapping[str, Any]:
    """``resources.requests``."""
    return mapping(container, "resources", "requests")


def is_extended(resource: str) -> bool:
    """Whether a resource is a device plugin's: those have a domain in their names."""
    return "/" in resource


def is_gpu(resource: str) -> bool:
    """Whether KServe takes a resource for a GPU on a single node: by name, or a MIG slice."""
    return resource in GPU_RESOURCES or resource.startswith(MIG_PREFIX)


def gpu_resources(container: Mapping[str, Any]) -> tuple[str, ...]:
    """The GPU resources that a container asks for, in requests or limits."""
    return tuple(sorted(name for name in {*limits(container), *requests(container)} if is_gpu(name)))
