"""The interface of TensorRT's engine builder, and the precisions and profiles of engines.

TensorRT itself is in :mod:`predictor.builder.plans.engine_build`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from predictor.builder.errors import PrecisionUnavailable
from predictor.plan import OptimizationProfile

OnStep = Callable[[str, int, int], None]
"""Called with a phase's name, its finished steps and its total steps."""

MAX_TOKENS = 2048
"""Default limit of one pass through the layers: larger passes are not faster, but need more memory."""
MAX_ROWS = 512
"""Default limit of one pass through the vocabulary."""
OPTIMIZATION_LEVEL = 2

SMALLEST_PROFILES = (8, 32)
"""Upper bounds of the first profiles; each further bound is twice the one before it."""

_SPELLINGS = {"fp16": "float16", "half": "float16"}


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """Parameters of an engine."""

    graph: bytes
    """Serialized ONNX model, without external data."""
    profiles: tuple[OptimizationProfile, ...]
    """Of the one dynamic dimension, which all dynamic inputs share."""
    optimization_level: int
    """0 (fastest to build) to 5 (fastest to run)."""
    workspace_bytes: int
    """Maximum scratch memory of one layer."""
    int8: bool = False
    """Whether the graph is quantized; only TensorRT 8.6 needs this."""


class EngineBuilder(Protocol):
    """TensorRT's builder, or a substitute where there is no GPU. Timings are reused from engine to engine."""

    @property
    def version(self) -> str:
        """TensorRT's version, e.g. 10.16.1.11."""
        ...

    def load_timings(self, content: bytes) -> bool:
        """Load the :meth:`timings` of an earlier process; False if TensorRT rejects them."""
        ...

    def build(self, request: EngineRequest, *, on_step: OnStep) -> bytes | memoryview:
        """Build one engine.

        Raises:
            PredictorError: it cannot be built.
        """
        ...

    def timings(self) -> bytes:
        """All timings so far, for later builds on the same kind of GPU with the same TensorRT."""
        ...


@dataclass(frozen=True, slots=True)
class GpuInfo:
    """The GPU that a plan is built on and for."""

    name: str
    compute_capability: tuple[int, int]
    sm_count: int
    driver: str
    """The driver's version; informational."""


@dataclass(frozen=True, slots=True)
class _Precision:
    """Requirements of a precision."""

    tensorrt: tuple[int, int]
    """First release of TensorRT that supports it."""
    compute_capability: tuple[int, int]
    """First compute capability that supports it."""


_PRECISIONS = {
    "float16": _Precision((8, 6), (7, 0)),
    "int8": _Precision((8, 6), (7, 5)),
    "fp8": _Precision(
        (10, 1), (8, 9)
    ),  # the bindings of 8.6 have the type, and say that it is not supported yet
}
PRECISIONS = tuple(_PRECISIONS)


def profiles_up_to(most: int) -> tuple[OptimizationProfile, ...]:
    """Optimization profiles that cover 1 to ``most`` without gaps, each tuned for its largest size.

    The fastest kernel depends on the size, and TensorRT chooses one kernel per profile, so narrow profiles are
    faster.
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
    """Check that this GPU and this TensorRT support a precision.

    Args:
        precision: one of :data:`PRECISIONS`.
        tensorrt: version of TensorRT.
        compute_capability: of the GPU.

    Raises:
        PrecisionUnavailable: one of them does not.
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
