"""What a plan's engines are asked for and made by.

TensorRT's side of it: :mod:`predictor.builder.plans.engine_build`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from predictor.builder.errors import PrecisionUnavailable
from predictor.plan import OptimizationProfile

OnStep = Callable[[str, int, int], None]
"""Hears a phase's name, its steps done and its steps in all."""

MAX_TOKENS = 2048
"""Of one pass through the layers, if nothing else is asked for: more gains no speed, but takes memory."""
MAX_ROWS = 512
"""Of one pass through the vocabulary."""
OPTIMIZATION_LEVEL = 2

SMALLEST_PROFILES = (8, 32)
"""Largest sizes of the first profiles; each further one is twice as large as the one before it."""

_SPELLINGS = {"fp16": "float16", "half": "float16"}


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """An engine to build."""

    graph: bytes
    """Serialized ONNX model, without external data."""
    profiles: tuple[OptimizationProfile, ...]
    """Of the one dynamic dimension, which all dynamic inputs share."""
    optimization_level: int
    """0 (fastest to build) to 5 (fastest to run)."""
    workspace_bytes: int
    """Most scratch memory that one layer may use."""
    int8: bool = False
    """The graph quantizes; only TensorRT 8.6 wants to be told."""


class EngineBuilder(Protocol):
    """TensorRT, or what stands in for it where there is no GPU. What it times for one engine serves the next ones."""

    @property
    def version(self) -> str:
        """TensorRT's, e.g. 10.16.1.11."""
        ...

    def load_timings(self, content: bytes) -> bool:
        """Begin with the :meth:`timings` of an earlier process; False if they are of no use here."""
        ...

    def build(self, request: EngineRequest, *, on_step: OnStep) -> bytes | memoryview:
        """Build one engine.

        Raises:
            PredictorError: it cannot be built.
        """
        ...

    def timings(self) -> bytes:
        """All of so far, for later builds on such a GPU with the same TensorRT."""
        ...


@dataclass(frozen=True, slots=True)
class GpuInfo:
    """The GPU that a plan is built on, and so for."""

    name: str
    compute_capability: tuple[int, int]
    sm_count: int
    driver: str
    """The driver's release; for people."""


@dataclass(frozen=True, slots=True)
class _Precision:
    """What a precision needs."""

    tensorrt: tuple[int, int]
    """First release that multiplies in it."""
    compute_capability: tuple[int, int]
    """First GPUs that do."""


_PRECISIONS = {
    "float16": _Precision((8, 6), (7, 0)),
    "int8": _Precision((8, 6), (7, 5)),
    "fp8": _Precision(
        (10, 1), (8, 9)
    ),  # the bindings of 8.6 have the type, and say that it is not supported yet
}
PRECISIONS = tuple(_PRECISIONS)


def profiles_up_to(most: int) -> tuple[OptimizationProfile, ...]:
    """Profiles that cover 1 to ``most`` without gaps, each tuned for its largest size.

    A product's best kernel depends on the size, and TensorRT chooses one kernel per profile: narrow ones lose least.
    """
    bounds = [bound for bound in SMALLEST_PROFILES if bound < most]
    while bounds and (bound := 2 * bounds[-1]) < most and len(bounds) >= len(SMALLEST_PROFILES):
        bounds.append(bound)
    tops = [*bounds, most]
    return tuple(
        OptimizationProfile(least, top, top)
        for least, top in zip([1, *(bound + 1 for bound in bounds)], tops, strict=True)
    )


def canonical_precision(text: str) -> str:
    """The name of a precision as plans have it; ``fp16`` is a spelling of ``float16``."""
    return _SPELLINGS.get(text, text)


def check_precision(precision: str, *, tensorrt: str, compute_capability: tuple[int, int]) -> None:
    """Refuse a precision that this GPU or this TensorRT cannot multiply in.

    Raises:
        PrecisionUnavailable: it cannot.
    """
    needs = _PRECISIONS[precision]
    major, minor = (int(part) for part in tensorrt.split(".")[:2])
    if (major, minor) < needs.tensorrt:
        raise PrecisionUnavailable(
            f"TensorRT {tensorrt} has no products in {precision}: install {_dotted(needs.tensorrt)} or newer, "
            "or choose another --precision"
        )
    if compute_capability < needs.compute_capability:
        raise PrecisionUnavailable(
            f"this GPU's compute capability is {_dotted(compute_capability)}, {precision} needs "
            f"{_dotted(needs.compute_capability)}: choose another --precision"
        )


def _dotted(numbers: tuple[int, int]) -> str:
    return ".".join(map(str, numbers))
