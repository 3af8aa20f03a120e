"""The scaler as Knative's ``scaler_test.go`` calls it: a grace period of 60 s, a window of 5 minutes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from knative.autoscaler.annotations import GROUP, revision_scaling
from knative.autoscaler.config import AutoscalerConfig
from knative.autoscaler.scaler import ActivatorPath, Scaled, scale
from knative.autoscaler.status import (
    Active,
    PodAutoscalerStatus,
    Reachability,
)

NOW = 1_700_000_000.0
GRACE = 60.0
WINDOW = 300.0
ACTIVATION_TIMEOUT = 600.0 + 30.0
CONFIG = AutoscalerConfig(scale_to_zero_grace_period=GRACE, stable_window=WINDOW)

ACTIVE, INACTIVE, ACTIVATING = Active.ACTIVE, Active.INACTIVE, Active.ACTIVATING
SERVING = ActivatorPath(proxy_mode=False, proxy_for=0.0, probe=True)


def scaled(
    desired: int,
    active: Active = ACTIVATING,
    age: float = 0.0,
    annotations: dict[str, str] | None = None,
    path: ActivatorPath = SERVING,
    reachability: Reachability = Reachability.UNKNOWN,
    initialized: bool = False,
    **config: Any,
) -> Scaled:
    cluster = replace(CONFIG, **config)
    named = {key if "/" in key else GROUP + key: value for key, value in (annotations or {}).items()}
    return scale(
        desired,
        now=NOW,
        status=PodAutoscalerStatus(active, NOW - age, scale_target_initialized=initialized),
        scaling=revision_scaling(named, 0, cluster),
        config=cluster,
        reachability=reachability,
        path=path,
    )
