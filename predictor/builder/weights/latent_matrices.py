"""The matrices of multi-head latent attention (DeepSeek): see :class:`predictor.segment_traits.LatentTraits`."""

from __future__ import annotations

from dataclasses import dataclass

from predictor.builder.families.architecture import Architecture
from predictor.builder.weights.decoder_matrices import DecoderMatrices, Matrix
from predictor.builder.weights.file_layout import Adjustment, WeightTensor
from predictor.segment_index import LATENT_KV, LATENT_NORM, QUERY_NORM, layer_tensor
from predictor.segment_traits import LatentTraits


@dataclass(frozen=True, slots=True)
class LatentMatrices:
    """The matrices of one layer before its output projection."""

    projection: Matrix
    """[queries or their latent + rank + rotated, hidden]."""
    query: Matrix | None
    """[heads query, query_rank]; None if the projection gives the queries."""
    query_norm: WeightTensor | None
    """float32 [query_rank]."""
    latent_norm: WeightTensor
    """float32 [rank]."""
    keys_values: WeightTensor
    """[heads (plain + value), rank], not quantized: the keys' rows of each head above the values'."""


def latent_matrices(
    weights: DecoderMatrices, architecture: Architecture, traits: LatentTraits, layer: int
) -> LatentMatrices:
    """Add the matrices of one layer to the layout of the others.

    Args:
        weights: the other matrices.
        architecture: of the decoder.
        traits: of its attention.
        layer: number of the layer.

    Raises:
        BrokenCheckpoint, UnsupportedModel: see :meth:`WeightFileLayout.dense`.
    """
    heads, hidden = architecture.shape.heads, architecture.shape.hidden
    source = f"{weights.prefix}layers.{layer}.self_attn."
    pairs = traits.rotated if architecture.definition.interleaved_rotary else 0
    of_queries = Adjustment(interleaved=pairs, head=traits.query if pairs else 0)
    of_keys = Adjustment(interleaved=pairs, head=traits.rank + traits.rotated if pairs else 0)
    first = "q_a_proj" if traits.query_rank else "q_proj"
    queries, *latent = traits.projected(heads)
    projection = weights.matrix(
        layer,
        "attention.qkv",
        [f"self_attn.{first}", "self_attn.kv_a_proj_with_mqa"],
        [queries, sum(latent)],
        hidden,
        adjustments=[Adjustment() if traits.query_rank else of_queries, of_keys],
    )
    query, query_norm = None, None
    if traits.query_rank:
        rows, rank = heads * traits.query, traits.query_rank
        query = weights.matrix(
            layer, "attention.query", ["self_attn.q_b_proj"], [rows], rank, adjustments=[of_queries]
        )
        query_norm = weights.plan.dense(
            layer_tensor(layer, QUERY_NORM), [f"{source}q_a_layernorm.weight"], [(rank,)]
        )
    latent_norm = weights.plan.dense(
        layer_tensor(layer, LATENT_NORM), [f"{source}kv_a_layernorm.weight"], [(traits.rank,)]
    )
    keys_values = weights.plan.dense(
        layer_tensor(layer, LATENT_KV),
        [f"{source}kv_b_proj.weight"],
        [(heads * (traits.plain + traits.value), traits.rank)],
        weights.precision.dense,
    )
    return LatentMatrices(projection, query, query_norm, latent_norm, keys_values)
