"""Requests of a transformer and answers of a predictor, as bytes that another version wrote."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

RECORDED = Path(__file__).parent / "recorded"
KEPT_HEADERS = ("content-type", "inference-header-content-length", "retry-after", "x-yiwen-release")


@dataclass(frozen=True)
class Exchange:
    """One request and its answer."""

    method: str
    path: str
    request_headers: Mapping[str, str]
    request: bytes
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Recording:
    """What one version did; :mod:`tests.skew.record` writes it."""

    version: str
    release: str
    """Id of the release."""
    predictor_inputs: tuple[str, ...]
    """Names of the tensors that its predictor takes."""
    predictor_parameters: tuple[str, ...]
    answers: Mapping[str, str]
    """What its transformer answered, by text."""
    streamed: str
    """The one text that was streamed."""
    exchanges: tuple[Exchange, ...]
    """Between its transformer and its predictor."""
    errors: tuple[Exchange, ...]
    """Refusals of its predictor, each of another status."""
    cache: Mapping[bytes, bytes]
    """Keys and values of its Redis."""

    def write(self, path: Path) -> None:
        """Write it as JSON, with bytes in base64."""
        document = asdict(self)
        document["cache"] = {_text(key): _text(value) for key, value in self.cache.items()}
        for entry in (*document["exchanges"], *document["errors"]):
            entry["request"], entry["body"] = _text(entry["request"]), _text(entry["body"])
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def read_recording(path: Path) -> Recording:
    """The inverse of :meth:`Recording.write`."""
    document = json.loads(path.read_text())
    for name in ("exchanges", "errors"):
        document[name] = tuple(
            Exchange(**{**entry, "request": _bytes(entry["request"]), "body": _bytes(entry["body"])})
            for entry in document[name]
        )
    document["cache"] = {_bytes(key): _bytes(value) for key, value in document["cache"].items()}
    for name in ("predictor_inputs", "predictor_parameters"):
        document[name] = tuple(document[name])
    return Recording(**document)


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Those that the other side reads, by names in lower case."""
    lower = {name.lower(): value for name, value in headers.items()}
    return {name: lower[name] for name in KEPT_HEADERS if name in lower}


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
