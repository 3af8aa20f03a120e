"""Structured logs on stderr: one JSON object, or one line of text, per event, without any request's text.

An exception is logged as its type and stack frames, without its message: messages of other libraries' exceptions may
quote a request's text. The loggers of the SDK and of uvicorn use the same handler; their access and trace logs are
off, since :mod:`serving.requests` logs one line per request.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

import orjson

_MIN_LEVELS = {"kserve": logging.WARNING, "uvicorn": logging.WARNING, "httpx": logging.WARNING}
_DISABLED = ("kserve.trace", "uvicorn.access")
_FRAMES = 12


def configure_logging(level: str, log_format: str, fields: Mapping[str, str] | None = None) -> None:
    """Log to stderr.

    Args:
        level: name of the least severe level that is logged.
        log_format: ``json`` or ``text``.
        fields: members of every JSON line, such as which service it is of.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(fields) if log_format == "json" else TextFormatter())
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("kserve", "kserve.trace", "uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
    # The SDK configures logging itself if its logger has no handler.
    logging.getLogger("kserve").addHandler(logging.NullHandler())
    for name, level_number in _MIN_LEVELS.items():
        logging.getLogger(name).setLevel(max(level_number, root.level))
    for name in _DISABLED:
        logging.getLogger(name).disabled = True


def describe_exception(error: BaseException) -> list[str]:
    """Types and stack frames of ``error`` and its causes, innermost frame last, without their messages."""
    lines: list[str] = []
    current: BaseException | None = error
    while current is not None and len(lines) < 4 * _FRAMES:
        lines.append(f"{type(current).__module__}.{type(current).__qualname__}")
        for frame in traceback.extract_tb(current.__traceback__)[-_FRAMES:]:
            path = Path(frame.filename)
            lines.append(f"  {path.parent.name}/{path.name}:{frame.lineno} {frame.name}")
        hidden = current.__suppress_context__
        current = current.__cause__ or (None if hidden else current.__context__)
    return lines


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object; ``extra={"fields": {...}}`` adds members."""

    def __init__(self, fields: Mapping[str, str] | None = None) -> None:
        """Add ``fields`` to every line."""
        super().__init__()
        self._own = dict(fields or {})

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, timezone.utc)
        document: dict[str, object] = {
            "ts": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._own,
            **_fields(record),
        }
        if record.exc_info and record.exc_info[1]:
            document["exception"] = describe_exception(record.exc_info[1])
        return orjson.dumps(document, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class TextFormatter(logging.Formatter):
    """Formats a record as one line of text, followed by the stack frames of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        facts = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = f"{time} {record.levelname.lower():<7} {record.name}: {record.getMessage()}{facts}"
        if record.exc_info and record.exc_info[1]:
            line = "\n    ".join([line, *describe_exception(record.exc_info[1])])
        return line


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}
