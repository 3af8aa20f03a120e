"""A revision's scaling settings: annotations ``autoscaling.knative.dev/*`` over the cluster's settings.

Ported from ``pkg/apis/autoscaling/annotation_validation.go`` and ``register.go`` (keys, older spellings, checks) and
from ``v1alpha1/pa_lifecycle.go`` (what an annotation overrides). Annotations of the group that Knative does not know
are ignored, as Knative does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from knative.autoscaler.config import (
    HPA_CLASS,
    KPA_CLASS,
    PANIC_WINDOW_PERCENTAGE_MAX,
    PANIC_WINDOW_PERCENTAGE_MIN,
    TARGET_MIN,
    WINDOW_MAX,
    WINDOW_MIN,
    AutoscalerConfig,
)
from knative.autoscaler.quantities import (
    INT32_MAX,
    between,
    parse_duration,
    parse_float,
    parse_int32,
    parse_not_negative,
    whole_seconds,
)
from knative.errors import ConfigError

T = TypeVar("T")
D = TypeVar("D")

GROUP = "autoscaling.knative.dev/"
PROGRESS_DEADLINE_KEY = "serving.knative.dev/progress-deadline"
PROGRESS_DEADLINE = 600.0
"""Default of ``progress-deadline`` in ``config-deployment``, seconds."""

CONCURRENCY = "concurrency"
RPS = "rps"
LINEAR = "linear"
WEIGHTED_EXPONENTIAL = "weighted-exponential"
_ALGORITHMS = {
    "": LINEAR,
    LINEAR: LINEAR,
    WEIGHTED_EXPONENTIAL: WEIGHTED_EXPONENTIAL,
    "weightedExponential": WEIGHTED_EXPONENTIAL,
}

PANIC_THRESHOLD_PERCENTAGE_MIN = 110.0
PANIC_THRESHOLD_PERCENTAGE_MAX = 1000.0
CONTAINER_CONCURRENCY_MAX = 1000
"""Default of ``container-concurrency-max-limit`` in ``config-defaults``."""

_OLDER = {
    "initial-scale": "initialScale",
    "max-scale": "maxScale",
    "metric-aggregation-algorithm": "metricAggregationAlgorithm",
    "min-scale": "minScale",
    "panic-threshold-percentage": "panicThresholdPercentage",
    "panic-window-percentage": "panicWindowPercentage",
    "scale-down-delay": "scaleDownDelay",
    "scale-to-zero-pod-retention-period": "scaleToZeroPodRetentionPeriod",
    "target-burst-capacity": "targetBurstCapacity",
    "target-utilization-percentage": "targetUtilizationPercentage",
}


@dataclass(frozen=True, slots=True)
class RevisionScaling:
    """Scaling settings of one revision: its annotations, or the cluster's settings where it has none."""

    pod_autoscaler_class: str
    metric: str
    """``concurrency`` or ``rps`` where the class is the KPA's."""
    target: float | None
    """Annotation ``target``: the metric's total per pod. None: see :mod:`knative.autoscaler.targets`."""
    target_utilization: float | None
    """Annotation ``target-utilization-percentage`` as a fraction. None: the cluster's."""
    container_concurrency: int
    """Hard limit of concurrent requests per pod; 0: none."""
    min_scale: int
    max_scale: int
    """0: no bound."""
    initial_scale: int
    activation_scale: int
    """Fewest pods while there are any; 0: not set."""
    window: float
    """The stable window, seconds."""
    panic_window_percentage: float
    panic_threshold_percentage: float
    scale_down_delay: float
    """Seconds."""
    target_burst_capacity: float
    scale_to_zero_pod_retention_period: float
    """Seconds."""
    metric_aggregation_algorithm: str
    """``linear`` or ``weighted-exponential``."""
    progress_deadline: float
    """Seconds that the first pods may take."""


def revision_scaling(
    annotations: Mapping[str, str], container_concurrency: int, config: AutoscalerConfig
) -> RevisionScaling:
    """Read a revision's scaling settings, and check them as Knative's webhook does.

    Args:
        annotations: those of the revision's template (:mod:`knative.autoscaler.manifests` finds them).
        container_concurrency: its ``containerConcurrency``; 0: none.
        config: the cluster's settings.

    Raises:
        ConfigError: a value cannot be read or is refused; the message names the key, the value and what to write.
    """
    if not 0 <= container_concurrency <= CONTAINER_CONCURRENCY_MAX:
        raise ConfigError(
            f"containerConcurrency = {container_concurrency} is out of bounds; write 1 to "
            f"{CONTAINER_CONCURRENCY_MAX}, or 0 for no limit"
        )
    read = _Reader(annotations)
    scaling_class = _class(read, config)
    min_scale, max_scale = _scale_bounds(read, config)
    percentage = read.get("target-utilization-percentage", between(parse_float, 1, 100, "1 to 100"), None)
    return RevisionScaling(
        pod_autoscaler_class=scaling_class,
        metric=_metric(read, scaling_class),
        target=read.get("target", _target, None),
        target_utilization=None if percentage is None else percentage / 100,
        container_concurrency=container_concurrency,
        min_scale=min_scale,
        max_scale=max_scale,
        initial_scale=_initial_scale(read, config),
        activation_scale=_activation_scale(read),
        window=read.get("window", _window, config.stable_window),
        panic_window_percentage=read.get(
            "panic-window-percentage",
            between(parse_float, PANIC_WINDOW_PERCENTAGE_MIN, PANIC_WINDOW_PERCENTAGE_MAX, "1 to 100"),
            config.panic_window_percentage,
        ),
        panic_threshold_percentage=read.get(
            "panic-threshold-percentage",
            between(
                parse_float, PANIC_THRESHOLD_PERCENTAGE_MIN, PANIC_THRESHOLD_PERCENTAGE_MAX, "110 to 1000"
            ),
            config.panic_threshold_percentage,
        ),
        scale_down_delay=read.get("scale-down-delay", _scale_down_delay, config.scale_down_delay),
        target_burst_capacity=read.get(
            "target-burst-capacity", _burst_capacity, config.target_burst_capacity
        ),
        scale_to_zero_pod_retention_period=read.get(
            "scale-to-zero-pod-retention-period",
            between(parse_duration, 0.0, WINDOW_MAX, '"0s" to "1h"'),
            config.scale_to_zero_pod_retention_period,
        ),
        metric_aggregation_algorithm=_algorithm(read),
        progress_deadline=_progress_deadline(annotations),
    )


class _Reader:
    """Reads annotations by their name or by its older spelling."""

    def __init__(self, annotations: Mapping[str, str]) -> None:
        self._annotations = annotations

    def find(self, name: str) -> tuple[str, str] | None:
        """Key and value of an annotation; None if it is absent."""
        older = (GROUP + _OLDER[name],) if name in _OLDER else ()
        for key in (GROUP + name, *older):
            if key in self._annotations:
                return key, self._annotations[key]
        return None

    def get(self, name: str, parse: Callable[[str, str], T], default: D) -> T | D:
        """The parsed value of an annotation.

        Args:
            name: without the group.
            parse: makes the value of key and text; raises ConfigError.
            default: the result where the annotation is absent.
        """
        found = self.find(name)
        return default if found is None else parse(*found)


def _target(key: str, text: str) -> float:
    value = parse_float(key, text)
    if value < TARGET_MIN:
        raise ConfigError(
            f'{key} = "{text}" is too small; write at least {TARGET_MIN}, or leave it out for the default'
        )
    return value


def _window(key: str, text: str) -> float:
    return whole_seconds(key, text, WINDOW_MIN, WINDOW_MAX, '"6s" to "1h"')


def _scale_down_delay(key: str, text: str) -> float:
    return whole_seconds(key, text, 0.0, WINDOW_MAX, '"0s" to "1h"')


def _burst_capacity(key: str, text: str) -> float:
    value = parse_float(key, text)
    if value < 0 and value != -1:
        raise ConfigError(f'{key} = "{text}" must be 0 or more, or "-1" for unlimited')
    return value


def _class(read: _Reader, config: AutoscalerConfig) -> str:
    key, value = read.find("class") or ("", config.pod_autoscaler_class)
    if key and value.endswith(".knative.dev") and value not in (KPA_CLASS, HPA_CLASS):
        raise ConfigError(f'{key} = "{value}" is no class of Knative; write "{KPA_CLASS}" or "{HPA_CLASS}"')
    return value


def _metric(read: _Reader, scaling_class: str) -> str:
    key, value = read.find("metric") or ("", CONCURRENCY)
    if scaling_class == KPA_CLASS and value not in (CONCURRENCY, RPS):
        raise ConfigError(
            f'{key} = "{value}" is no metric of the class {KPA_CLASS}; write "{CONCURRENCY}" or "{RPS}", '
            f'or the class "{HPA_CLASS}"'
        )
    if scaling_class == HPA_CLASS and value == "":
        raise ConfigError(f'{key} = "" names no metric; write "cpu" or "memory", or leave it out')
    return value


def _algorithm(read: _Reader) -> str:
    key, value = read.find("metric-aggregation-algorithm") or ("", "")
    explicit = read.find("class")
    if value not in _ALGORITHMS and explicit is not None and explicit[1] == KPA_CLASS:
        raise ConfigError(f'{key} = "{value}" is no algorithm; write "{LINEAR}" or "{WEIGHTED_EXPONENTIAL}"')
    return _ALGORITHMS.get(value, LINEAR)


def _scale_bounds(read: _Reader, config: AutoscalerConfig) -> tuple[int, int]:
    """Minimum and maximum scale. As in Knative, min <= max is checked between annotations only."""
    low = read.get("min-scale", parse_not_negative, None)
    high = read.get("max-scale", parse_not_negative, None)
    if low is not None and high and high < low:
        raise ConfigError(
            f"{GROUP}max-scale = {high} is below min-scale = {low}; raise it or lower min-scale"
        )
    limit = config.max_scale_limit
    if limit and high is not None and not 0 < high <= limit:
        raise ConfigError(f"{GROUP}max-scale = {high} is not allowed by max-scale-limit; write 1 to {limit}")
    return config.min_scale if low is None else low, config.max_scale if high is None else high


def _activation_scale(read: _Reader) -> int:
    found = read.find("activation-scale")
    if found is None:
        return 0
    key, value = found[0], parse_int32(*found)
    low = read.get("min-scale", parse_not_negative, 0)
    high = read.get("max-scale", parse_not_negative, 0)
    if low > value:
        raise ConfigError(f"{key} = {value} is below min-scale = {low}; raise it or lower min-scale")
    if 0 < high < value:
        raise ConfigError(f"{key} = {value} is above max-scale = {high}; lower it or raise max-scale")
    if value < 2:
        raise ConfigError(f"{key} = {value} must be at least 2; leave it out to start with one pod")
    return value


def _initial_scale(read: _Reader, config: AutoscalerConfig) -> int:
    found = read.find("initial-scale")
    if found is None:
        return config.initial_scale
    value = parse_not_negative(*found)
    if value == 0 and not config.allow_zero_initial_scale:
        raise ConfigError(
            f'{found[0]} = "0" is not allowed by the cluster; write at least 1, or set '
            'allow-zero-initial-scale: "true" in config-autoscaler'
        )
    return value


def _progress_deadline(annotations: Mapping[str, str]) -> float:
    for key in (PROGRESS_DEADLINE_KEY, "serving.knative.dev/progressDeadline"):
        if key in annotations:
            return whole_seconds(key, annotations[key], 1.0, INT32_MAX, '"1s" or more')
    return PROGRESS_DEADLINE
