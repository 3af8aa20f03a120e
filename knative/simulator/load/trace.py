"""Traces: arrival times of requests, and what is known about each. This module reads them from access logs.

A log is CSV with a header, or Parquet if pyarrow is installed. Columns: ``time`` (seconds, or ISO 8601), and, if
known, ``chars`` (of the text), ``prompt_tokens``, ``new_tokens`` and ``key`` (equal for equal texts, e.g. a digest).
Times must not decrease; the first becomes 0. In a gap there are no requests, and Knative may scale to zero.
Whole numbers may be written as 12 or 12.0, as pandas does where a column has gaps elsewhere.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knative.simulator.errors import SimulationError

NUMBERS = ("chars", "prompt_tokens", "new_tokens")
COLUMNS = ("time", *NUMBERS, "key")
MAX_SECONDS = 31 * 86_400.0
"""Longest trace: a simulated second takes some 80 microseconds even without requests."""
LATEST_TIME = 1e11
"""The year 5138 in seconds since 1970, the year 1973 in milliseconds."""
LARGEST_NUMBER = 1_000_000_000
"""Most characters or tokens of a request."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Requests in the order of arrival. All arrays have the length N; None where nothing is known."""

    times: Floats  # [N] seconds from the start, rising
    seconds: float
    """Duration of the trace; arrivals end here."""
    chars: Integers | None = None  # [N] characters of the text
    prompt_tokens: Integers | None = None  # [N]
    new_tokens: Integers | None = None  # [N] the stop token included
    keys: Integers | None = None  # [N] equal numbers for equal texts

    def __len__(self) -> int:
        return len(self.times)


def read_trace(path: Path) -> Trace:
    """Read an access log.

    Raises:
        SimulationError: it cannot be read, or is not valid; the message names the line.
    """
    if not path.exists():
        raise SimulationError(
            f"{path} does not exist: give a file, or arrivals such as poisson:rate=200,seconds=60"
        )
    header, cells = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    doubled = [name for name in header if header.count(name) > 1]
    if doubled:
        raise SimulationError(
            f"{path} has the column {doubled[0]} more than once: drop or rename all but one"
        )
    columns = dict(zip(header, cells, strict=True))
    unknown = sorted(set(columns) - set(COLUMNS))
    if unknown:
        raise SimulationError(
            f"{path} has the unknown column {unknown[0]}: known are {', '.join(COLUMNS)}; drop it, or rename it"
        )
    if "time" not in columns:
        raise SimulationError(f"{path} has no column time: name the column of arrival times so")
    if not len(columns["time"]):
        raise SimulationError(f"{path} holds no request")
    times = _times(columns["time"], path)
    numbers = {name: _positive(columns[name], name, path) for name in NUMBERS if name in columns}
    keys = columns.get("key")
    known = np.unique(np.asarray(keys, dtype=str), return_inverse=True)[1] if keys is not None else None
    seconds = max(1.0, float(times[-1]) + 1e-9)  # of one instant there is no rate
    check_seconds(seconds, str(path))
    return Trace(times=times, seconds=seconds, keys=known, **numbers)


def check_seconds(seconds: float, place: str) -> None:
    """Refuse a trace that would take hours to simulate.

    Args:
        seconds: its length.
        place: where it is from, for messages.

    Raises:
        SimulationError: it is longer than :data:`MAX_SECONDS`.
    """
    if seconds > MAX_SECONDS:
        raise SimulationError(
            f"{place}: the trace lasts {seconds:,.0f} seconds, {MAX_SECONDS:,.0f} (31 days) are the most: are these "
            "milliseconds? Give seconds, or a shorter time"
        )


_Table = tuple[list[str], list[Sequence[Any]]]
"""Names of columns, and the cells of each."""


def _read_csv(path: Path) -> _Table:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip().lower() for name in next(reader, [])]
            rows = [row for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SimulationError(f"{path} cannot be read: {error}") from error
    if not header:
        raise SimulationError(f"{path} is empty: write a header with the column time, and a line per request")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise SimulationError(f"{path}, line {number}: {len(row)} cells, the header has {len(header)}")
    return header, [[row[index] for row in rows] for index in range(len(header))]


def _read_parquet(path: Path) -> _Table:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise SimulationError(
            f"{path} is Parquet, which needs pyarrow: pip install '.[parquet]' in a checkout of Yiwen, "
            "or write the trace as CSV"
        ) from error
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise SimulationError(f"{path} cannot be read: {error}") from error
    return [name.strip().lower() for name in table.column_names], [c.to_pylist() for c in table.columns]


def _times(values: Sequence[Any], path: Path) -> Floats:
    seconds = np.array([_seconds(value, line, path) for line, value in enumerate(values, start=2)])
    if seconds[0] < 0 or (seconds < 0).any():
        line = int(np.argmax(seconds < 0)) + 2
        raise SimulationError(
            f"{path}, line {line}: the time is negative: count seconds from the start of the trace"
        )
    if seconds[0] > LATEST_TIME:
        raise SimulationError(
            f"{path}, line 2: the time {seconds[0]:.0f} is after the year 5000: are these milliseconds? Give seconds"
        )
    back = np.flatnonzero(np.diff(seconds) < 0)
    if len(back):
        raise SimulationError(
            f"{path}, line {int(back[0]) + 3}: the time is before that of the line above: sort the file by time"
        )
    first: float = seconds[0]
    shifted: Floats = seconds - first
    return shifted


def _seconds(value: object, line: int, path: Path) -> float:
    try:
        if isinstance(value, datetime):
            return _since_epoch(value)
        number = float(str(value))
    except (TypeError, ValueError):
        try:
            return _since_epoch(datetime.fromisoformat(str(value).strip().replace("Z", "+00:00")))
        except ValueError as error:
            raise SimulationError(
                f"{path}, line {line}: time must be seconds or ISO 8601, as in 12.5 or 2026-01-31T12:00:00+00:00"
            ) from error
    if not np.isfinite(number):
        raise SimulationError(f"{path}, line {line}: time must be a finite number of seconds")
    return number


def _since_epoch(snapshot: datetime) -> float:
    """Seconds since 1970. A time without a zone is UTC: the result must not depend on the machine's zone."""
    return (snapshot if snapshot.tzinfo else snapshot.replace(tzinfo=timezone.utc)).timestamp()


def _positive(values: Sequence[Any], name: str, path: Path) -> Integers:
    numbers = np.empty(len(values), np.int64)
    for index, value in enumerate(values):
        number = _whole(value)
        if number is None:
            raise SimulationError(f"{path}, line {index + 2}: {name} must be a whole number")
        if not 1 <= number <= LARGEST_NUMBER:
            bounds = "at least 1" if number < 1 else f"at most {LARGEST_NUMBER:,}"
            raise SimulationError(f"{path}, line {index + 2}: {name} must be {bounds}")
        numbers[index] = number
    return numbers


def _whole(value: object) -> int | None:
    """12, 12.0 or their text as an integer; None for anything else."""
    try:
        return int(str(value))
    except ValueError:
        pass
    try:
        number = float(str(value))
    except ValueError:
        return None
    return int(number) if number.is_integer() else None
