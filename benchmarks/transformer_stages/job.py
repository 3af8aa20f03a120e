"""Input and output of the load generator, passed as JSON between two processes."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

FAILED = 0
"""Status of a request without an answer: connection closed, or nothing within ``patience_s``."""


@dataclass(frozen=True, slots=True)
class Target:
    """Address that requests are sent to."""

    port: int
    path: str
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    address: str = "127.0.0.1"
    host: str = ""
    """Value of the header Host; empty: address and port."""

    def request(self, body: bytes) -> bytes:
        """The bytes of a POST of ``body``."""
        host = self.host or f"{self.address}:{self.port}"
        head = f"POST {self.path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\n"
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        return f"{head}{lines}\r\n".encode() + body


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """One POST."""

    target: Target
    body: bytes


@dataclass(frozen=True, slots=True)
class LoadJob:
    """One load: an open loop if ``at_s`` is given, else a closed loop."""

    requests: tuple[LoadRequest, ...]
    at_s: tuple[float, ...] = ()
    """Open loop: planned start of each request, seconds from the beginning."""
    callers: int = 1
    """Closed loop: number of callers."""
    seconds: float = 0.0
    """Closed loop: duration in seconds, requests taken in turn; 0 sends each request once."""
    patience_s: float = 10.0
    """Seconds without an answer after which a request has failed."""
    marks: tuple[str, ...] = ()
    """Byte strings to search for in each answer's body; the first one found is reported."""

    def to_json(self) -> str:
        """The form that :func:`job_from_json` reads."""
        targets = {_frozen(request.target): request.target for request in self.requests}
        places = {target: place for place, target in enumerate(targets)}
        return json.dumps(
            {
                "targets": [asdict(target) for target in targets.values()],
                "requests": [
                    [places[_frozen(request.target)], base64.b64encode(request.body).decode()]
                    for request in self.requests
                ],
                "at_s": self.at_s,
                "callers": self.callers,
                "seconds": self.seconds,
                "patience_s": self.patience_s,
                "marks": self.marks,
            }
        )


@dataclass(frozen=True, slots=True)
class RequestSample:
    """Result of one request; times in seconds."""

    number: int
    """Index in the job."""
    status: int
    start_s: float
    """Planned (open loop) or actual (closed loop) start, since the load began."""
    late_s: float
    """Delay of the generator from ``start_s`` to sending, with the time to open a connection."""
    first_s: float
    """From ``start_s`` to the first byte of the answer's body."""
    latency_s: float
    """From ``start_s`` to the body's last byte."""
    mark: int = -1
    """Index of the mark found in the answer; -1: none."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Results of a load."""

    samples: tuple[RequestSample, ...]
    """Samples in the order in which requests ended."""
    wall_s: float
    cpu_s: float
    """Processor time of the generator; if close to ``wall_s``, it was the bottleneck."""
    began_s: float = 0.0
    """Start on the machine's monotonic clock; 0 if unknown."""

    def to_json(self) -> str:
        """The form that :func:`outcome_from_json` reads."""
        rows = [list(asdict(sample).values()) for sample in self.samples]
        return json.dumps(
            {"samples": rows, "wall_s": self.wall_s, "cpu_s": self.cpu_s, "began_s": self.began_s}
        )


def job_from_json(text: str) -> LoadJob:
    """The job that :meth:`LoadJob.to_json` wrote."""
    document = json.loads(text)
    targets = [Target(**target) for target in document.pop("targets")]
    requests = tuple(
        LoadRequest(targets[place], base64.b64decode(body)) for place, body in document.pop("requests")
    )
    at_s, marks = tuple(document.pop("at_s")), tuple(document.pop("marks"))
    return LoadJob(requests, at_s=at_s, marks=marks, **document)


def outcome_from_json(text: str) -> Outcome:
    """The outcome that :meth:`Outcome.to_json` wrote."""
    document = json.loads(text)
    samples = tuple(RequestSample(*row) for row in document.pop("samples"))
    return Outcome(samples, **document)


def _frozen(target: Target) -> tuple[object, ...]:
    return target.address, target.port, target.host, target.path, tuple(target.headers.items())
