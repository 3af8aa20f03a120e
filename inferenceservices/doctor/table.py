"""The checks of `yiwen doctor`, by when they are made."""

from __future__ import annotations

from inferenceservices.doctor import gpus, load, namespace, platform, pods, service

BEFORE = platform.CHECKS + namespace.CHECKS + gpus.CHECKS
"""Before an overlay is applied."""
AFTER = service.CHECKS + pods.CHECKS + load.CHECKS
"""Of an InferenceService on a cluster."""
URL = load.SERVER_CHECKS + tuple(check for check in load.CHECKS if "podautoscalers" not in check.needs)
"""Of a service that is reached by its URL alone."""
