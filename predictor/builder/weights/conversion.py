"""Says what becomes of the matrices of a quantized checkpoint: kept as they are, or converted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from predictor.builder.checkpoint.stored_tensors import DTYPES
from predictor.builder.checkpoint.tensors import Checkpoint
from predictor.builder.weights.file_layout import WeightFileLayout


@dataclass(frozen=True, slots=True)
class Conversion:
    """How many of a checkpoint's quantized matrices keep their codes."""

    forms: tuple[str, ...]
    """In which the checkpoint has them, the most frequent one first."""
    kept: int
    converted: int

    def to_json(self) -> dict[str, Any]:
        """For the provenance in ``release.json``."""
        return {"forms": list(self.forms), "kept": self.kept, "converted": self.converted}

    def line(self) -> str:
        """For people."""
        return conversion_line(self.to_json())


def conversion(layout: WeightFileLayout, checkpoint: Checkpoint) -> Conversion | None:
    """What becomes of the quantized matrices of a checkpoint; None if it has none.

    Args:
        layout: of ``weights.bin``, whole.
        checkpoint: that it is made of.
    """
    sources = [
        (source, entry.kept)
        for entry in layout.entries
        for source in entry.sources
        if source in checkpoint.packed and checkpoint.packed[source].label not in DTYPES
    ]
    if not sources:
        return None
    forms = Counter(checkpoint.packed[source].label for source, _ in sources)
    kept = sum(is_kept for _, is_kept in sources)
    return Conversion(tuple(form for form, _ in forms.most_common()), kept, len(sources) - kept)


def conversion_line(document: dict[str, Any]) -> str:
    """One line about what :meth:`Conversion.to_json` says."""
    kept, converted = document["kept"], document["converted"]
    forms = "; ".join(document["forms"])
    if not converted:
        what = f"all {kept} keep their codes"
    elif not kept:
        what = f"all {converted} converted"
    else:
        what = f"{kept} keep their codes, {converted} converted"
    return f"quantized matrices of the checkpoint ({forms}): {what}"
