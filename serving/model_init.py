"""Waiting for a model that KServe brings while the service already starts.

Where KServe runs an image of a model as a container beside a service ("modelcar"), the model directory is a link that
this container makes, sooner or later. KServe then sets ``MODEL_INIT_MODE=async``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from protocol.release import RELEASE_FILE

MODEL_INIT_MODE = "MODEL_INIT_MODE"
WAIT_S = 60.0
"""A link is made in a second; what takes longer is no link, and the load says what is missing."""
POLL_S = 0.1


def wait_for_model(
    release: Path,
    environ: Mapping[str, str],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return when a release is there, or at once where it must be there already, or after :data:`WAIT_S`.

    Args:
        release: its directory.
        environ: the process's environment.
        clock: seconds.
        sleep: waits the given seconds.
    """
    if environ.get(MODEL_INIT_MODE, "").lower() != "async":
        return
    end = clock() + WAIT_S
    while not (release / RELEASE_FILE).exists() and clock() < end:
        sleep(POLL_S)
