from __future__ import annotations

from pathlib import Path

import pytest

from tests.releases import write_checkpoint


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A small random Llama, tied, with tokenizer and translation.json."""
    return write_checkpoint(tmp_path / "checkpoint", hidden=96)
