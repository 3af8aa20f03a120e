"""Multi-head latent attention in numpy: queries and keys in the space of the latent, and the values of the heads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from predictor.runners.numpy_kernels import Float32s, Integers, rms_norm, rotate
from predictor.segment_traits import LatentTraits


@dataclass(frozen=True, slots=True)
class ReferenceLatent:
    """The attention of one layer, but for its first product and attending."""

    traits: LatentTraits
    heads: int
    query: Callable[[Float32s], Float32s] | None
    """The product that gives queries of their latent; None if the first product gives them."""
    query_norm: Float32s | None
    latent_norm: Float32s
    keys_values: Float32s
    """[heads, plain + value, rank]."""
    rotary: tuple[Float32s, Float32s]
    """Cosines and sines by position."""

    def project(self, packed: Float32s, positions: Integers) -> tuple[Float32s, Float32s]:
        """Queries [T, heads, rank + rotated] and keys [T, 1, rank + rotated] of the first product's results.

        Args:
            packed: [T, sum of :meth:`LatentTraits.projected`].
            positions: [T].
        """
        traits = self.traits
        ends = np.cumsum(traits.projected(self.heads))[:-1]
        queries, latent, key = np.split(packed, ends, axis=1)
        if self.query is not None and self.query_norm is not None:
            queries = self.query(rms_norm(queries, self.query_norm, traits.norm_eps))
        latent = rms_norm(latent, self.latent_norm, traits.norm_eps)
        by_head = queries.reshape(len(packed), self.heads, traits.query)
        plain, rotated = np.split(by_head, [traits.plain], axis=-1)
        in_latent = np.einsum("thp,hpr->thr", plain, self.keys_values[:, : traits.plain], optimize=True)
        cosines, sines = (table[positions] for table in self.rotary)
        keys = np.concatenate((latent[:, None], rotate(key[:, None], cosines, sines)), axis=-1)
        return np.concatenate((in_latent, rotate(rotated, cosines, sines)), axis=-1), keys

    def values(self, attended: Float32s) -> Float32s:
        """The heads' values of what they attended to: [T, heads, rank + rotated] to [T, heads, value]."""
        matrices = self.keys_values[:, self.traits.plain :]
        values: Float32s = np.einsum(
            "thr,hvr->thv", attended[..., : self.traits.rank], matrices, optimize=True
        )
        return values
