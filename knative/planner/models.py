"""What a checkpoint weighs: parameters and bytes from its ``config.json``, for each precision."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from knative.fields import Fields, FieldsError
from knative.planner.errors import PlanError
from protocol.release import DecoderShape

FAMILIES = ("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
WEIGHT_BYTES: Mapping[str, float] = {"float16": 2.0, "int8": 1.0}
"""Bytes of a parameter of the layers and of the vocabulary's product, for the precisions that a plan can have. int8's
scales add less than a thousandth. The embedding table stays in 16 bits."""
KV_BYTES = 2
"""Of a key's or a value's number, whatever the weights are."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder's sizes, and whether it has one table for both ends of the vocabulary."""

    name: str
    decoder: DecoderShape
    tied: bool
    """Whether the last product uses the embedding table."""

    @property
    def layer_parameters(self) -> int:
        """Of all layers' products; norms and biases are left out."""
        d = self.decoder
        attention = d.hidden * d.head_dim * (2 * d.heads + 2 * d.kv_heads)
        return d.layers * (attention + 3 * d.hidden * d.intermediate)

    @property
    def vocabulary_parameters(self) -> int:
        """Of the product with the vocabulary, and of the embedding table alike."""
        return self.decoder.vocab * self.decoder.hidden

    @property
    def parameters(self) -> int:
        """All that are stored."""
        return self.layer_parameters + self.vocabulary_parameters * (1 if self.tied else 2)

    @property
    def kv_bytes_per_token(self) -> int:
        """K/V cache of one token over all layers."""
        return self.decoder.kv_values_per_token * KV_BYTES

    def read_bytes(self, precision: str) -> int:
        """Weights that every step reads: all but the embedding table."""
        return int((self.layer_parameters + self.vocabulary_parameters) * WEIGHT_BYTES[precision])

    def weight_bytes(self, precision: str) -> int:
        """Weights in memory: those that a step reads and the embedding table in 16 bits, also where it is tied."""
        if self.tied and WEIGHT_BYTES[precision] == 2.0:
            return self.read_bytes(precision)
        return self.read_bytes(precision) + 2 * self.vocabulary_parameters


def read_model(path: Path) -> ModelShape:
    """The shape in a Hugging Face ``config.json``, or in the directory that holds one.

    Raises:
        PlanError: there is none, or it is not of a family that Yiwen serves.
    """
    file = path / "config.json" if path.is_dir() else path
    try:
        fields = Fields(json.loads(file.read_text(encoding="utf-8")), str(file))
        return _model(fields, file)
    except FileNotFoundError as error:
        raise PlanError(
            f"{file} does not exist: give a checkpoint's config.json, or its directory"
        ) from error
    except (OSError, ValueError) as error:
        raise PlanError(f"{file} cannot be read: {error}") from error
    except FieldsError as error:
        raise PlanError(str(error)) from error


def _model(fields: Fields, file: Path) -> ModelShape:
    family = next(iter(fields.strings("architectures")), "none")
    if family not in FAMILIES:
        raise PlanError(f"{file}: architectures names {family}; Yiwen serves {', '.join(FAMILIES)}")
    hidden, heads = fields.integer("hidden_size", least=1), fields.integer("num_attention_heads", least=1)
    shape = DecoderShape(
        layers=fields.integer("num_hidden_layers", least=1),
        hidden=hidden,
        heads=heads,
        kv_heads=fields.integer("num_key_value_heads", least=1, default=heads),
        head_dim=fields.integer("head_dim", least=1, default=max(1, hidden // heads)),
        intermediate=fields.integer("intermediate_size", least=1),
        vocab=fields.integer("vocab_size", least=1),
    )
    name = file.parent.name or file.stem
    return ModelShape(name, shape, tied=fields.boolean("tie_word_embeddings", default=False))
