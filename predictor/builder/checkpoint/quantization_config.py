"""Finds how a checkpoint is quantized, by its configuration files; methods that are not read are refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from predictor.builder.checkpoint.config_fields import CONFIG_FILE
from predictor.builder.errors import BrokenCheckpoint, UnsupportedModel

ORIGINAL = "build from its float32, float16 or bfloat16 original"
METHODS = ("fp8", "fbgemm_fp8", "modelopt", "compressed-tensors", "gptq", "awq")
"""Values of ``quant_method`` that are read."""

_FIELDS = ("quantization_config", "compression_config", "quantization")
_FILES = {"quantize_config.json": "gptq", "quant_config.json": "awq", "hf_quant_config.json": "modelopt"}
"""Files beside config.json in which tools say the same, and the method of those that name none."""


@dataclass(frozen=True, slots=True)
class QuantizationConfig:
    """How a checkpoint is quantized."""

    method: str
    """One of :data:`METHODS`."""
    fields: Mapping[str, Any]
    source: str
    """File, and field of it, for messages."""

    def get(self, *names: str, default: Any = None) -> Any:  # noqa: ANN401 - a value of a JSON document
        """The value of the first of some fields that is there and not null."""
        found = (self.fields[name] for name in names if self.fields.get(name) is not None)
        return next(found, default)

    def integer(self, *names: str, default: int) -> int:
        """The same for a whole number.

        Raises:
            BrokenCheckpoint: it is none.
        """
        value = self.get(*names, default=default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise BrokenCheckpoint(f"{self.source}: {names[0]} must be a whole number, not {value!r}")
        return value

    def unsupported(self, field: str) -> UnsupportedModel:
        """The error for a field whose value is not read."""
        return UnsupportedModel(
            f"{self.source}: {field} is {self.get(field)!r}, which is not read; {ORIGINAL}"
        )

    def require(self, field: str, *wanted: object) -> None:
        """Refuse a field that is set to a value that is not ``wanted``.

        Raises:
            UnsupportedModel: it is.
        """
        value = self.get(field)
        if value is not None and value not in wanted:
            raise self.unsupported(field)


def read_quantization(directory: Path) -> QuantizationConfig | None:
    """The quantization of a checkpoint; None if its files name none.

    Args:
        directory: of the checkpoint.

    Raises:
        BrokenCheckpoint: a file cannot be read.
        UnsupportedModel: the method is not read.
    """
    config = _document(directory / CONFIG_FILE)
    nested = config.get("text_config")
    for holder in (config, nested if isinstance(nested, dict) else {}):
        for field in _FIELDS:
            if holder.get(field):
                return _checked(holder[field], f"{directory / CONFIG_FILE}: {field}", "")
    for name, method in _FILES.items():
        fields = _document(directory / name)
        if fields:
            inner = fields.get("quantization") if method == "modelopt" else fields
            return _checked(inner, str(directory / name), method)
    return None


def _checked(fields: object, source: str, method: str) -> QuantizationConfig:
    if not isinstance(fields, dict):
        raise BrokenCheckpoint(f"{source} must be an object, not {fields!r}")
    method = str(fields.get("quant_method") or method).lower()
    if method not in METHODS:
        named = f"quant_method is {method!r}" if method else "no quant_method is named"
        raise UnsupportedModel(
            f"{source} is set: the checkpoint is quantized already, and {named}; "
            f"read are {', '.join(METHODS)}; {ORIGINAL}"
        )
    return QuantizationConfig(method, fields, source)


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BrokenCheckpoint(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise BrokenCheckpoint(f"{path} must hold a JSON object")
    return document
