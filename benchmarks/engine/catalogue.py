"""The systems in the order of the tables, and which of them are comparable."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

YIWEN = "yiwen"


@dataclass(frozen=True)
class Variant:
    """A system with one set of settings: one process per timed round."""

    name: str
    system: str  # module in benchmarks.engine.systems
    setting: str  # name of the variant in that module
    bits: int  # of a weight: ratios are taken between variants of equal bits
    environment: dict[str, str] = field(default_factory=dict)


VARIANTS = (
    Variant("yiwen-float32", YIWEN, "float32", 32),
    Variant("yiwen-int8", YIWEN, "int8", 8),
    Variant("yiwen-int4", YIWEN, "int4", 4),
    Variant("huggingface-sequential", "huggingface", "sequential", 32),
    Variant("huggingface-static", "huggingface", "static", 32),
    Variant("ctranslate2-float32", "ctranslate2", "float32", 32, {"CT2_USE_MKL": "0"}),
    Variant("ctranslate2-float32-mkl", "ctranslate2", "float32", 32, {"CT2_USE_MKL": "1"}),
    Variant("ctranslate2-int8", "ctranslate2", "int8", 8, {"CT2_USE_MKL": "0"}),
    Variant("ctranslate2-int8-mkl", "ctranslate2", "int8", 8, {"CT2_USE_MKL": "1"}),
    Variant("llamacpp-f32", "llamacpp", "F32", 32),
    Variant("llamacpp-q8_0", "llamacpp", "Q8_0", 8),
    Variant("llamacpp-q4_0", "llamacpp", "Q4_0", 4),
)
REFERENCE = Variant("huggingface-reference", "huggingface", "sequential", 32)


def select(wanted: Iterable[str]) -> tuple[Variant, ...]:
    """Select variants by their name or their system's; an empty list selects all."""
    names = list(wanted)
    known = {variant.name for variant in VARIANTS} | {variant.system for variant in VARIANTS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown system {', '.join(unknown)}: choose from {', '.join(sorted(known))}")
    return tuple(v for v in VARIANTS if not names or v.name in names or v.system in names)
