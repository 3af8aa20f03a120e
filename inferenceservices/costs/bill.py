"""What a service's use cost, and how it is shared among pairs and callers.

The whole cost is shared, idle time included: by tokens where they are known, a prompt token as
:data:`PROMPT_TOKEN_COST` generated ones, else by characters. A text from the cache costs nothing then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from inferenceservices.costs.prices import PriceFile
from inferenceservices.costs.usage import PodUse, ServiceUse, TrafficUse

PROMPT_TOKEN_COST = 0.15
"""Time of a prompt token in that of a generated one: 0.1 to 0.2 in the profiles of a 7B model with 32 to 64 sequences
at a time (knative/profiles)."""
MILLION = 1e6
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class PodCost:
    """Pods of one component, slice and node type."""

    component: str
    slice: str
    node_type: str
    pods: int
    hours: float
    busy_hours: float | None
    """None where it is not known of all of them."""
    cost: float

    @property
    def idle_share(self) -> float | None:
        """Share of the time without work; None where it is not known."""
        if self.busy_hours is None or not self.hours:
            return None
        return max(0.0, 1 - self.busy_hours / self.hours)


@dataclass(frozen=True, slots=True)
class TrafficCost:
    """One pair or caller."""

    name: str
    use: TrafficUse
    cost: float

    @property
    def per_million(self) -> float:
        """Cost of a million characters; 0 without characters."""
        return self.cost / self.use.characters * MILLION if self.use.characters else 0.0


@dataclass(frozen=True, slots=True)
class Bill:
    """Everything that is shown."""

    currency: str
    seconds: float
    pods: tuple[PodCost, ...]
    pairs: tuple[TrafficCost, ...]
    callers: tuple[TrafficCost, ...]
    total: TrafficCost

    @property
    def per_hour(self) -> float:
        """Mean cost of an hour."""
        return self.total.cost / self.seconds * HOUR_S if self.seconds else 0.0

    @property
    def idle_cost(self) -> float:
        """Cost of the time in which predictors had no work, of those of which that is known."""
        return sum(each.cost * (each.idle_share or 0.0) for each in self.pods)


def make_bill(use: ServiceUse, prices: PriceFile) -> Bill:
    """The costs of a service.

    Raises:
        CostError: a predictor has no price.
    """
    pods = _pod_costs(use, prices)
    total = sum(each.cost for each in pods)
    return Bill(
        prices.currency,
        use.seconds,
        pods,
        _shared(use.pairs, total),
        _shared(use.callers, total, of_all=use.total),
        TrafficCost("all", use.total, total),
    )


def _pod_costs(use: ServiceUse, prices: PriceFile) -> tuple[PodCost, ...]:
    groups: dict[tuple[str, str, str], list[PodUse]] = {}
    for pod in use.pods:
        groups.setdefault((pod.component, pod.slice, pod.node_type), []).append(pod)
    return tuple(_pod_cost(pods, prices) for _, pods in sorted(groups.items()))


def _pod_cost(pods: list[PodUse], prices: PriceFile) -> PodCost:
    first = pods[0]
    hours = sum(pod.seconds for pod in pods) / HOUR_S
    busy = [pod.busy_seconds for pod in pods if pod.busy_seconds is not None]
    return PodCost(
        component=first.component,
        slice=first.slice,
        node_type=first.node_type,
        pods=len(pods),
        hours=hours,
        busy_hours=sum(busy) / HOUR_S if len(busy) == len(pods) else None,
        cost=hours * prices.per_hour(first),
    )


def _shared(
    parts: Mapping[str, TrafficUse], total: float, of_all: TrafficUse | None = None
) -> tuple[TrafficCost, ...]:
    """The parts with their costs, the largest first.

    Args:
        parts: pairs or callers.
        total: the cost to share.
        of_all: what the parts are of; None: of their own sum.
    """
    whole = sum(parts.values(), TrafficUse()) if of_all is None else of_all
    is_known = all(_work(use) or (use.texts and not use.missed_texts) for use in parts.values())
    by_tokens = is_known and _work(whole) > 0
    measure = _work if by_tokens else _characters
    amount = measure(whole)
    costs = [
        TrafficCost(name, use, total * measure(use) / amount if amount else 0.0)
        for name, use in parts.items()
    ]
    return tuple(sorted(costs, key=lambda each: (-each.cost, each.name)))


def _work(use: TrafficUse) -> float:
    return use.generated_tokens + PROMPT_TOKEN_COST * use.prompt_tokens


def _characters(use: TrafficUse) -> float:
    return use.characters
