"""Reads a model's sizes from the ``config.json`` of a Hugging Face checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from knative.planner.errors import PlanError
from knative.profiling.model_shape import ModelShape
from protocol.release import DecoderShape
from protocol.validation import validate

FAMILIES = ("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")


_Size = Annotated[int, Field(ge=1)]


class _Architectures(BaseModel):
    """The one field that is checked before all others: other families name their sizes differently."""

    model_config = ConfigDict(strict=True)

    architectures: tuple[str, ...]


class _Config(BaseModel):
    """The sizes in a ``config.json``; its other fields are ignored."""

    model_config = ConfigDict(strict=True)

    num_hidden_layers: _Size
    hidden_size: _Size
    num_attention_heads: _Size
    num_key_value_heads: _Size | None = None
    head_dim: _Size | None = None
    intermediate_size: _Size
    vocab_size: _Size
    tie_word_embeddings: bool | None = None

    def decoder(self) -> DecoderShape:
        heads = self.num_attention_heads
        return DecoderShape(
            layers=self.num_hidden_layers,
            hidden=self.hidden_size,
            heads=heads,
            kv_heads=self.num_key_value_heads or heads,
            head_dim=self.head_dim or max(1, self.hidden_size // heads),
            intermediate=self.intermediate_size,
            vocab=self.vocab_size,
        )


def read_model(path: Path) -> ModelShape:
    """The sizes in a ``config.json``, given by its path or by the directory that holds it.

    Raises:
        PlanError: there is none, or its model is not of a family that Yiwen serves.
    """
    file = path / "config.json" if path.is_dir() else path
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PlanError(
            f"{file} does not exist: give a checkpoint's config.json, or its directory"
        ) from error
    except (OSError, ValueError) as error:
        raise PlanError(f"{file} cannot be read: {error}") from error
    architectures = validate(_Architectures, document, place=str(file), error=PlanError).architectures
    family = next(iter(architectures), "none")
    if family not in FAMILIES:
        raise PlanError(f"{file}: architectures names {family}; Yiwen serves {', '.join(FAMILIES)}")
    given = {name: value for name, value in document.items() if value is not None}
    config = validate(_Config, given, place=str(file), error=PlanError)
    return ModelShape(file.parent.name or file.stem, config.decoder(), tied=bool(config.tie_word_embeddings))
