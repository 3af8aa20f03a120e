"""The one error of this package."""

from __future__ import annotations


class ConfigError(ValueError):
    """A ConfigMap, annotation or manifest that Knative or KServe refuse; the message names key, value and fix."""
