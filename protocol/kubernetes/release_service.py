"""The names by which predictors of one release are found in a cluster: a label on pods, a Service that selects it.

Manifests make both (inferenceservices/components/release-service), and transformers derive the Service's name.
"""

from __future__ import annotations

import re

RELEASE_LABEL = "yiwen/release"
"""Label of predictor pods: the name of their release's directory."""

_NOT_IN_NAMES = re.compile(r"[^a-z0-9-]")


def release_service_name(predictor: str, release: str) -> str:
    """Name of the Service of one release's predictors.

    Args:
        predictor: the host name of the predictor in its namespace, as KServe makes it: ``yiwen-predictor``.
        release: name of the release's directory; what a name of a Service may not hold becomes ``-``.
    """
    return f"{predictor}-release-{_NOT_IN_NAMES.sub('-', release.lower())}"
