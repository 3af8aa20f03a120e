from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from predictor.errors import RunnerError, StartupError
from predictor.runners.tensorrt.start import weight_loader as loader
from predictor.runners.tensorrt.start.weight_loader import chunks, load

CHUNK = 1000


class Target:
    """What lanes copy to, and what they did."""

    def __init__(self, nbytes: int) -> None:
        self.bytes = bytearray(nbytes)
        self.readers: list[MemoryWriter] = []
        self.lock = threading.Lock()
        self.fail_at: int | None = None

    def open_writer(self) -> MemoryWriter:
        writer = MemoryWriter(self)
        with self.lock:
            self.readers.append(writer)
        return writer


class MemoryWriter:
    """Copies late, as a GPU does: when it is waited for."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._memory = [bytearray(CHUNK), bytearray(CHUNK)]
        self._pending: dict[int, tuple[int, int]] = {}
        self.sent: list[tuple[int, int]] = []
        self.thread = threading.get_ident()
        self.closed = False

    @property
    def buffers(self) -> Sequence[memoryview]:
        return [memoryview(memory) for memory in self._memory]

    def send(self, buffer: int, offset: int, nbytes: int) -> None:
        assert buffer not in self._pending, "the buffer is still being copied from"
        if self._target.fail_at is not None and offset >= self._target.fail_at:
            raise RunnerError("the copy failed")
        self._pending[buffer] = (offset, nbytes)
        self.sent.append((offset, nbytes))

    def wait(self, buffer: int) -> None:
        offset, nbytes = self._pending.pop(buffer)
        self._target.bytes[offset : offset + nbytes] = self._memory[buffer][:nbytes]

    def close(self) -> None:
        for buffer in list(self._pending):
            self.wait(buffer)
        self.closed = True


def write(path: Path, nbytes: int) -> bytes:
    content = random.Random(nbytes).randbytes(nbytes)
    path.write_bytes(content)
    return content


@pytest.mark.parametrize("readers", [1, 3, 4])
@pytest.mark.parametrize("nbytes", [1, CHUNK - 1, CHUNK, CHUNK + 1, 4 * CHUNK, 9 * CHUNK + 7])
def test_every_byte_arrives_once_whatever_the_threads(tmp_path: Path, nbytes: int, readers: int) -> None:
    content = write(tmp_path / "plan", 4096 + nbytes + 100)
    target = Target(nbytes)
    load(tmp_path / "plan", 4096, nbytes, target.open_writer, readers=readers)
    assert bytes(target.bytes) == content[4096 : 4096 + nbytes]
    sent = sorted(piece for writer in target.readers for piece in writer.sent)
    assert sent == [(start, min(CHUNK, nbytes - start)) for start in range(0, nbytes, CHUNK)]
    assert len(target.readers) == readers
    assert all(writer.closed for writer in target.readers)


def test_reads_that_end_early_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = write(tmp_path / "plan", 5 * CHUNK)
    whole = os.preadv

    def short(file: int, buffers: Sequence[memoryview], offset: int) -> int:
        return whole(file, [buffers[0][:333]], offset)

    monkeypatch.setattr(os, "preadv", short)
    target = Target(len(content))
    load(tmp_path / "plan", 0, len(content), target.open_writer, readers=2)
    assert bytes(target.bytes) == content


def test_a_file_that_is_too_short_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "plan", 2500)
    target = Target(5 * CHUNK)
    with pytest.raises(StartupError, match="ends at byte 2,500"):
        load(tmp_path / "plan", 0, 5 * CHUNK, target.open_writer, readers=2)
    assert all(writer.closed for writer in target.readers)


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="copy the plan again"):
        load(tmp_path / "plan", 0, 10, Target(10).open_writer, readers=2)


def test_a_copy_that_fails_ends_the_load(tmp_path: Path) -> None:
    write(tmp_path / "plan", 20 * CHUNK)
    target = Target(20 * CHUNK)
    target.fail_at = 3 * CHUNK
    with pytest.raises(RunnerError, match="the copy failed"):
        load(tmp_path / "plan", 0, 20 * CHUNK, target.open_writer, readers=2)
    assert all(writer.closed for writer in target.readers)


def test_progress_is_logged_while_it_lasts_and_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "PROGRESS_S", 0.01)
    write(tmp_path / "plan", CHUNK)
    target = Target(CHUNK)
    entered = threading.Event()

    def open_slowly() -> MemoryWriter:
        entered.wait(0.1)
        return target.open_writer()

    with caplog.at_level(logging.INFO):
        load(tmp_path / "plan", 0, CHUNK, open_slowly, readers=1)
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0] == "loading weights"
    assert messages[-1] == "weights loaded"
    fields = caplog.records[-1].__dict__["fields"]
    assert fields["bytes"] == fields["of_bytes"] == CHUNK


def test_chunks_are_dealt_out_in_turn() -> None:
    assert list(chunks(10, 4, first=0, step=2)) == [(0, 4), (8, 2)]
    assert list(chunks(10, 4, first=1, step=2)) == [(4, 4)]
    assert list(chunks(10, 4, first=3, step=4)) == []
