from __future__ import annotations

from pathlib import Path

import pytest

from tests.releases import build_random_release


@pytest.fixture(scope="session")
def random_release_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of a small random Llama with a byte tokenizer: translates to noise, but exactly so."""
    directory = tmp_path_factory.mktemp("releases")
    build_random_release(directory)
    return directory / "random"
