"""Errors of the predictor that are not sent to a caller (those are in :mod:`protocol.errors`).

::

    PredictorError
    ├── StartupError     the predictor cannot start: nothing serves, the process ends with exit code 2
    └── RunnerError      a runner broke its contract or failed in a step: that batch fails with 500
"""

from __future__ import annotations


class PredictorError(Exception):
    """Base of the predictor's own errors."""


class StartupError(PredictorError):
    """The configuration, the release and this machine do not fit together; the message names the fix."""


class RunnerError(PredictorError):
    """A step failed inside a runner."""
