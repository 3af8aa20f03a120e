"""``python -m transformer``: read the settings, load the release, and serve until drained.

An error that prevents the start is one line on stderr and exit code 2.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from protocol.release_documents import ReleaseError
from serving.arguments import read_settings
from serving.model_init import wait_for_model
from serving.server import run_server
from serving.settings import SettingsError
from serving.start_times import StartTimes, process_age_s
from transformer.apis.surfaces import create_apis
from transformer.config import TransformerConfig
from transformer.model import create_model

CANNOT_START = 2
"""Exit code of a process with wrong settings or a wrong release; restarting it does not help."""

THREAD_SWITCH_S = 0.0005
"""Seconds after which a thread that holds the interpreter lock lets another have it. Large requests are split and
tokenized in threads; with Python's default of 5 ms each turn of the event loop beside them would wait as long, and a
small request takes about ten turns."""


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Serve until drained; returns the exit code."""
    sys.setswitchinterval(THREAD_SWITCH_S)
    try:
        start = StartTimes(process_age_s())
        config, settings = read_settings(TransformerConfig, argv, environ)
        wait_for_model(config.release, environ)
        model = create_model(
            config,
            name=settings.model_name,
            max_deadline_ms=settings.max_deadline_ms,
            default_deadline_ms=settings.default_deadline_ms,
        )
        run_server(model, settings, apis=create_apis(model, config), start=start)
    except (SettingsError, ReleaseError) as error:
        print(f"transformer: {error}", file=sys.stderr)
        return CANNOT_START
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
