"""A release whose model never stops by itself: every answer takes as many tokens as it may have."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

from safetensors.numpy import load_file, save_file

from predictor.builder.progress import SilentReporter
from predictor.builder.release.build import BuildRequest, build_release
from tests.releases import SPECIAL_TOKENS, STOP_TOKENS, write_checkpoint

TOKENS = 220
"""Of an answer."""


def build_endless_release(directory: Path) -> Path:
    """The release's directory, inside ``directory``."""
    checkpoint = write_checkpoint(directory / "checkpoint", layers=4, hidden=288)
    weights = load_file(checkpoint / "model.safetensors")
    # The stop token's score is 0 then, and among hundreds of random ones there is always a better one.
    weights["model.embed_tokens.weight"][SPECIAL_TOKENS.index(STOP_TOKENS[0])] = 0
    save_file(weights, checkpoint / "model.safetensors")
    translation = json.loads((checkpoint / "translation.json").read_text())
    translation["stop_tokens"] = translation["stop_tokens"][:1]
    translation["guards"]["checks"] = ["empty"]  # an answer that is cut by its length may be cached, then
    translation["limits"] |= {
        "max_source_tokens": 32,
        "max_new_tokens": TOKENS,
        "new_tokens_per_source_token": 30.0,
    }
    (checkpoint / "translation.json").write_text(json.dumps(translation))
    request = BuildRequest(checkpoint=checkpoint, out=directory / "random", name="random")
    build_release(request, built_at=datetime(2026, 1, 1, tzinfo=timezone.utc), reporter=SilentReporter())
    return directory / "random"
