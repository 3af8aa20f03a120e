"""A service's use from Prometheus: the queries, and what their answers add up to.

Slices and node types come from kube-state-metrics, where it is scraped. A counter's increase is its last value less
the one at the beginning of the span, or less nothing if it began later: `increase()` would leave out what it had at
its first sample, and extrapolate. Only for a container that started again within the span `increase()` is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from inferenceservices.costs.usage import PREDICTOR, CostError, PodUse, ServiceUse, TrafficUse

STEPS = 5000
"""Points that a span is looked at, at most; Prometheus refuses more than 11,000."""
SHORTEST_STEP_S, LONGEST_STEP_S = 1, 60
PEAK_S = 300
LONG_S = 3600
_MISS = "miss"
_SLICES = "nvidia_com_.*|amd_com_.*"

Labels = Mapping[str, str]
Query = Callable[[str], Iterable[tuple[Labels, float]]]
"""Answers PromQL with labels and values."""


@dataclass(frozen=True, slots=True)
class UseQueries:
    """The queries about one namespace, or all, and one span that ends now."""

    query: Query
    seconds: int
    namespace: str = ""
    """Empty: all."""

    def use(self, slice_name: str = "") -> ServiceUse:
        """The use of the services' pods.

        Args:
            slice_name: of predictors of which Prometheus does not know it.

        Raises:
            CostError: no predictor ran.
        """
        pods = self._pods(slice_name)
        if not any(pod.component == PREDICTOR for pod in pods):
            where = f" in namespace {self.namespace}" if self.namespace else ""
            raise CostError(
                f"Prometheus saw no predictor{where} in the last {self.seconds} s: check --namespace and --since, "
                "and that it has the component monitoring's targets (yiwen_build_info)"
            )
        return ServiceUse(
            seconds=float(self.seconds),
            pods=pods,
            pairs=self._pairs(),
            callers=self._callers(),
            requests=self._requests(),
            peak_requests_per_s=self._peak_requests(),
            peak_predictors=round(self._one(self._most_predictors())),
            p99_s=self._p99(),
        )

    @property
    def step_s(self) -> int:
        """Resolution of the times that pods ran, seconds."""
        return min(max(math.ceil(self.seconds / STEPS), SHORTEST_STEP_S), LONGEST_STEP_S)

    def _pods(self, slice_name: str) -> tuple[PodUse, ...]:
        counted = f"count by (component, namespace, pod, instance) ({self._selector('yiwen_build_info')})"
        ran = f"sum_over_time(({counted})[{self.seconds}s:{self.step_s}s])"
        busy = self._increases("yiwen_predictor_busy_seconds_total", ("namespace", "pod", "instance"))
        slices, nodes = self._slices(), self._node_types()
        found = []
        for labels, steps in self.query(ran):
            key = (labels.get("namespace", ""), labels.get("pod", ""), labels.get("instance", ""))
            component = labels.get("component", "")
            is_predictor = component == PREDICTOR
            seconds = min(steps * self.step_s, float(self.seconds))
            found.append(
                PodUse(
                    name=key[1] or key[2],
                    component=component,
                    seconds=seconds,
                    busy_seconds=min(busy.get(key, 0.0), seconds) if is_predictor else None,
                    slice=(slices.get(key[:2]) or slice_name) if is_predictor else "",
                    node_type=nodes.get(key[:2], ""),
                )
            )
        return tuple(sorted(found, key=lambda pod: pod.name))

    def _slices(self) -> dict[tuple[str, str], str]:
        """The slice of each pod that asked for one, by namespace and pod."""
        selector = self._selector("kube_pod_container_resource_requests", f'resource=~"{_SLICES}"')
        asked = f"max by (namespace, pod, resource) (last_over_time({selector}[{self.seconds}s])) > 0"
        return {(each["namespace"], each["pod"]): slice_of(each["resource"]) for each, _ in self.query(asked)}

    def _node_types(self) -> dict[tuple[str, str], str]:
        labelled = f"last_over_time(kube_node_labels[{self.seconds}s])"
        types = {
            each.get("node", ""): each.get("label_node_kubernetes_io_instance_type", "")
            for each, _ in self.query(f"max by (node, label_node_kubernetes_io_instance_type) ({labelled})")
        }
        placed = f"last_over_time({self._selector('kube_pod_info')}[{self.seconds}s])"
        return {
            (each["namespace"], each["pod"]): types.get(each.get("node", ""), "")
            for each, _ in self.query(f"max by (namespace, pod, node) ({placed})")
        }

    def _pairs(self) -> dict[str, TrafficUse]:
        found: dict[str, TrafficUse] = {}
        by = ("source", "target", "cache")
        for name in ("segments", "characters"):
            field = "texts" if name == "segments" else name
            for (source, target, cache), amount in self._increases(
                f"yiwen_transformer_{name}_total", by
            ).items():
                missed = amount if cache == _MISS else 0.0
                _add(found, f"{source}-{target}", {field: amount, f"missed_{field}": missed})
        tokens = self._increases("yiwen_transformer_tokens_total", ("source", "target", "kind"))
        for (source, target, kind), amount in tokens.items():
            _add(found, f"{source}-{target}", {f"{kind}_tokens": amount})
        return {pair: use for pair, use in found.items() if use.texts}

    def _callers(self) -> dict[str, TrafficUse]:
        characters = self._increases("yiwen_transformer_caller_characters_total", ("caller",))
        return {caller: TrafficUse(characters=amount) for (caller,), amount in characters.items() if amount}

    def _requests(self) -> float:
        return sum(self._increases("yiwen_requests_total", (), self._successes()).values())

    def _peak_requests(self) -> float:
        window = PEAK_S if self.seconds >= LONG_S else self.seconds
        rate = f"sum(rate({self._selector('yiwen_requests_total', self._successes())}[{window}s]))"
        if window == self.seconds:
            return self._requests() / self.seconds
        return self._one(f"max_over_time(({rate})[{self.seconds}s:{window}s])")

    def _most_predictors(self) -> str:
        predictors = self._selector("yiwen_build_info", f'component="{PREDICTOR}"')
        return f"max_over_time((count({predictors}))[{self.seconds}s:{self.step_s}s])"

    def _p99(self) -> float | None:
        answered = 'component="transformer",code_class="2xx",endpoint!="generate_stream"'
        buckets = self._increases("yiwen_request_seconds_bucket", ("le",), answered)
        return histogram_quantile(0.99, {float(bound): amount for (bound,), amount in buckets.items()})

    def _successes(self) -> str:
        return 'component="transformer",status=~"2.."'

    def _increases(
        self, metric: str, by: tuple[str, ...], conditions: str = ""
    ) -> dict[tuple[str, ...], float]:
        """Increases of a counter by the values of some labels."""
        selector, labels = self._selector(metric, conditions), ", ".join(by)
        span = f"{selector}[{self.seconds}s]"
        restarted = f"(resets({span}) > 0)"
        last = f"max_over_time({span}) unless {restarted}"
        before = f"{selector} offset {self.seconds}s and {last}"
        found: dict[tuple[str, ...], float] = {}
        for sign, part in ((1, last), (-1, before), (1, f"increase({span}) and {restarted}")):
            for each, value in self.query(f"sum by ({labels}) ({part})"):
                key = tuple(each.get(label, "") for label in by)
                found[key] = found.get(key, 0.0) + sign * value
        return found

    def _selector(self, metric: str, conditions: str = "") -> str:
        namespace = f'namespace="{self.namespace}"' if self.namespace else ""
        return f"{metric}{{{','.join(filter(None, (namespace, conditions)))}}}"

    def _one(self, expression: str) -> float:
        """The value of a query with one result; 0 without."""
        return next((value for _, value in self.query(expression)), 0.0)


def histogram_quantile(share: float, counts: Mapping[float, float]) -> float | None:
    """A quantile of a histogram, by the rule of PromQL's ``histogram_quantile``: linear within a bucket.

    Args:
        share: of the observations, 0 to 1.
        counts: observations up to each bound, the bound infinity included.

    Returns:
        The largest finite bound if the quantile lies above it; None without observations.
    """
    rank = share * counts.get(math.inf, 0.0)
    low = below = 0.0
    for bound, count in sorted(counts.items()):
        if count >= rank > 0:
            return low if math.isinf(bound) else low + (bound - low) * (rank - below) / (count - below)
        low, below = bound, count
    return None


def slice_of(resource: str) -> str:
    """The slice of a resource as kube-state-metrics writes it: ``nvidia_com_mig_1g_18gb`` is 1g.18gb."""
    name = resource.partition("_com_")[2]
    return name.removeprefix("mig_").replace("_", ".") if name.startswith("mig_") else "full"


def _add(found: dict[str, TrafficUse], name: str, amounts: Mapping[str, float]) -> None:
    found[name] = found.get(name, TrafficUse()) + TrafficUse(**amounts)
