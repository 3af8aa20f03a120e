from __future__ import annotations

import io

import pytest

from predictor.builder import progress
from predictor.builder.progress import BarReporter, LineReporter, reporter_for


def test_without_a_terminal_there_are_few_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_BYTES", 100 << 20)
    stream = io.StringIO()
    with reporter_for(stream) as reporter:
        assert isinstance(reporter, LineReporter)
        reporter.begin("write weights.bin", 250 << 20)
        for _ in range(25):
            reporter.advance(10 << 20, "layers.0")
    assert stream.getvalue().splitlines() == [
        "write weights.bin: 250.0 MiB",
        "write weights.bin: 100.0 MiB of 250.0 MiB layers.0",
        "write weights.bin: 200.0 MiB of 250.0 MiB layers.0",
    ]


def test_on_a_terminal_there_is_a_bar_for_each_stage() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with reporter_for(stream) as reporter:
        assert isinstance(reporter, BarReporter)
        reporter.advance(1)  # nothing has begun: nothing to show
        reporter.begin("read checkpoint", 10)
        reporter.advance(10, "embedding")
        reporter.begin("write weights.bin", 0)
    assert "read checkpoint" in stream.getvalue()
    assert "write weights.bin" in stream.getvalue()
