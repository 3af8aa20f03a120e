"""The answers of a run of `yiwen translate`, kept beside the output until it is written, for `--resume`.

A file of JSON lines: the job's identity, then each translated text with its result. Its lines are appended as answers
arrive, so that a run that is killed loses only the requests in flight. A last line that is cut is ignored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from cli.service import TextResult, TranslateJob
from documents.interface import TextUnit

SUFFIX = ".yiwen-resume"
_VERSION = 1


class JournalError(Exception):
    """The journal cannot be gone on with."""


class Journal:
    """Results by text. Nothing is written before the first of them."""

    def __init__(self, output: Path, job: TranslateJob, *, resume: bool) -> None:
        """Read what an earlier run has left, if it is wanted.

        Args:
            output: the file that the run is going to write.
            job: decides which answers are the same.
            resume: False: an earlier run's journal is replaced by the first answer.

        Raises:
            JournalError: the earlier run had other options.
            OSError: the journal cannot be read.
        """
        self.path = output.with_name(output.name + SUFFIX)
        self._identity = {"version": _VERSION, "job": _digest_of_job(job)}
        self._places: dict[bytes, int] = {}
        self._file: BinaryIO | None = None
        if resume and self.path.exists():
            self._file = self.path.open("r+b")
            try:
                self._read(self._file)
            except JournalError:
                self._file.close()
                raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        """Distinct texts with a result."""
        return len(self._places)

    def result(self, unit: TextUnit) -> TextResult | None:
        """The result of an equal text, if there is one."""
        place = self._places.get(_digest(unit))
        if place is None or self._file is None:
            return None
        self._file.seek(place)
        document = json.loads(self._file.readline())["result"]
        return TextResult(**(document | {"flags": tuple(document["flags"])}))

    def add(self, answers: Iterable[tuple[TextUnit, TextResult]]) -> None:
        """Append results; texts without a translation are left out, so that they are sent again.

        Raises:
            OSError: the journal cannot be written.
        """
        if self._file is None:
            self._file = self.path.open("w+b")
            self._file.write(_line(self._identity))
        end = self._file.seek(0, 2)
        for unit, result in answers:
            key = _digest(unit)
            if result.error is not None or key in self._places:
                continue
            line = _line({"key": key.hex(), "result": json.loads(result.as_json())})
            self._places[key] = end
            end += self._file.write(line)
        self._file.flush()

    def remove(self) -> None:
        """Delete the file; the output is written."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self.path.unlink(missing_ok=True)

    def _read(self, file: BinaryIO) -> None:
        place = 0
        for number, line in enumerate(file):
            document = _parsed(line)
            if document is None:
                break
            if number == 0 and document != self._identity:
                raise JournalError(
                    f"{self.path} is of a run with other options; leave --resume out to start anew"
                )
            if number:
                self._places[bytes.fromhex(document["key"])] = place
            place += len(line)
        if place == 0:
            file.write(_line(self._identity))
        else:
            file.truncate(place)


def _digest_of_job(job: TranslateJob) -> str:
    answers = {name: value for name, value in job.parameters.items() if name != "on_error"}
    described = json.dumps([job.model, answers], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(described.encode()).hexdigest()


def _digest(unit: TextUnit) -> bytes:
    context = f"\0{unit.context}" if unit.context else ""
    return hashlib.sha256(f"{unit.text_format.value}\n{unit.text}{context}".encode()).digest()[:16]


def _line(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"


def _parsed(line: bytes) -> dict[str, str] | None:
    """A line's object; None if the line was cut."""
    if not line.endswith(b"\n"):
        return None
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
