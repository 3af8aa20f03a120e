"""``python -m predictor``: reads the settings, loads the release, and serves until drained.

A start that fails prints one line on stderr and exits with code 2.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence

from predictor.config import PredictorConfig
from predictor.errors import StartupError
from predictor.llm_engine import LLMEngine
from predictor.metrics import EngineMetrics
from predictor.model import PredictorModel
from predictor.runners.select import create_runner
from protocol.release import load_release
from protocol.release_documents import ReleaseError
from serving.arguments import read_settings
from serving.model_init import wait_for_model
from serving.server import run_server
from serving.settings import ServerSettings, SettingsError
from serving.start_times import StartTimes, process_age_s

CANNOT_START = 2
"""Exit code of a process whose settings, release or machine do not fit; a restart does not help."""

THREAD_SWITCH_S = 0.0005
"""Seconds after which a thread that holds the interpreter lock lets another have it. Python's default of 5 ms is
longer than a decode step of a 7B model in int8: requests that come in would delay the engine's thread (H200, 128
requests in flight: 91 % of the offline tokens/s with 5 ms, 96 % with 0.5)."""

logger = logging.getLogger(__name__)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Serve until drained; returns the exit code."""
    sys.setswitchinterval(THREAD_SWITCH_S)
    try:
        start = StartTimes(process_age_s())
        config, settings = read_settings(PredictorConfig, argv, environ)
        wait_for_model(config.release, environ)
        model = create_model(config, settings)
        run_server(model, settings, start=start)
    except (SettingsError, ReleaseError, StartupError) as error:
        print(f"predictor: {error}", file=sys.stderr)
        return CANNOT_START
    return 0


def create_model(config: PredictorConfig, settings: ServerSettings) -> PredictorModel:
    """Load the release into a runner with an engine over it; nothing runs yet.

    Args:
        config: of the predictor.
        settings: name of the model in the URL, where it is not the release's, and deadlines.

    Raises:
        ReleaseError, StartupError: the release cannot be run here.
    """
    release = load_release(config.release)
    chosen = create_runner(config, config.release, release)
    facts = {
        "backend": chosen.backend,
        "plan": chosen.plan,
        "precision": chosen.precision,
        "reason": chosen.reason,
    }
    logger.info("runner chosen", extra={"fields": {"release": release.id, **facts}})
    metrics = EngineMetrics()
    metrics.runner_chosen(**facts)
    engine = LLMEngine(
        chosen.runner,
        release,
        prefill_tokens=config.prefill_tokens,
        queue_tokens=config.queue_tokens,
        bulk_slowdown=config.bulk_slowdown,
        metrics=metrics,
    )
    return PredictorModel(
        settings.model_name or release.name,
        release,
        engine,
        chosen.runner,
        max_deadline_ms=settings.max_deadline_ms,
        default_deadline_ms=settings.default_deadline_ms,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
