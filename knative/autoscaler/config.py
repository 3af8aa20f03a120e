"""Knative's ConfigMap ``config-autoscaler``: every key, its default, and Knative's checks.

Ported from ``pkg/autoscaler/config/config.go``. Durations are seconds. Percentages stay percentages, except where
Knative converts them to fractions. Keys that Knative does not know are ignored, as Knative does;
:func:`unknown_keys` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from knative.autoscaler.quantities import parse_bool, parse_duration, parse_float, parse_int32
from knative.errors import ConfigError
from protocol.kubernetes.durations import is_whole_seconds

CONFIG_NAME = "config-autoscaler"
EXAMPLE_KEY = "_example"
KPA_CLASS = "kpa.autoscaling.knative.dev"
HPA_CLASS = "hpa.autoscaling.knative.dev"

TARGET_MIN = 0.01
WINDOW_MIN = 6.0
WINDOW_MAX = 3600.0
PANIC_WINDOW_PERCENTAGE_MIN = 1.0
PANIC_WINDOW_PERCENTAGE_MAX = 100.0
TARGET_UTILIZATION = 0.7
"""Target utilization of requests per second; no key sets it, only a revision's annotation."""


def _text(_key: str, text: str) -> str:
    return text.strip()


def _key(name: str, parse: Callable[[str, str], Any]) -> dict[str, Any]:
    return {"key": name, "parse": parse}


@dataclass(frozen=True, slots=True)
class AutoscalerConfig:
    """The cluster's settings. Raises ConfigError for values that Knative's webhook refuses."""

    pod_autoscaler_class: str = field(default=KPA_CLASS, metadata=_key("pod-autoscaler-class", _text))
    """Class of revisions without the annotation."""
    enable_scale_to_zero: bool = field(default=True, metadata=_key("enable-scale-to-zero", parse_bool))
    """Whether the last pod may be removed."""
    allow_zero_initial_scale: bool = field(
        default=False, metadata=_key("allow-zero-initial-scale", parse_bool)
    )
    """Whether a revision may start without pods."""
    max_scale_up_rate: float = field(default=1000.0, metadata=_key("max-scale-up-rate", parse_float))
    """Most wanted pods per ready pod and tick."""
    max_scale_down_rate: float = field(default=2.0, metadata=_key("max-scale-down-rate", parse_float))
    """Most ready pods per wanted pod and tick."""
    container_concurrency_target_fraction: float = field(
        default=0.7, metadata=_key("container-concurrency-target-percentage", parse_float)
    )
    """Target utilization of a pod's concurrency, a fraction. In the ConfigMap a percentage, or a fraction up to 1."""
    container_concurrency_target_default: float = field(
        default=100.0, metadata=_key("container-concurrency-target-default", parse_float)
    )
    """A pod's concurrency where ``containerConcurrency`` sets none, requests."""
    rps_target_default: float = field(
        default=200.0, metadata=_key("requests-per-second-target-default", parse_float)
    )
    """A pod's requests per second where the metric is ``rps``."""
    target_burst_capacity: float = field(default=211.0, metadata=_key("target-burst-capacity", parse_float))
    """Concurrent requests of a burst that the pods must have capacity for; with less, the activator is in the path.
    0: only without pods; -1: always."""
    panic_window_percentage: float = field(
        default=10.0, metadata=_key("panic-window-percentage", parse_float)
    )
    """Length of the panic window in percent of the stable one."""
    activator_capacity: float = field(default=100.0, metadata=_key("activator-capacity", parse_float))
    """Concurrent requests that one activator is assumed to carry."""
    panic_threshold_percentage: float = field(
        default=200.0, metadata=_key("panic-threshold-percentage", parse_float)
    )
    """Wanted pods (panic window) per ready pod, in percent, at which panic mode begins."""
    initial_scale: int = field(default=1, metadata=_key("initial-scale", parse_int32))
    """Pods that a new revision starts with."""
    min_scale: int = field(default=0, metadata=_key("min-scale", parse_int32))
    """Fewest pods of a reachable revision."""
    max_scale: int = field(default=0, metadata=_key("max-scale", parse_int32))
    """Most pods of a revision; 0: no bound."""
    max_scale_limit: int = field(default=0, metadata=_key("max-scale-limit", parse_int32))
    """The largest ``max-scale`` that is allowed; 0: no limit."""
    stable_window: float = field(default=60.0, metadata=_key("stable-window", parse_duration))
    """Seconds that the stable average is taken over."""
    scale_down_delay: float = field(default=0.0, metadata=_key("scale-down-delay", parse_duration))
    """Seconds by which scaling down is delayed: the largest desired count of this time applies."""
    scale_to_zero_grace_period: float = field(
        default=30.0, metadata=_key("scale-to-zero-grace-period", parse_duration)
    )
    """Longest wait, in seconds, for the activator to be in the path before the last pod goes."""
    scale_to_zero_pod_retention_period: float = field(
        default=0.0, metadata=_key("scale-to-zero-pod-retention-period", parse_duration)
    )
    """Minimum time, in seconds, that the last pod stays after the revision became inactive."""

    def __post_init__(self) -> None:
        """Check the values in the order of Knative's ``validate``."""
        for holds, message in _checks(self):
            if not holds:
                raise ConfigError(message)

    @classmethod
    def from_data(cls, data: Mapping[str, str]) -> AutoscalerConfig:
        """The settings in a ConfigMap's ``data``.

        Raises:
            ConfigError: a value cannot be read or is refused; the message names the key, the value and what to write.
        """
        values: dict[str, Any] = {}
        for setting in fields(cls):
            key = setting.metadata["key"]
            if key in data:
                values[setting.name] = setting.metadata["parse"](key, data[key])
        fraction = values.get("container_concurrency_target_fraction", 0.0)
        if fraction > 1.0:
            values["container_concurrency_target_fraction"] = fraction / 100.0
        return cls(**values)


def unknown_keys(data: Mapping[str, str]) -> tuple[str, ...]:
    """Keys of ``data`` that Knative silently ignores, most often spelling mistakes."""
    known = {setting.metadata["key"] for setting in fields(AutoscalerConfig)} | {EXAMPLE_KEY}
    return tuple(sorted(set(data) - known))


def _checks(config: AutoscalerConfig) -> tuple[tuple[bool, str], ...]:
    """Rules of Knative's ``validate``: whether each holds, and the message if it does not."""
    return (*_zero_checks(config), *_target_checks(config), *_window_checks(config), *_scale_checks(config))


def _zero_checks(c: AutoscalerConfig) -> tuple[tuple[bool, str], ...]:
    return (
        (
            c.scale_to_zero_grace_period > 0,
            f'scale-to-zero-grace-period = {c.scale_to_zero_grace_period:g}s must be positive; write one like "30s"',
        ),
        (
            c.scale_down_delay >= 0,
            f'scale-down-delay = {c.scale_down_delay:g}s cannot be negative; write "0s" for none',
        ),
        (
            is_whole_seconds(c.scale_down_delay),
            f'scale-down-delay = {c.scale_down_delay:g}s must be whole seconds; write one like "15s"',
        ),
        (
            c.scale_to_zero_pod_retention_period >= 0,
            f"scale-to-zero-pod-retention-period = {c.scale_to_zero_pod_retention_period:g}s cannot be negative; "
            'write "0s" for none',
        ),
    )


def _target_checks(c: AutoscalerConfig) -> tuple[tuple[bool, str], ...]:
    target = c.container_concurrency_target_fraction * c.container_concurrency_target_default
    return (
        (
            c.target_burst_capacity >= 0 or c.target_burst_capacity == -1,
            f"target-burst-capacity = {c.target_burst_capacity:g} must be 0 or more, or -1 for unlimited",
        ),
        (
            0 < c.container_concurrency_target_fraction <= 1,
            "container-concurrency-target-percentage = "
            f"{c.container_concurrency_target_fraction * 100:g} % must be above 0 and at most 100",
        ),
        (
            target >= TARGET_MIN,
            "container-concurrency-target-percentage times container-concurrency-target-default gives a target of "
            f"{target:g}; raise one of them until it is at least {TARGET_MIN}",
        ),
        (
            c.rps_target_default >= TARGET_MIN,
            f"requests-per-second-target-default = {c.rps_target_default:g} must be at least {TARGET_MIN}",
        ),
        (c.activator_capacity >= 1, f"activator-capacity = {c.activator_capacity:g} must be at least 1"),
        (
            c.max_scale_up_rate > 1.0,
            f"max-scale-up-rate = {c.max_scale_up_rate:g} must be greater than 1; with less nothing could grow",
        ),
        (
            c.max_scale_down_rate > 1.0,
            f"max-scale-down-rate = {c.max_scale_down_rate:g} must be greater than 1; with less nothing could shrink",
        ),
    )


def _window_checks(c: AutoscalerConfig) -> tuple[tuple[bool, str], ...]:
    return (
        (
            WINDOW_MIN <= c.stable_window <= WINDOW_MAX,
            f'stable-window = {c.stable_window:g}s must be between "6s" and "1h"',
        ),
        (
            is_whole_seconds(c.stable_window),
            f'stable-window = {c.stable_window:g}s must be whole seconds; write one like "60s"',
        ),
        (
            PANIC_WINDOW_PERCENTAGE_MIN <= c.panic_window_percentage <= PANIC_WINDOW_PERCENTAGE_MAX,
            f"panic-window-percentage = {c.panic_window_percentage:g} must be between 1 and 100",
        ),
    )


def _scale_checks(c: AutoscalerConfig) -> tuple[tuple[bool, str], ...]:
    lowest = 1 if c.max_scale_limit > 0 else 0
    return (
        (
            c.initial_scale > 0 or (c.initial_scale == 0 and c.allow_zero_initial_scale),
            f'initial-scale = {c.initial_scale} must be at least 1, or 0 with allow-zero-initial-scale: "true"',
        ),
        (c.min_scale >= 0, f"min-scale = {c.min_scale} must be at least 0"),
        (
            c.max_scale >= lowest and (c.max_scale_limit <= 0 or c.max_scale <= c.max_scale_limit),
            f"max-scale = {c.max_scale} must be at least {lowest} and, where max-scale-limit is set, at most that "
            f"({c.max_scale_limit})",
        ),
        (c.max_scale_limit >= 0, f"max-scale-limit = {c.max_scale_limit} must be at least 0"),
        (
            c.max_scale == 0 or c.min_scale <= c.max_scale,
            f"min-scale = {c.min_scale} must not be above max-scale = {c.max_scale}; lower it or raise max-scale",
        ),
    )
