"""What tests of the router share: names, metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry

from tests.transformer.predictor_stand_in import StandIn
from transformer.predictors.router import PredictorRouter

OTHER = "fedcba9876543210"
Route = Callable[..., Awaitable[PredictorRouter]]
Predictors = Callable[..., StandIn]


def count(registry: CollectorRegistry, name: str, **labels: str) -> float:
    return registry.get_sample_value(f"yiwen_transformer_{name}_total", labels) or 0.0


def sends(registry: CollectorRegistry, address: str) -> float:
    return count(registry, "predictor_sends", address=address)


def retried(registry: CollectorRegistry, kind: str) -> float:
    return count(registry, "predictor_retries", kind=kind, result="made")
